#include "fbt/io/training_file.hpp"

#include "fbt/models/sequence_model.hpp"
#include "fbt/training/pair_batches.hpp"
#include "fbt/training/schedule.hpp"
#include "support/catch.hpp"
#include "support/changed_file.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/scratch.hpp"
#include "support/tiny_model.hpp"
#include "support/training.hpp"
#include "support/version_0_1.hpp"

#include <limits>

using namespace fbt;

namespace {

using Model = FeedbackTransformer<float>;

std::vector<Token> tiny_text(std::uint64_t seed = 5) {
  Random random(seed);
  return random_tokens(62, 5, random);
}
struct Options {
  BatchOptions batches{.lanes = 3, .segment = 4};
  AdamOptions adam{.weight_decay = 0.1};
  TrainerOptions trainer{.fresh = 0};
  Schedule schedule{0.01, 5, 0.1};
};

/// A training with a schedule, of the tokens that follow or of labels.
template <class AnyModel>
struct TinyTraining : Training<AnyModel> {
  Schedule schedule;

  TinyTraining(AnyModel& model, const Batches<>& batches, const Options& o)
      : Training<AnyModel>(model, batches, o.adam, o.trainer), schedule(o.schedule) {}
  TinyTraining(AnyModel& model, const std::vector<Token>& text, const Options& o = {})
      : TinyTraining(model, Batches<>(text, o.batches), o) {}
  TinyTraining(AnyModel& model, const std::vector<Token>& text, const std::vector<Token>& labels, const Options& o = {})
      : TinyTraining(model, Batches<>(text, labels, o.batches), o) {}

