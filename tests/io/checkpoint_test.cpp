#include "fbt/io/checkpoint.hpp"

#include "fbt/models/lstm_model.hpp"
#include "support/catch.hpp"
#include "support/changed_file.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/scratch.hpp"

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

using namespace fbt;

namespace {

using Model = FeedbackTransformer<float>;

Config tiny_config() {
  Config config;
  config.vocabulary = 5;
  config.width = 4;
  config.layers = 2;
  config.heads = 2;
  config.window = 3;
  return config;
}
template <class Scalar = float>
FeedbackTransformer<Scalar> tiny_model(const Config& config = tiny_config(), std::uint64_t seed = 1) {
  Random random(seed);
  FeedbackTransformer<Scalar> model(config, random);
  visit(
      [&](std::string_view, auto& tensor) {  // no zeros and ones, so that a tensor in the wrong place shows
        for (Index i = 0; i < tensor.size(); ++i) flat(tensor)(i) += static_cast<Scalar>(0.1 * random.normal());
      },
      model);
  return model;
}
/// All combinations of the switches.
std::vector<Config> all_configs() {
  std::vector<Config> configs;
  for (const Activation activation : {Activation::relu, Activation::gelu, Activation::geglu}) {
    for (const PositionTerm position :
         {PositionTerm::none, PositionTerm::relative_key, PositionTerm::per_head, PositionTerm::buckets}) {
      for (int bits = 0; bits < 64; ++bits) {
        Config c;
        c.vocabulary = 7;
        c.width = 6;
        c.layers = 3;
        c.heads = 2;
        c.head_size = bits & 32 ? 5 : 0;
        c.feed_forward = bits & 1 ? 11 : 0;
        c.window = 4;
        c.activation = activation;
        c.position = position;
        c.empty_memory = bits & 2 ? EmptyMemory::skip : EmptyMemory::zero_slots;
        c.pre_norm = bits & 4;
        c.share_key_value = bits & 8;
        c.memory_norm = !(bits & 16) ? MemoryNorm::none : c.pre_norm ? MemoryNorm::block : MemoryNorm::own;
        c.value_bias = bits & 1;
        c.output_bias = bits & 2;
        configs.push_back(c);
      }
    }
  }
  return configs;
}

std::vector<Token> tiny_text(std::uint64_t seed = 5) {
  Random random(seed);
  return random_tokens(62, 5, random);
}
TrainerOptions tiny_options() {
  TrainerOptions options;
  options.fresh = 0;
  options.lanes = 3;
  options.segment = 4;
  options.shards = 2;
  options.schedule = {0.01, 5, 0.1};
  options.adam.weight_decay = 0.1;
  return options;
}

}  // namespace

TEST_CASE("checkpoint: a config as JSON, there and back") {
  for (const Config& config : all_configs()) {
    const Config back = read_config(write_config(config), "x");
    REQUIRE(back == config);
  }
  Config config = tiny_config();
  config.dropout = 0.1;
  config.norm_epsilon = 1.0 / 3e5;
  config.embedding_deviation = 0.123456789012345678;
  config.vocabulary = largest_dimension;
  CHECK(read_config(write_config(config), "x") == config);

  // the exact text: files have to stay readable
  CHECK(
      write_config(tiny_config()) ==
      R"({"vocabulary":5,"width":4,"layers":2,"heads":2,"head_size":0,"feed_forward":0,"window":3,"activation":"relu",)"
      R"("position":"relative_key","span_ramp":0,"empty_memory":"skip","pre_norm":true,"memory_rule":"feedback",)"
      R"("memory_layer":0,"share_key_value":true,"memory_norm":"own",)"
      R"("value_bias":false,"output_bias":true,"log_probabilities":false,"dropout":0.0,"norm_epsilon":1e-05,"embedding_deviation":0.3})");
  CHECK(read_config(R"({"vocabulary": 5})", "x").width == Config{}.width);  // what is missing keeps its default
}

