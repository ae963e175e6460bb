#include "fbt/io/model_file.hpp"

#include "fbt/models/encoder_decoder.hpp"
#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/changed_file.hpp"
#include "support/expect.hpp"
#include "support/scratch.hpp"
#include "support/small_models.hpp"
#include "support/tiny_model.hpp"
#include "support/version_0_1.hpp"

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

using namespace fbt;

namespace {

using Model = FeedbackTransformer<float>;

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
        c.memory_norm = !(bits & 16) ? MemoryNorm::none
                        : c.pre_norm ? MemoryNorm::block
                        : bits & 8   ? MemoryNorm::own
                                     : MemoryNorm::soft;
        c.value_bias = bits & 1;
        c.output_bias = bits & 2;
        configs.push_back(c);
      }
    }
  }
  return configs;
}

}  // namespace

TEST_CASE("model file: a config as JSON, there and back") {
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
  CHECK(write_config(tiny_config()) ==
        R"({"vocabulary":5,"inputs":0,"outputs":0,"width":4,"layers":2,"heads":2,"head_size":0,"feed_forward":0,"window":3,)"
        R"("activation":"relu",)"
        R"("position":"relative_key","span_ramp":0,"empty_memory":"skip","pre_norm":true,"memory_rule":"feedback",)"
        R"("memory_layer":0,"share_key_value":true,"memory_norm":"own",)"
        R"("value_bias":false,"output_bias":true,"cross_attention":false,"log_probabilities":false,"dropout":0.0,)"
        R"("norm_epsilon":1e-05,"embedding_deviation":0.3})");
  CHECK(read_config(R"({"vocabulary": 5})", "x").width == Config{}.width);  // what is missing keeps its default
}