  auto update(double progress = 0) { return this->trainer.update(schedule.rate(this->adam.updates, progress), progress); }
};

/// Resumes a training of version 0.1 after its 3 updates, does 2 more, and compares with what 0.1 made of them. Other
/// vectors and compilers round otherwise.
template <class AnyModel, class AnyConfig>
void check_version_0_1(const std::string& name, const AnyConfig& config) {
  constexpr double tolerance = 1e-5;  // of the largest number of a tensor
  INFO(name);
  Random random(99);
  AnyModel model(config, random);
  const auto text = version_0_1::text();
  TinyTraining<AnyModel> training(
      model, text,
      {version_0_1::batch_options(), version_0_1::adam_options(), version_0_1::options(), version_0_1::schedule()});
  load_training(version_0_1::file(name, "training"), training.trainer);
  REQUIRE(training.adam.updates == 3);
  const auto expected = load_model<AnyModel>(version_0_1::file(name, "model"));
  for (const int n : {3, 4}) {
    const double loss = training.update(0.1 * n).loss;
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
  Options options;
  options.trainer.first_segment = c.first_segment;
  options.trainer.growing = 0.1;
  options.trainer.shards = c.shards;
  options.batches.lanes = c.lanes;
  options.batches.segment = c.segment;

  const ScratchFolder folder;
  Model whole = tiny_model(config);
  TinyTraining one(whole, text, options);
  const auto run = [](TinyTraining<Model>& training, int from, int to) {
    std::vector<double> losses;
    for (int n = from; n < to; ++n) losses.push_back(training.update(0.01 * n).loss);
    return losses;
  };
  run(one, 0, c.before);
  save_training(folder / "a", one.trainer, {{"note", "x"}});
  const auto expected = run(one, c.before, c.before + c.after);
  CHECK(one.trainer.batches().place().passes > 0);  // went over the border of a pass

  Model resumed = tiny_model(config, 99);
  TinyTraining two(resumed, text, options);
  run(two, 0, 2);  // whatever it had done before
  CHECK(load_training(folder / "a", two.trainer).at("note") == "x");
  CHECK(two.adam.updates == c.before);
  save_training(folder / "b", two.trainer, {{"note", "x"}});
  CHECK(read_all(folder / "b") == read_all(folder / "a"));  // nothing that is kept has changed on the way
  CHECK(run(two, c.before, c.before + c.after) == expected);
  CHECK(same(resumed, whole));
  CHECK(same(two.adam.m, one.adam.m));
  CHECK(same(two.adam.v, one.adam.v));
  CHECK(two.trainer.batches().place() == one.trainer.batches().place());
}

TEST_CASE("training file: the carried memory is part of a training") {
  const ScratchFolder folder;
  const auto text = tiny_text();
  Model model = tiny_model();
  TinyTraining training(model, text);
  for (int n = 0; n < 2; ++n) training.update();
  save_training(folder / "a", training.trainer);
  const double expected = training.update().loss;
  const auto loss_after = [&](auto&& change) {
    Model other = tiny_model();
    TinyTraining resumed(other, text);
    load_training(changed_file(folder, folder / "a", change), resumed.trainer);
    return resumed.update().loss;
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
  TinyTraining training(model, text);
  for (int n = 0; n < 3; ++n) training.update();
  save_training(folder / "a", training.trainer);
  const std::string whole = read_all(folder / "a");

  /// Loads into a trainer of other options, text or config, and checks that nothing has changed.
  const auto message = [&](const std::filesystem::path& path, const Options& options, const std::vector<Token>& data,
                           const Config& config) {
    Model other = tiny_model(config, 7);
    TinyTraining target(other, data, options);
    target.update();
    save_training(folder / "before", target.trainer);
    const std::string result = message_of<std::runtime_error>([&] { load_training(path, target.trainer); });
    save_training(folder / "after", target.trainer);
    CHECK(read_all(folder / "before") == read_all(folder / "after"));
    std::filesystem::remove(folder / "before");
    std::filesystem::remove(folder / "after");
    return result;
  };
  const auto with_options = [&](auto&& change) {
    Options options;
    change(options);
    return message(folder / "a", options, text, tiny_config());
  };
  const auto with_file = [&](auto&& change) {
    return message(changed_file(folder, folder / "a", change), Options{}, text, tiny_config());
  };
  const std::string name = (folder / "a").string();

  SECTION("other options") {
    using O = Options;
    CHECK(with_options([](O& o) { o.batches.lanes = 4; }) ==
          name + ": the training belongs to another lanes: expected 4, found 3");
    CHECK(with_options([](O& o) { o.batches.segment = 5; }) ==
          name + ": the training belongs to another segment: expected 5, found 4");
    CHECK(with_options([](O& o) { o.trainer.shards = 3; }) ==
          name + ": the training belongs to another shards: expected 3, found 2");
    CHECK(with_options([](O& o) { o.batches.seed = 2; }) ==
          name + ": the training belongs to another seed: expected 2, found 1");
  }
  SECTION("another text") {
    CHECK_THAT(message(folder / "a", Options{}, tiny_text(6), tiny_config()),
               ContainsSubstring(": the training belongs to another text: expected 62 tokens "));
    auto longer = text;
    longer.push_back(0);
    CHECK_THAT(message(folder / "a", Options{}, longer, tiny_config()), ContainsSubstring("expected 63 tokens "));
  }
  SECTION("another config") {
    Config config = tiny_config();
    config.window = 4;
    CHECK_THAT(message(folder / "a", Options{}, text, config),
               ContainsSubstring(": the training belongs to another config: expected window 4, found 3"));
    config = tiny_config();
    config.memory_rule = MemoryRule::average;
    CHECK_THAT(message(folder / "a", Options{}, text, config),
               ContainsSubstring(": the training belongs to another config: expected memory_rule average, found feedback"));
  }
  SECTION("a config from before a field was added") {
    const auto older = changed_file(folder, folder / "a", [](Metadata& metadata, Views&) {
      std::string& config = metadata.at("fbt.training.config");
      const std::string field = R"("span_ramp":0,)";
      config.erase(config.find(field), field.size());
    });
    load_training(older, training.trainer);
    CHECK(training.adam.updates == 3);
  }
  SECTION("another scalar type") {
    Random random(1);
    FeedbackTransformer<double> other(tiny_config(), random);
    TinyTraining target(other, text);
    CHECK_THAT(message_of<std::runtime_error>([&] { load_training(folder / "a", target.trainer); }),
               ContainsSubstring("the training belongs to another scalar: expected F64, found F32"));
  }
  SECTION("a foreign file") {
    save_model(folder / "model", model);
    CHECK_THAT(message(folder / "model", Options{}, text, tiny_config()),
               ContainsSubstring("expected a training written by fbt, found no fbt.training."));
    CHECK_THAT(message(folder / "none", Options{}, text, tiny_config()), ContainsSubstring("cannot open the file"));
    write_all(folder / "text", "It was the best of times, it was the worst of times.");
    CHECK_THAT(message(folder / "text", Options{}, text, tiny_config()), ContainsSubstring("safetensors header"));
  }
  SECTION("cut off anywhere") {
    for (std::size_t size = 0; size < whole.size(); size += 331) {
      INFO(size);
      write_all(folder / "cut", whole.substr(0, size));
      CHECK_THAT(message(folder / "cut", Options{}, text, tiny_config()), ContainsSubstring("cut: "));
    }
  }
  SECTION("tensors") {
    // the last thing that is read is wrong: all before it must not have been taken over
    CHECK_THAT(with_file([](Metadata&, Views& t) { t.erase("memory.1.0.values"); }),
               ContainsSubstring("expected a tensor named memory.1.0.values, found none"));
    CHECK_THAT(with_file([](Metadata&, Views& t) {
                 std::reverse(t.at("memory.1.0.values").shape.begin(), t.at("memory.1.0.values").shape.end());
               }),
               ContainsSubstring("memory.1.0.values: expected shape (2, 12) of dtype F32, found (12, 2) of F32"));
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
               ContainsSubstring("adam.v.head.bias: expected means of squares, found others"));
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
  TinyTraining whole(model, text);
  for (int n = 0; n < 3; ++n) whole.update();
  save_training(folder / "training", whole.trainer);
  LstmModel<float> other(config, random);
  TinyTraining resumed(other, text);
  load_training(folder / "training", resumed.trainer);
  for (int n = 0; n < 9; ++n) CHECK(resumed.update().loss == whole.update().loss);
  CHECK(same(other, model));
  for (const std::string name : {"memory.1.hidden.1", "memory.1.cell.0"}) {
    const auto path = changed_file(folder, folder / "training", [&](Metadata&, Views& t) { t.erase(name); });
    CHECK_THAT(message_of<std::runtime_error>([&] { load_training(path, resumed.trainer); }),
               ContainsSubstring("expected a tensor named " + name + ", found none"));
  }
  CHECK(same(other, model));
}

TEST_CASE("training file: a training of labelled data goes on with the same labels only") {
  const auto text = tiny_text(), labels = tiny_text(6);
  Options options;
  const Segments segments = options.batches.segments = GENERATE(Segments::carried, Segments::independent);
  const ScratchFolder folder;
  Model model = tiny_model();
  TinyTraining whole(model, text, labels, options);
  for (int n = 0; n < 7; ++n) whole.update();
  save_training(folder / "a", whole.trainer);
  Model other = tiny_model();
  TinyTraining resumed(other, text, labels, options);
  load_training(folder / "a", resumed.trainer);
  for (int n = 0; n < 7; ++n) CHECK(resumed.update().loss == whole.update().loss);
  CHECK(same(other, model));

  const auto message = [&](const Batches<>& batches) {
    TinyTraining training(other, batches, options);
    return message_of<std::runtime_error>([&] { load_training(folder / "a", training.trainer); });
  };
  CHECK_THAT(message({text, options.batches}), ContainsSubstring("the training belongs to another text: expected "));
  CHECK_THAT(message({text, text, options.batches}),
             ContainsSubstring("the training belongs to another text: expected 62 tokens"));
  const bool carried = segments == Segments::carried;
  BatchOptions others = options.batches;
  others.segments = carried ? Segments::independent : Segments::carried;
  CHECK_THAT(message({text, labels, others}),
             ContainsSubstring(carried ? "another segment: expected 4, independent, found 4"
                                       : "another segment: expected 4, found 4, independent"));
}

TEST_CASE("training file: a training of a stream with starts goes on to the last bit, with the same starts only") {
  const auto text = tiny_text();
  Random random(3);
  std::vector<std::uint8_t> starts, others;
  for (std::size_t i = 0; i < text.size(); ++i) starts.push_back(random.below(5) == 0);
  starts[30] = 1;  // step 10 of lane 1; lane 2 has begun before
  starts[49] = starts[50] = starts[51] = 0;
  others = starts;
  others[17] = !others[17];
  const Options options;
  const auto with_starts = [&](const std::vector<std::uint8_t>& marks) {
    Batches batches(text, options.batches);
    batches.set_starts(marks);
    return batches;
  };
  const ScratchFolder folder;
  Model model = tiny_model();
  TinyTraining whole(model, with_starts(starts), options);
  for (int n = 0; n < 3; ++n) whole.update();
  save_training(folder / "a", whole.trainer);
  // lanes have begun at different slots: that is kept
  CHECK(TensorFile::read(folder / "a").find("memory.1.begin") != nullptr);
  Model other = tiny_model(tiny_config(), 99);
  TinyTraining resumed(other, with_starts(starts), options);
  load_training(folder / "a", resumed.trainer);
  save_training(folder / "b", resumed.trainer);
  CHECK(read_all(folder / "b") == read_all(folder / "a"));
  for (int n = 0; n < 9; ++n) CHECK(resumed.update().loss == whole.update().loss);
  CHECK(same(other, model));
  CHECK(same(resumed.adam.v, whole.adam.v));

  // any number but 0 is a start
  std::vector<std::uint8_t> larger = starts;
  for (std::uint8_t& mark : larger) mark = static_cast<std::uint8_t>(mark * 7);
  TinyTraining same_starts(other, with_starts(larger), options);
  CHECK_NOTHROW(load_training(folder / "a", same_starts.trainer));
  const auto message = [&](const Batches<>& batches) {
    TinyTraining training(other, batches, options);
    return message_of<std::runtime_error>([&] { load_training(folder / "a", training.trainer); });
  };
  CHECK_THAT(message(with_starts(others)), ContainsSubstring("the training belongs to another text: expected 62 tokens") &&
                                               ContainsSubstring(" with the starts "));
  CHECK_THAT(message({text, options.batches}),
             ContainsSubstring("the training belongs to another text: expected 62 tokens") &&
                 ContainsSubstring(" with the starts "));
}

TEST_CASE("training file: a training with parameter groups goes on to the last bit, and they may be changed") {
  const auto text = tiny_text();
  Options options;
  options.adam.groups = {{.pattern = "blocks.0.*", .frozen = true},
                         {.pattern = "head.*", .rate = 0.25, .weight_decay = 0.5}};
  const ScratchFolder folder;
  Model model = tiny_model();
  const Model start = model;
  TinyTraining whole(model, text, options);
  for (int n = 0; n < 4; ++n) whole.update();
  save_training(folder / "a", whole.trainer);
  Model other = tiny_model(tiny_config(), 99);
  TinyTraining resumed(other, text, options);
  load_training(folder / "a", resumed.trainer);
  CHECK(resumed.adam.options().groups.size() == 2);
  for (int n = 0; n < 6; ++n) CHECK(resumed.update().loss == whole.update().loss);
  CHECK(same(other, model));
  CHECK(same(other.core.blocks[0], start.core.blocks[0]));
  CHECK_FALSE(same(other.core.blocks[1], start.core.blocks[1]));

  // the groups are the trainer's, not the file's: what was frozen is trained from here on
  options.adam.groups.clear();
  TinyTraining thawed(other, text, options);
  load_training(folder / "a", thawed.trainer);
  thawed.update();
  CHECK_FALSE(same(other.core.blocks[0], start.core.blocks[0]));
}

TEST_CASE("training file: a training of vectors goes on to the last bit, with the same vectors only") {
  using Exact = VectorModel<double>;
  using Data = Batches<Vectors<double>, Vectors<double>>;
  Config config = tiny_config();
  config.vocabulary = 0;
  config.inputs = 3;
  config.outputs = 2;
  config.dropout = 0.1;
  Random random(1);
  const Exact start(config, random);
  Matrix<double> values(3, 62), targets(2, 62);
  fill_normal(values, 1, random);
  fill_normal(targets, 1, random);
  const auto view = [](const Matrix<double>& m) { return Vectors<double>(m.data(), m.rows(), m.cols()); };
  const Options options;
  using VectorTraining = Training<Exact, Data, SquaredError<double>>;
  const ScratchFolder folder;
  Exact model = start, other = start;
  VectorTraining whole(model, {view(values), view(targets), options.batches}, options.adam, options.trainer);
  for (int n = 0; n < 4; ++n) whole.update(0.01);
  save_training(folder / "a", whole.trainer);
  VectorTraining resumed(other, {view(values), view(targets), options.batches}, options.adam, options.trainer);
  resumed.update(0.02);
  load_training(folder / "a", resumed.trainer);
  for (int n = 0; n < 6; ++n) CHECK(resumed.update(0.01).loss == whole.update(0.01).loss);
  CHECK(same(other, model));
  CHECK(whole.trainer.batches().place().passes > 0);

  const auto message = [&](const Matrix<double>& v, const Matrix<double>& t) {
    VectorTraining training(other, {view(v), view(t), options.batches}, options.adam, options.trainer);
    const Exact before = other;
    const std::string result = message_of<std::runtime_error>([&] { load_training(folder / "a", training.trainer); });
    CHECK(same(other, before));
    return result;
  };
  Matrix<double> changed = values;
  changed(2, 61) += 1e-12;
  CHECK_THAT(message(changed, targets), ContainsSubstring(": expected 62 vectors of 3 "));
  changed = targets;
  changed(0, 0) = -changed(0, 0);
  CHECK_THAT(message(values, changed), ContainsSubstring(" with the labels 62 vectors of 2 "));
  CHECK_THAT(message(values.leftCols(61), targets.leftCols(61)), ContainsSubstring(": expected 61 vectors of 3 "));
}

TEST_CASE("training file: a training goes on at another thread count") {
  const ScratchFolder folder;
  const auto text = tiny_text();
  Options options;
  Model model = tiny_model();
  TinyTraining training(model, text, options);
  for (int n = 0; n < 3; ++n) training.update();
  save_training(folder / "a", training.trainer);
  training.update();
  options.trainer.threads = 2;
  Model other = tiny_model();
  TinyTraining resumed(other, text, options);
  load_training(folder / "a", resumed.trainer);
  resumed.update();
  CHECK(same(other, model));
}

TEST_CASE("training file: the fingerprint of a text, and of vectors") {
  const std::vector<Token> a{1, 2, 3}, b{1, 3, 2}, c{1, 2, 3, 0};
  CHECK(fingerprint(a) == fingerprint(std::vector<Token>{1, 2, 3}));
  CHECK(fingerprint(a) != fingerprint(b));
  CHECK(fingerprint(a) != fingerprint(c));
  CHECK(fingerprint(Tokens{}) == "0 tokens cbf29ce484222325");
  Matrix<float> m(2, 3), turned(3, 2);
  m << 1, 2, 3, 4, 5, 6;
  turned << 1, 5, 4, 3, 2, 6;  // the same numbers in the same order
  const auto of = [](const Matrix<float>& vectors) {
    return fingerprint(Vectors<float>(vectors.data(), vectors.rows(), vectors.cols()));
  };
  const std::string before = of(m);
  CHECK(before.starts_with("3 vectors of 2 "));
  CHECK(before != of(turned));
  m(1, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK(of(m) != before);
  CHECK(of(m) == of(m));
  const Matrix<double> x = Matrix<double>::Constant(2, 2, 1.5), negative = -x;  // in two numbers and in four
  for (const Index n : {1, 2})
    CHECK(fingerprint(Vectors<double>(x.data(), 2, n)) != fingerprint(Vectors<double>(negative.data(), 2, n)));
}

TEST_CASE("training file: trainings of version 0.1 go on") {
  check_version_0_1<Model>("feedback", version_0_1::feedback_config());
  check_version_0_1<Model>("recurrent", version_0_1::recurrent_config());
  check_version_0_1<LstmModel<float>>("lstm", version_0_1::lstm_config());
}

TEST_CASE("training file: its model can be loaded alone") {
  const ScratchFolder folder;
  Random random(3);
  Model model(tiny_config(), random);
  const auto text = tiny_text();
  TinyTraining training(model, text);
  for (int n = 0; n < 3; ++n) training.update();
  save_training(folder / "a", training.trainer, {{"note", "x"}});
  const TensorFile file = TensorFile::read(folder / "a");
  CHECK(is_training(file));
  const auto loaded = load_trained_model<Model>(file);
  CHECK(loaded.metadata.at("note") == "x");
  CHECK(loaded.model.config() == model.config());
  visit(
      [](std::string_view name, const auto& found, const auto& wanted) {
        INFO(name);
        CHECK(found == wanted);
      },
      loaded.model, model);
  CHECK(load_trained_model<FeedbackTransformer<double>>(file).model.config() == model.config());

  save_model(folder / "model", model);
  const TensorFile other = TensorFile::read(folder / "model");
  CHECK(!is_training(other));
  CHECK_THAT(message_of<std::runtime_error>([&] { load_trained_model<Model>(other); }),
             ContainsSubstring("model: expected a training written by fbt"));
  const auto missing = changed_file(folder, folder / "a", [](Metadata&, Views& t) { t.erase("model.norm_out.weight"); });
  CHECK_THAT(message_of<std::runtime_error>([&] { load_trained_model<Model>(TensorFile::read(missing)); }),
             ContainsSubstring("missing model.norm_out.weight"));

  // what a file says of itself is not handed on to a file of another kind, but what is said beside it
  save_model(folder / "of_training", loaded.model, loaded.metadata);
  CHECK(!is_training(TensorFile::read(folder / "of_training")));
  CHECK(load_model<Model>(folder / "of_training").metadata.at("note") == "x");
  save_training(folder / "of_model", training.trainer, load_model<Model>(folder / "of_training").metadata);
  CHECK(read_all(folder / "of_model") == read_all(folder / "a"));
}

TEST_CASE("training file: a memory that the model refuses is damage") {
  const ScratchFolder folder;
  Config config = tiny_config();
  config.empty_memory = EmptyMemory::zero_slots;
  Model model = tiny_model(config);
  const auto text = tiny_text();
  TinyTraining training(model, text);
  training.update();
  save_training(folder / "a", training.trainer);
  const float first[] = {1, 0};
  const auto path = changed_file(folder, folder / "a", [&](Metadata&, Views& t) {
    t["memory.1.begin"] = {"memory.1.begin", Dtype::f32, {1, 2}, {reinterpret_cast<const char*>(first), sizeof(first)}};
  });
  CHECK_THAT(message_of<std::runtime_error>([&] { load_training(path, training.trainer); }),
             ContainsSubstring("changed: a lane cannot begin anew alone"));
  CHECK_NOTHROW(training.update());
}

TEST_CASE("a training of pairs goes on bit for bit, and only with the same pairs") {
  EncoderDecoderConfig c;
  c.decoder = {.vocabulary = 6, .width = 8, .layers = 1, .heads = 2, .window = 3, .dropout = 0.1};
  c.decoder.cross_attention = true;
  c.encoder_layers = 1;
  std::vector<TokenPair> pairs{{{1, 2}, {2, 1}}, {{3}, {3, 3, 4}}, {{4, 1, 2}, {}}, {{2, 2}, {1}}, {{1}, {4}}};
  using PairModel = EncoderDecoder<float>;
  struct Run {
    PairModel model;
    Adam<PairModel> adam;
    Trainer<PairModel, CrossEntropy, Adam<PairModel>, PairBatches> trainer;

    Run(const EncoderDecoderConfig& config, Random random, const std::vector<TokenPair>& data)
        : model(config, random), adam(model), trainer(model, adam, PairBatches(data, {.lanes = 2}), {.shards = 2}) {}
  };
  const ScratchFolder folder;
  const auto path = folder.path / "training.safetensors";
  Run whole(c, Random(1), pairs);
  for (int i = 0; i < 7; ++i) {
    if (i == 4) save_training(path, whole.trainer);
    whole.trainer.update(1e-2);
  }
  Run other(c, Random(2), pairs);
  load_training(path, other.trainer);
  for (int i = 4; i < 7; ++i) other.trainer.update(1e-2);
  CHECK(same(other.model, whole.model));
  CHECK(same(other.adam.v, whole.adam.v));

  pairs[1].target = {3, 3};
  pairs[2].target = {4};
  Run changed(c, Random(2), pairs);
  CHECK(message_of<std::runtime_error>([&] {
          load_training(path, changed.trainer);
        }).find("another text: expected 5 pairs ") != std::string::npos);
}