TEST_CASE("checkpoint: configs that are refused") {
  const auto message = [](const std::string& text) {
    return message_of<std::runtime_error>([&] { read_config(text, "x.file"); });
  };
  const std::string object = "x.file: expected a JSON object as config, found something else";
  for (const std::string text :
       {"", "x", "[]", "1", "null", "\"a\"", "{", "{\"width\":}", "{}{}", "{\"a\":\"\xff\"}", "{\"dropout\":1e999}"})
    CHECK(message(text) == object);
  CHECK(message(std::string(100000, '[')) == object);
  CHECK(message(R"({"vocabulary":5,"colour":1})") ==
        "x.file: config: unknown field colour; the file may come from a newer version");
  const std::string whole = "expected a whole number of at least 0, found ";
  CHECK(message(R"({"width":"4"})") == "x.file: config width: " + whole + "\"4\"");
  CHECK(message(R"({"width":4.0})") == "x.file: config width: " + whole + "4.0");
  CHECK(message(R"({"width":-4})") == "x.file: config width: " + whole + "-4");
  CHECK(message(R"({"width":null})") == "x.file: config width: " + whole + "null");
  CHECK(message(R"({"width":true})") == "x.file: config width: " + whole + "true");
  CHECK(message(R"({"width":[4]})") == "x.file: config width: " + whole + "[4]");
  CHECK(message("{\"width\":" + std::string(100000, '[') + std::string(100000, ']') + "}") ==
        "x.file: config width: " + whole + "[[]]");
  CHECK(message(R"({"width":18446744073709551615})") == "x.file: config width: " + whole + "18446744073709551615");
  CHECK(message(R"({"pre_norm":1})") == "x.file: config pre_norm: expected true or false, found 1");
  CHECK(message(R"({"dropout":"0"})") == "x.file: config dropout: expected a number, found \"0\"");
  CHECK(message(R"({"activation":"tanh"})") ==
        "x.file: config activation: expected one of relu, gelu, geglu, found \"tanh\"");
  CHECK(message(R"({"activation":0})") == "x.file: config activation: expected one of relu, gelu, geglu, found 0");
  CHECK(message(R"({"position":"t5"})") ==
        "x.file: config position: expected one of none, relative_key, per_head, buckets, found \"t5\"");
  CHECK(message(R"({"empty_memory":{}})") == "x.file: config empty_memory: expected one of skip, zero_slots, found {}");
  CHECK_THAT(message_of<std::runtime_error>([] { read_config("{}", "x"); }),
             ContainsSubstring("vocabulary must be between 1 and"));
  CHECK_THAT(message_of<std::runtime_error>([] { read_config(R"({"vocabulary":5,"dropout":1})", "x"); }),
             ContainsSubstring("dropout must be at least 0 and below 1, found 1"));
}

TEST_CASE("checkpoint: Config::parameters is what the model holds") {
  Random random(1);
  for (const Config& config : all_configs()) {
    const Model model(config, random);
    INFO(write_config(config));
    REQUIRE(config.parameters() == static_cast<double>(count_parameters(model)));
  }
}

TEST_CASE("checkpoint: a model, there and back, bit for bit") {
  const ScratchFolder folder;
  std::vector<Config> configs = all_configs();
  for (std::size_t i = 0; i < configs.size(); i += 7) {
    const Model model = tiny_model(configs[i]);
    save_model(folder / "a", model, {{"vocabulary", "\n ä"}});
    const auto loaded = load_model<float>(folder / "a");
    CHECK(loaded.model.config() == configs[i]);
    CHECK(same(loaded.model, model));
    CHECK(loaded.metadata.at("vocabulary") == "\n ä");
    CHECK(loaded.metadata.size() == 2);
  }
  // what is not a number stays as it is, too
  Model model = tiny_model();
  model.head.bias << 1, -0.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1e-45f;
  save_model(folder / "a", model);
  const Vector<float> bias = load_model<float>(folder / "a").model.head.bias;
  CHECK(std::memcmp(bias.data(), model.head.bias.data(), sizeof(float) * 5) == 0);
}

TEST_CASE("checkpoint: the other scalar type") {
  const ScratchFolder folder;
  const auto model = tiny_model<double>();
  save_model(folder / "double", model);
  CHECK(same(load_model<double>(folder / "double").model, model));
  CHECK(TensorFile::read(folder / "double").get("head.weight").dtype == Dtype::f64);

  const auto single = load_model<float>(folder / "double").model;
  CHECK(single.head.weight == model.head.weight.cast<float>());
  save_model(folder / "float", single);
  CHECK(TensorFile::read(folder / "float").get("head.weight").dtype == Dtype::f32);
  const auto wide = load_model<double>(folder / "float").model;
  CHECK(wide.head.weight == single.head.weight.cast<double>());
  CHECK(wide.embedding.weight == single.embedding.weight.cast<double>());
}

TEST_CASE("checkpoint: the names and shapes in a model's file") {
  const ScratchFolder folder;
  const Model model = tiny_model();
  save_model(folder / "a", model);
  const TensorFile file = TensorFile::read(folder / "a");
  std::set<std::string> names;
  visit([&](std::string_view name, const auto&) { names.emplace(name); }, model);
  CHECK(file.tensors().size() == names.size());
  for (const auto& name : names) CHECK(file.find(name));
  const TensorView& query = file.get("blocks.1.attention.query.weight");
  CHECK(query.shape == std::vector<std::uint64_t>{4, 4});
  CHECK(query.number(1) == model.blocks[1].attention.query.weight(0, 1));  // row-major
  CHECK(file.get("embedding.weight").shape == std::vector<std::uint64_t>{5, 4});
  CHECK(file.get("mix.weight").shape == std::vector<std::uint64_t>{3});
}

