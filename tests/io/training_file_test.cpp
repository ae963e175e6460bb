#include "fbt/io/training_file.hpp"

#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/changed_file.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/scratch.hpp"
#include "support/tiny_model.hpp"
#include "support/version_0_1.hpp"

#include <limits>

using namespace fbt;

namespace {

using Model = FeedbackTransformer<float>;

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

/// Resumes a training of version 0.1 after its 3 updates, does 2 more, and compares with what 0.1 made of them. Other
/// vectors and compilers round otherwise.
template <class AnyModel, class AnyConfig>
void check_version_0_1(const std::string& name, const AnyConfig& config) {
  constexpr double tolerance = 1e-5;  // of the largest number of a tensor
  INFO(name);
  Random random(99);
  AnyModel model(config, random);
  const auto text = version_0_1::text();
  Trainer<AnyModel> trainer(model, text, version_0_1::options());
  load_training(version_0_1::file(name, "training"), trainer);
  REQUIRE(trainer.adam().updates == 3);
  const auto expected = load_model<AnyModel>(version_0_1::file(name, "model"));
  for (const int n : {3, 4}) {
    const double loss = trainer.update(0.1 * n).loss;
    CHECK(loss == Approx(std::stod(expected.metadata.at(fmt::format("update.{}.loss", n + 1)))).epsilon(tolerance));
  }
  visit(
      [&](std::string_view tensor, const auto& found, const auto& wanted) {
        INFO(tensor);
        CHECK(difference(found, wanted) <= tolerance * static_cast<double>(wanted.cwiseAbs().maxCoeff()));
      },
      model, expected.model);
}

}  // namespace

TEST_CASE("training file: N + M updates are N, save, load, M, to the last bit") {
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

TEST_CASE("training file: the carried memory is part of a training") {
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

TEST_CASE("training file: a training that does not fit leaves trainer and model as they were") {
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

TEST_CASE("training file: an LstmModel goes on to the last bit") {
  LstmConfig config;
  config.vocabulary = 5;
  config.width = 4;
  config.attention = GENERATE(false, true);
  config.heads = 2;
  config.window = 3;
  config.dropout = 0.1;
  Random random(1);
  LstmModel<float> model(config, random);
  const ScratchFolder folder;
  const auto text = tiny_text();
  Trainer whole(model, text, tiny_options());
  for (int n = 0; n < 3; ++n) whole.update(0);
  save_training(folder / "training", whole);
  LstmModel<float> other(config, random);
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

TEST_CASE("training file: a training of labelled data goes on with the same labels only") {
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

TEST_CASE("training file: a training goes on at another thread count") {
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

TEST_CASE("training file: the fingerprint of a text") {
  const std::vector<Token> a{1, 2, 3}, b{1, 3, 2}, c{1, 2, 3, 0};
  CHECK(fingerprint(a) == fingerprint(std::vector<Token>{1, 2, 3}));
  CHECK(fingerprint(a) != fingerprint(b));
  CHECK(fingerprint(a) != fingerprint(c));
  CHECK(fingerprint({}) == "0 tokens cbf29ce484222325");
}

TEST_CASE("training file: trainings of version 0.1 go on") {
  check_version_0_1<Model>("feedback", version_0_1::feedback_config());
  check_version_0_1<Model>("recurrent", version_0_1::recurrent_config());
  check_version_0_1<LstmModel<float>>("lstm", version_0_1::lstm_config());
}