TEST_CASE("model file: configs that are refused") {
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

TEST_CASE("model file: Config::parameters is what the model holds") {
  Random random(1);
  for (const Config& config : all_configs()) {
    const Model model(config, random);
    INFO(write_config(config));
    REQUIRE(config.parameters() == static_cast<double>(count_parameters(model)));
  }
}

TEST_CASE("model file: a model, there and back, bit for bit") {
  const ScratchFolder folder;
  std::vector<Config> configs = all_configs();
  for (std::size_t i = 0; i < configs.size(); i += 7) {
    const Model model = tiny_model(configs[i]);
    save_model(folder / "a", model, {{"vocabulary", "\n ä"}});
    const auto loaded = load_model<Model>(folder / "a");
    CHECK(loaded.model.config() == configs[i]);
    CHECK(same(loaded.model, model));
    if (const auto& norm = model.core.aggregator.key_values[0].norm)
      CHECK(loaded.model.core.aggregator.key_values[0].norm->epsilon == norm->epsilon);
    CHECK(loaded.metadata.at("vocabulary") == "\n ä");
    CHECK(loaded.metadata.size() == 2);
  }
  // what is not a number stays as it is, too
  Model model = tiny_model();
  model.head.linear.bias << 1, -0.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(),
      1e-45f;
  save_model(folder / "a", model);
  const Vector<float> bias = load_model<Model>(folder / "a").model.head.linear.bias;
  CHECK(std::memcmp(bias.data(), model.head.linear.bias.data(), sizeof(float) * 5) == 0);
}

TEST_CASE("model file: the other scalar type") {
  const ScratchFolder folder;
  const auto model = tiny_model<double>();
  save_model(folder / "double", model);
  CHECK(same(load_model<FeedbackTransformer<double>>(folder / "double").model, model));
  CHECK(TensorFile::read(folder / "double").get("head.weight").dtype == Dtype::f64);

  const auto single = load_model<Model>(folder / "double").model;
  CHECK(single.head.linear.weight == model.head.linear.weight.cast<float>());
  save_model(folder / "float", single);
  CHECK(TensorFile::read(folder / "float").get("head.weight").dtype == Dtype::f32);
  const auto wide = load_model<FeedbackTransformer<double>>(folder / "float").model;
  CHECK(wide.head.linear.weight == single.head.linear.weight.cast<double>());
  CHECK(wide.input.embedding.weight == single.input.embedding.weight.cast<double>());
}

TEST_CASE("model file: the names and shapes in a model's file") {
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
  CHECK(query.number(1) == model.core.blocks[1].attention.query.weight(0, 1));  // row-major
  CHECK(file.get("embedding.weight").shape == std::vector<std::uint64_t>{5, 4});
  CHECK(file.get("mix.weight").shape == std::vector<std::uint64_t>{3});
}

TEST_CASE("model file: tensors that are missing, unexpected or misshapen are listed in one error") {
  const ScratchFolder folder;
  save_model(folder / "a", tiny_model());
  const auto change = [](Metadata&, Views& tensors) {
    tensors.erase("head.bias");
    tensors.erase("blocks.0.norm1.weight");
    TensorView& query = tensors.at("blocks.1.attention.query.weight");
    query.shape = {16};
    tensors.at("mix.weight").shape = {3, 1};
    tensors["head.offset"] = tensors.at("blocks.0.norm1.bias");
    tensors["mask"] = {"", Dtype::boolean, {2, 8}, tensors.at("blocks.0.norm1.bias").bytes};
    tensors.at("norm_out.bias").dtype = Dtype::i32;
  };
  const auto path = changed_file(folder, folder / "a", change);
  const std::string message = message_of<std::runtime_error>([&] { load_model<Model>(path); });
  CHECK_THAT(message, ContainsSubstring(path.string() + ": the tensors do not fit the model:\n"));
  CHECK_THAT(message, ContainsSubstring("\n  missing head.bias of shape (5)"));
  CHECK_THAT(message, ContainsSubstring("\n  missing blocks.0.norm1.weight of shape (4)"));
  CHECK_THAT(message, ContainsSubstring("\n  blocks.1.attention.query.weight: expected shape (4, 4), found (16)"));
  CHECK_THAT(message, ContainsSubstring("\n  mix.weight: expected shape (3), found (3, 1)"));
  CHECK_THAT(message, ContainsSubstring("\n  norm_out.bias: expected dtype F16, BF16, F32 or F64, found I32"));
  CHECK_THAT(message, ContainsSubstring("\n  unexpected head.offset of shape (4)"));
  CHECK_THAT(message, ContainsSubstring("\n  unexpected mask of shape (2, 8)"));
  CHECK(std::count(message.begin(), message.end(), '\n') == 7);

  // into a model that is there: it stays as it was
  Model model = tiny_model(tiny_config(), 2);
  const Model before = model;
  CHECK_THROWS_AS(read_parameters(TensorFile::read(path), "", model), std::runtime_error);
  CHECK(same(model, before));
}

TEST_CASE("model file: files that are no model of ours") {
  const ScratchFolder folder;
  save_model(folder / "a", tiny_model());
  const auto message = [&](auto&& change) {
    return message_of<std::runtime_error>([&] { load_model<Model>(changed_file(folder, folder / "a", change)); });
  };
  CHECK_THAT(message([](Metadata& m, Views&) { m.clear(); }),
             ContainsSubstring("changed: expected a model written by fbt, found no fbt.config in its __metadata__"));
  CHECK_THAT(message([](Metadata& m, Views&) { m["fbt.config"] = "?"; }),
             ContainsSubstring("expected a JSON object as config"));
  CHECK_THAT(message([](Metadata&, Views& t) { t.clear(); }),
             ContainsSubstring("changed: the tensors do not fit the model"));
  CHECK_THAT(message_of<std::runtime_error>([&] { load_model<Model>(folder / "none"); }),
             ContainsSubstring("cannot open the file"));
  Config vectors = tiny_config();
  vectors.vocabulary = 0;
  vectors.inputs = vectors.outputs = 3;
  Random random(1);
  save_model(folder / "vectors", VectorModel<float>(vectors, random));
  CHECK_THAT(message_of<std::runtime_error>([&] { load_model<Model>(folder / "vectors"); }),
             ContainsSubstring("vectors: a model of tokens needs a vocabulary"));
}

TEST_CASE("model file: a config that is far larger than the file is refused at once") {
  const ScratchFolder folder;
  save_model(folder / "a", tiny_model());
  const auto start = std::chrono::steady_clock::now();
  const auto load = [&](auto&& change) {
    Config config = tiny_config();
    change(config);
    load_model<Model>(
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

TEST_CASE("model file: a model's file cut off anywhere is refused") {
  const ScratchFolder folder;
  save_model(folder / "a", tiny_model());
  const std::string whole = read_all(folder / "a");
  for (std::size_t size = 0; size < whole.size(); size += 61) {
    INFO(size);
    CHECK_THROWS_AS(load_model<Model>(TensorFile::parse(whole.substr(0, size), "x")), std::runtime_error);
  }
}

TEST_CASE("model file: a probe tests the model when it is loaded") {
  const ScratchFolder folder;
  const auto configs = all_configs();
  for (std::size_t i = 0; i < configs.size(); i += 11) {
    const auto model = tiny_model<double>(configs[i]);
    save_model(folder / "a", model, {}, Probe::store);
    CHECK(TensorFile::read(folder / "a").get("fbt.probe.logits").shape == std::vector<std::uint64_t>{8, 7});
    CHECK(same(load_model<FeedbackTransformer<double>>(folder / "a").model, model));
    CHECK_NOTHROW(load_model<Model>(folder / "a"));  // rounded, but no other model
  }
  Model broken = tiny_model();
  broken.head.linear.bias(0) = std::numeric_limits<float>::quiet_NaN();
  save_model(folder / "a", broken, {}, Probe::store);  // without: nothing could be compared
  CHECK_NOTHROW(load_model<Model>(folder / "a"));
  Config large = tiny_config();
  large.heads = 1 << 10;
  large.head_size = 1;
  large.window = 1 << 12;
  large.empty_memory = EmptyMemory::zero_slots;
  save_model(folder / "a", tiny_model(large), {}, Probe::store);
  CHECK(TensorFile::read(folder / "a").find("fbt.probe.tokens") == nullptr);
}

namespace {

/// Saves a model with a probe, and damages each of its parameters in turn.
template <class AnyModel>
void check_that_a_probe_notices_damage(const AnyModel& model) {
  const ScratchFolder folder;
  save_model(folder / "a", model, {}, Probe::store);
  std::vector<std::string> names;
  visit([&](std::string_view name, const auto&) { names.emplace_back(name); }, model);
  for (const std::string& name : names) {
    INFO(name);
    std::string bytes;
    const auto damage = [&](Metadata&, Views& t) {
      TensorView& tensor = t.at(name);
      bytes = tensor.bytes;
      const std::size_t last = bytes.size() - sizeof(float);  // of the positions: the newest slot
      const float damaged = -2 - 2 * tensor.at<float>(tensor.size() - 1);
      std::memcpy(bytes.data() + last, &damaged, sizeof(float));
      tensor.bytes = bytes;
    };
    CHECK_THAT(
        message_of<std::runtime_error>([&] { load_model<AnyModel>(changed_file(folder, folder / "a", damage)); }),
        ContainsSubstring("changed: the model does not give the logits that were stored with it: expected them to 0.001"));
  }
}

}  // namespace

TEST_CASE("model file: a probe notices damaged weights, and is checked itself") {
  const ScratchFolder folder;
  Config config = tiny_config();
  config.activation = Activation::gelu;  // no unit that is off whatever its weights are
  const Model model = tiny_model(config);
  save_model(folder / "a", model, {}, Probe::store);
  const auto message = [&](auto&& change) {
    return message_of<std::runtime_error>([&] { load_model<Model>(changed_file(folder, folder / "a", change)); });
  };
  check_that_a_probe_notices_damage(model);
  const std::string shape = "changed: the probe: expected up to 8 tokens of dtype I32 and their logits, found shapes ";
  CHECK_THAT(message([](Metadata&, Views& t) {
               t.at("fbt.probe.logits").shape = {5, 8};
             }),
             ContainsSubstring(shape + "(8) and (5, 8)"));
  CHECK_THAT(message([](Metadata&, Views& t) { t.at("fbt.probe.tokens").dtype = Dtype::f32; }),
             ContainsSubstring("changed: the probe: expected tokens of dtype I32, found F32"));
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
  CHECK_NOTHROW(load_model<Model>(changed_file(folder, folder / "a", [](Metadata&, Views& t) {
    t.erase("fbt.probe.tokens");
    t.erase("fbt.probe.logits");
  })));
}

TEST_CASE("model file: an LstmModel, there and back") {
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
  const auto loaded = load_model<LstmModel<float>>(folder / "a");
  CHECK(loaded.model.config() == config);
  CHECK(same(loaded.model, model));
  CHECK(loaded.metadata.at("note") == "x");
  CHECK_THAT(message_of<std::runtime_error>([&] { load_model<Model>(folder / "a"); }),
             ContainsSubstring("expected a model written by fbt, found no fbt.config in its __metadata__"));
  save_model(folder / "b", tiny_model());
  CHECK_THAT(message_of<std::runtime_error>([&] { load_model<LstmModel<float>>(folder / "b"); }),
             ContainsSubstring("found no fbt.lstm in its __metadata__"));
  LstmConfig large = config;
  large.width = largest_dimension;
  CHECK_THAT(message_of<std::runtime_error>([&] {
               load_model<LstmModel<float>>(
                   changed_file(folder, folder / "a", [&](Metadata& m, Views&) { m["fbt.lstm"] = write_config(large); }));
             }),
             ContainsSubstring("parameters by its config, found "));
}

TEST_CASE("model file: a failed save leaves the old file") {
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

TEST_CASE("model file: outputs of another number than the vocabulary") {
  const ScratchFolder folder;
  Config config = tiny_config();
  config.outputs = GENERATE(3, 7);
  const auto model = tiny_model<float>(config);
  save_model(folder / "a", model);
  const auto loaded = load_model<Model>(folder / "a");
  CHECK(loaded.model.config() == config);
  CHECK(same(loaded.model, model));
}

TEST_CASE("model file: a probe of outputs of another number than the vocabulary") {
  const ScratchFolder folder;
  Config config = tiny_config();
  config.outputs = 7;
  const auto model = tiny_model<float>(config);
  save_model(folder / "a", model, {}, Probe::store);
  CHECK(same(load_model<Model>(folder / "a").model, model));
}

TEST_CASE("model file: files of version 0.1") {
  const auto feedback = load_model<Model>(version_0_1::file("feedback", "model"));
  CHECK(feedback.model.config() == version_0_1::feedback_config());
  CHECK(feedback.metadata.at("vocabulary.kind") == "character");
  CHECK(feedback.metadata.at("vocabulary") == "abé \n");
  const auto recurrent = load_model<Model>(version_0_1::file("recurrent", "model"));
  CHECK(recurrent.model.config() == version_0_1::recurrent_config());
  const auto lstm = load_model<LstmModel<float>>(version_0_1::file("lstm", "model"));
  CHECK(lstm.model.config() == version_0_1::lstm_config());
  CHECK(lstm.metadata.at("note") == "x");
  for (const std::string name : {"feedback", "recurrent", "lstm"})  // so that loading compared the logits
    CHECK(TensorFile::read(version_0_1::file(name, "model")).find("fbt.probe.logits"));

  // what is written again is the same file
  const ScratchFolder folder;
  save_model(folder / "a", feedback.model, feedback.metadata);
  const TensorFile before = TensorFile::read(version_0_1::file("feedback", "model")), after = TensorFile::read(folder / "a");
  Metadata metadata = after.metadata();
  std::string& config = metadata.at("fbt.config");
  for (const std::string later : {R"("inputs":0,"outputs":0,)", R"("cross_attention":false,)"})  // 0.1 did not have them
    config.erase(config.find(later), later.size());
  CHECK(metadata == before.metadata());
  CHECK(after.tensors().size() + 2 == before.tensors().size());
  for (const TensorView& tensor : after.tensors()) CHECK(tensor.bytes == before.get(tensor.name).bytes);
}

namespace {

EncoderDecoderConfig small_translator() {
  EncoderDecoderConfig c;
  c.decoder = small_config();
  c.decoder.cross_attention = true;
  c.source_vocabulary = 7;
  c.encoder_layers = 3;
  c.reach = 2;
  return c;
}

}  // namespace

TEST_CASE("model file: an EncoderDecoder, there and back, is no language model") {
  Random random(8);
  EncoderDecoder<double> model(small_translator(), random);
  scatter(model, random);
  const ScratchFolder folder;
  save_model(folder / "model", model, {{"language", "none"}}, Probe::store);
  const auto [loaded, metadata] = load_model<EncoderDecoder<double>>(folder / "model");
  CHECK(loaded.config() == model.config());
  CHECK(same(loaded, model));
  CHECK(metadata.at("language") == "none");
  CHECK(message_of<std::runtime_error>([&] {
          load_model<FeedbackTransformer<double>>(folder / "model");
        }).find("expected a model written by fbt, found no fbt.config in its __metadata__") != std::string::npos);
}

TEST_CASE("model file: a probe notices damaged weights of an EncoderDecoder, and a decoder alone has none") {
  Random random(2);  // with other numbers some weights hardly matter
  const EncoderDecoder<float> model(small_translator(), random);
  check_that_a_probe_notices_damage(model);
  const ScratchFolder folder;
  save_model(folder / "decoder", model.decoder, {}, Probe::store);
  CHECK(TensorFile::read(folder / "decoder").find("fbt.probe.tokens") == nullptr);
  CHECK(same(load_model<FeedbackTransformer<float>>(folder / "decoder").model, model.decoder));
}

TEST_CASE("model file: an EncoderDecoder that has gone on under another memory rule") {
  Random random(10);
  EncoderDecoderConfig c = small_translator();
  c.decoder.memory_rule = MemoryRule::transformer;
  c.decoder.share_key_value = false;
  EncoderDecoder<double> model(c, random);
  scatter(model, random);
  model.decoder.core.set_memory_rule(MemoryRule::average);
  CHECK(model.config().decoder.memory_rule == MemoryRule::average);
  const ScratchFolder folder;
  save_model(folder / "model", model);
  const auto loaded = load_model<EncoderDecoder<double>>(folder / "model").model;
  const std::vector<std::vector<Token>> sources{{1, 2}};
  auto a = model.start(sources), b = loaded.start(sources);
  for (const Token token : {1, 3, 0, 2}) {
    const std::vector<Token> read{token};
    CHECK(model.step(read, a) == loaded.step(read, b));
  }
}