TEST_CASE("checkpoint: tensors that are missing, unexpected or misshapen are listed in one error") {
  const ScratchFolder folder;
  save_model(folder / "a", tiny_model());
  const auto change = [](Metadata&, Views& tensors) {
    tensors.erase("head.bias");
    tensors.erase("blocks.0.norm1.weight");
    TensorView& query = tensors.at("blocks.1.attention.query.weight");
    query.shape = {16};
    tensors.at("mix.weight").shape = {3, 1};
    tensors["head.offset"] = tensors.at("blocks.0.norm1.bias");
    tensors.at("norm_out.bias").dtype = Dtype::i32;
  };
  const auto path = changed_file(folder, folder / "a", change);
  const std::string message = message_of<std::runtime_error>([&] { load_model<float>(path); });
  CHECK_THAT(message, ContainsSubstring(path.string() + ": the tensors do not fit the model:\n"));
  CHECK_THAT(message, ContainsSubstring("\n  missing head.bias of shape (5)"));
  CHECK_THAT(message, ContainsSubstring("\n  missing blocks.0.norm1.weight of shape (4)"));
  CHECK_THAT(message, ContainsSubstring("\n  blocks.1.attention.query.weight: expected shape (4, 4), found (16)"));
  CHECK_THAT(message, ContainsSubstring("\n  mix.weight: expected shape (3), found (3, 1)"));
  CHECK_THAT(message, ContainsSubstring("\n  norm_out.bias: expected floating-point numbers, found dtype I32"));
  CHECK_THAT(message, ContainsSubstring("\n  unexpected head.offset of shape (4)"));
  CHECK(std::count(message.begin(), message.end(), '\n') == 6);

  // into a model that is there: it stays as it was
  Model model = tiny_model(tiny_config(), 2);
  const Model before = model;
  CHECK_THROWS_AS(read_parameters(TensorFile::read(path), "", model), std::runtime_error);
  CHECK(same(model, before));
}

TEST_CASE("checkpoint: files that are no model of ours") {
  const ScratchFolder folder;
  save_model(folder / "a", tiny_model());
  const auto message = [&](auto&& change) {
    return message_of<std::runtime_error>([&] { load_model<float>(changed_file(folder, folder / "a", change)); });
  };
  CHECK_THAT(message([](Metadata& m, Views&) { m.clear(); }),
             ContainsSubstring("changed: expected a model written by fbt, found no fbt.config in its __metadata__"));
  CHECK_THAT(message([](Metadata& m, Views&) { m["fbt.config"] = "?"; }),
             ContainsSubstring("expected a JSON object as config"));
  CHECK_THAT(message([](Metadata&, Views& t) { t.clear(); }),
             ContainsSubstring("changed: the tensors do not fit the model"));
  CHECK_THAT(message_of<std::runtime_error>([&] { load_model<float>(folder / "none"); }),
             ContainsSubstring("cannot open the file"));
}

TEST_CASE("checkpoint: a config that is far larger than the file is refused at once") {
  const ScratchFolder folder;
  save_model(folder / "a", tiny_model());
  const auto start = std::chrono::steady_clock::now();
  const auto load = [&](auto&& change) {
    Config config = tiny_config();
    change(config);
    load_model<float>(
        changed_file(folder, folder / "a", [&](Metadata& m, Views&) { m["fbt.config"] = write_config(config); }));
  };
  const std::string many = "parameters by its config, found ";
  CHECK_THAT(message_of<std::runtime_error>([&] { load([](Config& c) { c.layers = 1'000'000'000; }); }),
             ContainsSubstring("config: layers must be between 1 and 4096, found 1000000000"));
  CHECK_THAT(message_of<std::runtime_error>([&] { load([](Config& c) { c.width = 1'000'000'000; }); }),
             ContainsSubstring("config: width must be between 1 and"));
  CHECK_THAT(message_of<std::runtime_error>([&] { load([](Config& c) { c.width = largest_dimension; }); }),
             ContainsSubstring(many));
  CHECK_THAT(message_of<std::runtime_error>([&] { load([](Config& c) { c.layers = 4096; }); }), ContainsSubstring(many));
  CHECK_THAT(message_of<std::runtime_error>([&] { load([](Config& c) { c.window = largest_dimension; }); }),
             ContainsSubstring(many));
  CHECK_THAT(message_of<std::runtime_error>([&] { load([](Config& c) { c.vocabulary = largest_dimension; }); }),
             ContainsSubstring(many));
  CHECK_THAT(message_of<std::runtime_error>([&] { load([](Config& c) { c.head_size = largest_dimension / 2; }); }),
             ContainsSubstring(many));
  CHECK_THAT(message_of<std::runtime_error>([&] { load([](Config& c) { c.feed_forward = largest_dimension; }); }),
             ContainsSubstring(many));
  CHECK_THAT(message_of<std::runtime_error>([&] {
               load([](Config& c) {
                 c.vocabulary = c.width = c.window = c.feed_forward = c.heads = largest_dimension;
                 c.layers = 4096;
               });
             }),
             ContainsSubstring(many));
  CHECK_THAT(message_of<std::runtime_error>([&] {
               load([](Config& c) {
                 c.vocabulary = c.width = c.heads = c.feed_forward = c.window = 1;
                 c.layers = 4096;
               });
             }),
             ContainsSubstring("expected 4096 layers by its config, found only "));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("checkpoint: a model's file cut off anywhere is refused") {
  const ScratchFolder folder;
  save_model(folder / "a", tiny_model());
  const std::string whole = read_all(folder / "a");
  for (std::size_t size = 0; size < whole.size(); size += 61) {
    INFO(size);
    CHECK_THROWS_AS(load_model<float>(TensorFile::parse(whole.substr(0, size), "x")), std::runtime_error);
  }
}

TEST_CASE("checkpoint: a probe tests the model when it is loaded") {
  const ScratchFolder folder;
  const auto configs = all_configs();
  for (std::size_t i = 0; i < configs.size(); i += 11) {
    const auto model = tiny_model<double>(configs[i]);
    save_model(folder / "a", model, {}, Probe::store);
    CHECK(TensorFile::read(folder / "a").get("fbt.probe.logits").shape == std::vector<std::uint64_t>{8, 7});
    CHECK(same(load_model<double>(folder / "a").model, model));
    CHECK_NOTHROW(load_model<float>(folder / "a"));  // rounded, but no other model
  }
  Model broken = tiny_model();
  broken.head.bias(0) = std::numeric_limits<float>::quiet_NaN();
  save_model(folder / "a", broken, {}, Probe::store);  // without: nothing could be compared
  CHECK_NOTHROW(load_model<float>(folder / "a"));
  Config large = tiny_config();
  large.heads = 1 << 10;
  large.head_size = 1;
  large.window = 1 << 12;
  large.empty_memory = EmptyMemory::zero_slots;
  save_model(folder / "a", tiny_model(large), {}, Probe::store);
  CHECK(TensorFile::read(folder / "a").find("fbt.probe.tokens") == nullptr);
}

TEST_CASE("checkpoint: a probe notices damaged weights, and is checked itself") {
  const ScratchFolder folder;
  Config config = tiny_config();
  config.activation = Activation::gelu;  // no unit that is off whatever its weights are
  const Model model = tiny_model(config);
  save_model(folder / "a", model, {}, Probe::store);
  const auto message = [&](auto&& change) {
    return message_of<std::runtime_error>([&] { load_model<float>(changed_file(folder, folder / "a", change)); });
  };
  std::vector<std::string> names;
  visit([&](std::string_view name, const auto&) { names.emplace_back(name); }, model);
  for (const std::string& name : names) {
    INFO(name);
    std::string bytes;
    CHECK_THAT(
        message([&](Metadata&, Views& t) {
          TensorView& tensor = t.at(name);
          bytes = tensor.bytes;
          const std::size_t last = bytes.size() - sizeof(float);  // of the positions: the newest slot
          const float damaged = -2 - 2 * tensor.at<float>(tensor.size() - 1);
          std::memcpy(bytes.data() + last, &damaged, sizeof(float));
          tensor.bytes = bytes;
        }),
        ContainsSubstring("changed: the model does not give the logits that were stored with it: expected them to 0.001"));
  }
  const std::string shape = "changed: the probe: expected up to 8 tokens of dtype I32 and their logits, found shapes ";
  CHECK_THAT(message([](Metadata&, Views& t) {
               t.at("fbt.probe.logits").shape = {5, 8};
             }),
             ContainsSubstring(shape + "(8) and (5, 8)"));
  CHECK_THAT(message([](Metadata&, Views& t) { t.at("fbt.probe.tokens").dtype = Dtype::f32; }), ContainsSubstring(shape));
  for (const float number : {INFINITY, NAN}) {
    std::string logits;
    CHECK_THAT(message([&](Metadata&, Views& t) {
                 logits = t.at("fbt.probe.logits").bytes;
                 std::memcpy(logits.data(), &number, sizeof number);
                 t.at("fbt.probe.logits").bytes = logits;
               }),
               ContainsSubstring("changed: the probe: expected finite logits, found "));
  }
  CHECK_THAT(message([](Metadata&, Views& t) { t.erase("fbt.probe.logits"); }),
             ContainsSubstring("expected a tensor named fbt.probe.logits, found none"));
  const std::string tokens(8 * sizeof(Token), 5);
  CHECK_THAT(message([&](Metadata&, Views& t) { t.at("fbt.probe.tokens").bytes = tokens; }),
             ContainsSubstring("changed: the probe: expected tokens below 5, found 84215045"));
  CHECK_NOTHROW(load_model<float>(changed_file(folder, folder / "a", [](Metadata&, Views& t) {
    t.erase("fbt.probe.tokens");
    t.erase("fbt.probe.logits");
  })));
}

TEST_CASE("checkpoint: N + M updates are N, save, load, M, to the last bit") {
  struct Case {
    Index lanes, shards, segment, window;
    EmptyMemory empty;
    bool share;
    int before, after;
    Index first_segment = 0;  // and learned spans
  };
  const Case c =
      GENERATE(Case{3, 2, 8, 3, EmptyMemory::skip, true, 3, 30, 2},
               Case{3, 2, 4, 3, EmptyMemory::skip, true, 3, 4},     // within a pass, and on into the next
               Case{3, 2, 4, 3, EmptyMemory::skip, true, 0, 6},     // nothing has been done yet
               Case{3, 2, 4, 3, EmptyMemory::skip, true, 5, 3},     // at the very end of a pass (5 segments)
               Case{4, 4, 1, 6, EmptyMemory::skip, false, 17, 40},  // a memory that is moved again and again
               Case{1, 1, 13, 4, EmptyMemory::skip, true, 3, 9},    // a segment longer than the window
               Case{5, 2, 3, 5, EmptyMemory::zero_slots, true, 2, 6}, Case{2, 1, 8, 3, EmptyMemory::zero_slots, false, 2, 6},
               Case{2, 2, 2, 11, EmptyMemory::zero_slots, true, 3, 16});
  CAPTURE(c.lanes, c.segment, c.window, c.before);
  Config config = tiny_config();
  config.width = 8;
  config.window = c.window;
  config.empty_memory = c.empty;
  config.share_key_value = c.share;
  config.span_ramp = c.first_segment > 0 ? 2 : 0;
  config.dropout = 0.1;
  const auto text = tiny_text();
  TrainerOptions options = tiny_options();
  options.first_segment = c.first_segment;
  options.growing = 0.1;
  options.lanes = c.lanes;
  options.shards = c.shards;
  options.segment = c.segment;

  const ScratchFolder folder;
  Model whole = tiny_model(config);
  Trainer<Model> one(whole, text, options);
  const auto run = [](Trainer<Model>& trainer, int from, int to) {
    std::vector<double> losses;
    for (int n = from; n < to; ++n) losses.push_back(trainer.update(0.01 * n).loss);
    return losses;
  };
  run(one, 0, c.before);
  save_training(folder / "a", one, {{"note", "x"}});
  const auto expected = run(one, c.before, c.before + c.after);
  CHECK(one.batches().place().passes > 0);  // went over the border of a pass

  Model resumed = tiny_model(config, 99);
  Trainer<Model> two(resumed, text, options);
  run(two, 0, 2);  // whatever it had done before
  CHECK(load_training(folder / "a", two).at("note") == "x");
  CHECK(two.adam().updates == c.before);
  save_training(folder / "b", two, {{"note", "x"}});
  CHECK(read_all(folder / "b") == read_all(folder / "a"));  // nothing that is kept has changed on the way
  CHECK(run(two, c.before, c.before + c.after) == expected);
  CHECK(same(resumed, whole));
  CHECK(same(two.adam().m, one.adam().m));
  CHECK(same(two.adam().v, one.adam().v));
  CHECK(two.batches().place() == one.batches().place());
}

TEST_CASE("checkpoint: the carried memory is part of a training") {
  const ScratchFolder folder;
  const auto text = tiny_text();
  Model model = tiny_model();
  Trainer<Model> trainer(model, text, tiny_options());
  for (int n = 0; n < 2; ++n) trainer.update(0);
  save_training(folder / "a", trainer);
  const double expected = trainer.update(0).loss;
  const auto loss_after = [&](auto&& change) {
    Model other = tiny_model();
    Trainer<Model> resumed(other, text, tiny_options());
    load_training(changed_file(folder, folder / "a", change), resumed);
    return resumed.update(0).loss;
  };
  CHECK(loss_after([](Metadata&, Views&) {}) == expected);
  for (const std::string name : {"memory.0.0.keys", "memory.0.0.values", "memory.1.0.keys", "memory.1.0.values"}) {
    INFO(name);
    std::string zeros;
    CHECK(loss_after([&](Metadata&, Views& t) {
            zeros.assign(t.at(name).bytes.size(), '\0');
            CHECK(t.at(name).shape[0] == (name.ends_with("keys") ? 3u : 2u));  // the window, not the whole storage
            t.at(name).bytes = zeros;
          }) != expected);
  }
}

TEST_CASE("checkpoint: a training that does not fit leaves trainer and model as they were") {
  const ScratchFolder folder;
  const auto text = tiny_text();
  Model model = tiny_model();
  Trainer<Model> trainer(model, text, tiny_options());
  for (int n = 0; n < 3; ++n) trainer.update(0);
  save_training(folder / "a", trainer);
  const std::string whole = read_all(folder / "a");

  /// Loads into a trainer of other options, text or config, and checks that nothing has changed.
  const auto message = [&](const std::filesystem::path& path, const TrainerOptions& options, const std::vector<Token>& data,
                           const Config& config) {
    Model other = tiny_model(config, 7);
    Trainer<Model> target(other, data, options);
    target.update(0);
    save_training(folder / "before", target);
    const std::string result = message_of<std::runtime_error>([&] { load_training(path, target); });
    save_training(folder / "after", target);
    CHECK(read_all(folder / "before") == read_all(folder / "after"));
    std::filesystem::remove(folder / "before");
    std::filesystem::remove(folder / "after");
    return result;
  };
  const auto with_options = [&](auto&& change) {
    TrainerOptions options = tiny_options();
    change(options);
    return message(folder / "a", options, text, tiny_config());
  };
  const auto with_file = [&](auto&& change) {
    return message(changed_file(folder, folder / "a", change), tiny_options(), text, tiny_config());
  };
  const std::string name = (folder / "a").string();

  SECTION("other options") {
    using O = TrainerOptions;
    CHECK(with_options([](O& o) { o.lanes = 4; }) == name + ": the training belongs to another lanes: expected 4, found 3");
    CHECK(with_options([](O& o) { o.segment = 5; }) ==
          name + ": the training belongs to another segment: expected 5, found 4");
    CHECK(with_options([](O& o) { o.shards = 3; }) ==
          name + ": the training belongs to another shards: expected 3, found 2");
    CHECK(with_options([](O& o) { o.seed = 2; }) == name + ": the training belongs to another seed: expected 2, found 1");
  }
  SECTION("another text") {
    CHECK_THAT(message(folder / "a", tiny_options(), tiny_text(6), tiny_config()),
               ContainsSubstring(": the training belongs to another text: expected 62 tokens "));
    auto longer = text;
    longer.push_back(0);
    CHECK_THAT(message(folder / "a", tiny_options(), longer, tiny_config()), ContainsSubstring("expected 63 tokens "));
  }
  SECTION("another config") {
    Config config = tiny_config();
    config.window = 4;
    CHECK_THAT(message(folder / "a", tiny_options(), text, config),
               ContainsSubstring(": the training belongs to another config: expected window 4, found 3"));
    config = tiny_config();
    config.memory_rule = MemoryRule::average;
    CHECK_THAT(message(folder / "a", tiny_options(), text, config),
               ContainsSubstring(": the training belongs to another config: expected memory_rule average, found feedback"));
  }
  SECTION("a config from before a field was added") {
    const auto older = changed_file(folder, folder / "a", [](Metadata& metadata, Views&) {
      std::string& config = metadata.at("fbt.training.config");
      const std::string field = R"("span_ramp":0,)";
      config.erase(config.find(field), field.size());
    });
    load_training(older, trainer);
    CHECK(trainer.adam().updates == 3);
  }
  SECTION("another scalar type") {
    Random random(1);
    FeedbackTransformer<double> other(tiny_config(), random);
    Trainer<FeedbackTransformer<double>> target(other, text, tiny_options());
    CHECK_THAT(message_of<std::runtime_error>([&] { load_training(folder / "a", target); }),
               ContainsSubstring("the training belongs to another scalar: expected F64, found F32"));
  }
  SECTION("a foreign file") {
    save_model(folder / "model", model);
    CHECK_THAT(message(folder / "model", tiny_options(), text, tiny_config()),
               ContainsSubstring("expected a training written by fbt, found no fbt.training."));
    CHECK_THAT(message(folder / "none", tiny_options(), text, tiny_config()), ContainsSubstring("cannot open the file"));
    write_all(folder / "text", "It was the best of times, it was the worst of times.");
    CHECK_THAT(message(folder / "text", tiny_options(), text, tiny_config()), ContainsSubstring("safetensors header"));
  }
  SECTION("cut off anywhere") {
    for (std::size_t size = 0; size < whole.size(); size += 331) {
      INFO(size);
      write_all(folder / "cut", whole.substr(0, size));
      CHECK_THAT(message(folder / "cut", tiny_options(), text, tiny_config()), ContainsSubstring("cut: "));
    }
  }
  SECTION("tensors") {
    // the last thing that is read is wrong: all before it must not have been taken over
    CHECK_THAT(with_file([](Metadata&, Views& t) { t.erase("memory.1.0.values"); }),
               ContainsSubstring("expected a tensor named memory.1.0.values, found none"));
    CHECK_THAT(with_file([](Metadata&, Views& t) {
                 std::reverse(t.at("memory.1.0.values").shape.begin(), t.at("memory.1.0.values").shape.end());
               }),
               ContainsSubstring("memory.1.0.values: expected shape (2, 12), found (12, 2)"));
    CHECK_THAT(with_file([](Metadata&, Views& t) { t.at("memory.0.0.keys").shape = {12}; }),
               ContainsSubstring("memory.0.0.keys: expected at most 3 slots, found shape (12)"));
    CHECK_THAT(with_file([](Metadata&, Views& t) {
                 t.at("memory.0.0.keys").shape = {4, 3};
               }),
               ContainsSubstring("memory.0.0.keys: expected at most 3 slots, found shape (4, 3)"));
    CHECK_THAT(with_file([](Metadata&, Views& t) { t.erase("adam.v.head.bias"); }),
               ContainsSubstring("missing adam.v.head.bias of shape (5)"));
    const std::vector<float> negative{1, 0, -1e-9f, 1, 1};
    CHECK_THAT(with_file([&](Metadata&, Views& t) {
                 t.at("adam.v.head.bias").bytes = {reinterpret_cast<const char*>(negative.data()), 20};
               }),
               ContainsSubstring("adam.v.head.bias: expected means of squares, found a number below 0"));
    CHECK_THAT(with_file([](Metadata&, Views& t) { t["adam.m.extra"] = t.at("model.head.bias"); }),
               ContainsSubstring("unexpected adam.m.extra of shape (5)"));
    CHECK_THAT(with_file([](Metadata&, Views& t) { t.erase("place"); }),
               ContainsSubstring("a tensor named place, found none"));
    CHECK_THAT(with_file([](Metadata&, Views& t) { t.at("place").dtype = Dtype::f64; }),
               ContainsSubstring("place: expected 3 numbers of dtype I64, found 3 of F64"));
    const auto with_place = [&](std::int64_t updates, std::int64_t position, std::int64_t passes) {
      const std::array<std::int64_t, 3> numbers{updates, position, passes};
      return with_file([&](Metadata&, Views& t) {
        t.at("place").bytes = {reinterpret_cast<const char*>(numbers.data()), sizeof(numbers)};
      });
    };
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    CHECK_THAT(with_place(-1, 0, 0), ContainsSubstring("place: expected a place in the text, found -1, 0, 0"));
    CHECK_THAT(with_place(1, -4, 0), ContainsSubstring("place: expected a place in the text, found 1, -4, 0"));
    CHECK_THAT(with_place(1, 21, 0), ContainsSubstring("place: expected a place in the text, found 1, 21, 0"));
    CHECK_THAT(with_place(1, 4, -1), ContainsSubstring("place: expected a place in the text, found 1, 4, -1"));
    CHECK_THAT(with_place(most, 4, 0), ContainsSubstring("place: expected a place in the text"));
    CHECK_THAT(with_place(1, 4, most), ContainsSubstring("place: expected a place in the text"));
    CHECK_THAT(with_place(1, most, 0), ContainsSubstring("place: expected a place in the text"));
  }
}

TEST_CASE("checkpoint: an LstmModel, there and back, and its trainings") {
  LstmConfig config;
  config.vocabulary = 5;
  config.width = 4;
  config.attention = GENERATE(false, true);
  config.heads = 2;
  config.window = 3;
  config.dropout = 0.1;
  CHECK(read_config<LstmConfig>(write_config(config), "x") == config);
  Random random(1);
  LstmModel<float> model(config, random);
  const ScratchFolder folder;
  save_model(folder / "a", model, {{"note", "x"}}, Probe::store);
  const auto loaded = load_model<float, LstmModel>(folder / "a");
  CHECK(loaded.model.config() == config);
  CHECK(same(loaded.model, model));
  CHECK(loaded.metadata.at("note") == "x");
  CHECK_THAT(message_of<std::runtime_error>([&] { load_model<float>(folder / "a"); }),
             ContainsSubstring("expected a model written by fbt, found no fbt.config in its __metadata__"));
  save_model(folder / "b", tiny_model());
  CHECK_THAT(message_of<std::runtime_error>([&] { load_model<float, LstmModel>(folder / "b"); }),
             ContainsSubstring("found no fbt.lstm in its __metadata__"));
  LstmConfig large = config;
  large.width = largest_dimension;
  CHECK_THAT(message_of<std::runtime_error>([&] {
               load_model<float, LstmModel>(
                   changed_file(folder, folder / "a", [&](Metadata& m, Views&) { m["fbt.lstm"] = write_config(large); }));
             }),
             ContainsSubstring("parameters by its config, found "));

  const auto text = tiny_text();
  Trainer whole(model, text, tiny_options());
  for (int n = 0; n < 3; ++n) whole.update(0);
  save_training(folder / "training", whole);
  LstmModel<float> other = loaded.model;
  Trainer resumed(other, text, tiny_options());
  load_training(folder / "training", resumed);
  for (int n = 0; n < 9; ++n) CHECK(resumed.update(0).loss == whole.update(0).loss);
  CHECK(same(other, model));
  for (const std::string name : {"memory.1.hidden.1", "memory.1.cell.0"}) {
    const auto path = changed_file(folder, folder / "training", [&](Metadata&, Views& t) { t.erase(name); });
    CHECK_THAT(message_of<std::runtime_error>([&] { load_training(path, resumed); }),
               ContainsSubstring("expected a tensor named " + name + ", found none"));
  }
  CHECK(same(other, model));
}

TEST_CASE("checkpoint: a training of labelled data goes on with the same labels only") {
  const auto text = tiny_text(), labels = tiny_text(6);
  const Segments segments = GENERATE(Segments::carried, Segments::independent);
  const ScratchFolder folder;
  Model model = tiny_model();
  Trainer<Model> whole(model, text, labels, segments, tiny_options());
  for (int n = 0; n < 7; ++n) whole.update(0);
  save_training(folder / "a", whole);
  Model other = tiny_model();
  Trainer<Model> resumed(other, text, labels, segments, tiny_options());
  load_training(folder / "a", resumed);
  for (int n = 0; n < 7; ++n) CHECK(resumed.update(0).loss == whole.update(0).loss);
  CHECK(same(other, model));

  const auto message = [&](Trainer<Model> trainer) {
    return message_of<std::runtime_error>([&] { load_training(folder / "a", trainer); });
  };
  CHECK_THAT(message({other, text, tiny_options()}), ContainsSubstring("the training belongs to another text: expected "));
  CHECK_THAT(message({other, text, text, segments, tiny_options()}),
             ContainsSubstring("the training belongs to another text: expected 62 tokens"));
  const bool carried = segments == Segments::carried;
  CHECK_THAT(message({other, text, labels, carried ? Segments::independent : Segments::carried, tiny_options()}),
             ContainsSubstring(carried ? "another segment: expected 4, independent, found 4"
                                       : "another segment: expected 4, found 4, independent"));
}

TEST_CASE("checkpoint: a training goes on at another thread count") {
  const ScratchFolder folder;
  const auto text = tiny_text();
  TrainerOptions options = tiny_options();
  Model model = tiny_model();
  Trainer<Model> trainer(model, text, options);
  for (int n = 0; n < 3; ++n) trainer.update(0);
  save_training(folder / "a", trainer);
  trainer.update(0);
  options.threads = 2;
  Model other = tiny_model();
  Trainer<Model> resumed(other, text, options);
  load_training(folder / "a", resumed);
  resumed.update(0);
  CHECK(same(other, model));
}

TEST_CASE("checkpoint: a failed save leaves the old file") {
  const ScratchFolder folder;
  save_model(folder / "a", tiny_model());
  const std::string old = read_all(folder / "a");
  CHECK_THAT(message_of<std::runtime_error>([&] { save_model(folder / "none/a", tiny_model()); }),
             ContainsSubstring("none/a: cannot write the file: No such file or directory"));
  CHECK_THAT(message_of<std::invalid_argument>([&] {
               save_model(folder / "a", tiny_model(), {{"vocabulary", "\xff"}});
             }),
             ContainsSubstring("expected names and metadata in UTF-8"));
  CHECK(read_all(folder / "a") == old);
  CHECK(folder.files() == 1);
}

TEST_CASE("checkpoint: the fingerprint of a text") {
  const std::vector<Token> a{1, 2, 3}, b{1, 3, 2}, c{1, 2, 3, 0};
  CHECK(fingerprint(a) == fingerprint(std::vector<Token>{1, 2, 3}));
  CHECK(fingerprint(a) != fingerprint(b));
  CHECK(fingerprint(a) != fingerprint(c));
  CHECK(fingerprint({}) == "0 tokens cbf29ce484222325");
}
