#include "fbt/training/trainer.hpp"

#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <limits>
#include <map>
#include <numeric>
#include <type_traits>
#include <vector>

using namespace fbt;

namespace {

using Model = FeedbackTransformer<float>;

Config tiny_config() {
  Config config;
  config.vocabulary = 5;
  config.width = 8;
  config.layers = 2;
  config.heads = 2;
  config.window = 4;
  return config;
}
Model tiny_model(const Config& config = tiny_config()) {
  Random random(1);
  return Model(config, random);
}
std::vector<Token> tiny_text(Index size, Index vocabulary = 5) {
  Random random(5);
  return random_tokens(size, vocabulary, random);
}
TrainerOptions tiny_options() {
  TrainerOptions options;
  options.fresh = 0;
  options.lanes = 3;
  options.segment = 4;
  options.shards = 2;
  options.schedule = {0.01, 0, 1};
  return options;
}

bool same(const Model& a, const Model& b) {
  bool equal = true;
  visit([&](std::string_view, const auto& x, const auto& y) { equal = equal && x == y; }, a, b);
  return equal;
}
double distance(const Model& a, const Model& b) {
  Model difference = a;
  visit([](std::string_view, auto& x, const auto& y) { x -= y; }, difference, b);
  return std::sqrt(squared_norm(difference));
}

/// The losses of predicting each token of a text but the first, in one run of one lane.
std::vector<double> naive_losses(const Model& model, Tokens text) {
  std::vector<double> losses;
  auto state = model.start(1);
  for (std::size_t i = 0; i + 1 < text.size(); ++i)
    losses.push_back(cross_entropy(model.step(text.subspan(i, 1), state), text.subspan(i + 1, 1)).sum);
  return losses;
}
double sum(const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); }

/// A model that remembers nothing and gives token v the logit v (+ 10 after token 3), and notes which tokens were read.
struct Unigram {
  using Scalar = double;
  struct State {
    Matrix<double> logits;
  };
  std::vector<std::vector<Token>>* read = nullptr;  // by step

  State start(Index lanes) const { return {Matrix<double>::Zero(5, lanes)}; }
  const Matrix<double>& step(Tokens tokens, State& state) const {
    if (read) read->emplace_back(tokens.begin(), tokens.end());
    for (Index b = 0; b < state.logits.cols(); ++b)
      for (Index v = 0; v < 5; ++v)
        state.logits(v, b) =
            static_cast<double>(v) + (tokens[static_cast<std::size_t>(b)] == 3 ? 10 - 9 * static_cast<double>(v) : 0);
    return state.logits;
  }
};

}  // namespace

// A trainer keeps a view of its data: what dies at the end of the call does not compile.
static_assert(std::is_constructible_v<Trainer<FeedbackTransformer<float>>, FeedbackTransformer<float>&,
                                      const std::vector<Token>&, const TrainerOptions&>);
static_assert(!std::is_constructible_v<Trainer<FeedbackTransformer<float>>, FeedbackTransformer<float>&, std::vector<Token>,
                                       const TrainerOptions&>);
static_assert(!std::is_constructible_v<Trainer<FeedbackTransformer<float>>, FeedbackTransformer<float>&, std::vector<Token>,
                                       const std::vector<Token>&, Segments, const TrainerOptions&>);
static_assert(!std::is_constructible_v<Batches, std::vector<Token>, Index, Index, std::uint64_t>);
static_assert(
    !std::is_constructible_v<Batches, std::vector<Token>, const std::vector<Token>&, Index, Index, std::uint64_t, Segments>);

TEST_CASE("Trainer: the loss falls on a tiny text") {
  std::vector<Token> text(121);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = std::array<Token, 6>{0, 1, 2, 0, 3, 4}[i % 6];  // 0 needs memory
  Model model = tiny_model();
  Trainer<Model> trainer(model, text, tiny_options());
  const double first = trainer.update(0).loss;
  double last = first;
  for (int n = 0; n < 150; ++n) last = trainer.update(0).loss;
  CHECK(first > 1);
  CHECK(last < 0.05);
  const CrossEntropy loss = evaluate(model, text, 1, 0, 1);
  CHECK(loss.mean() < 0.1);
}

TEST_CASE("Trainer: the reported loss is that of the lanes' texts, read from end to end") {
  // at a rate that changes nothing, the losses of a pass are those of single long runs
  const Index segment = GENERATE(2, 4, 6);
  const Index lanes = 5, length = 12;
  const auto text = tiny_text(lanes * length + 1);
  const Model before = tiny_model();
  Model model = before;
  TrainerOptions options = tiny_options();
  options.lanes = lanes;
  options.segment = segment;
  options.shards = GENERATE(1, 3);
  options.schedule = {1e-30, 0, 1};
  Trainer<Model> trainer(model, text, options);
  std::vector<std::vector<double>> expected;
  for (Index b = 0; b < lanes; ++b)
    expected.push_back(naive_losses(model, Tokens(text).subspan(static_cast<std::size_t>(b * length), length + 1)));
  for (Index n = 0; n < length / segment; ++n) {
    double loss = 0;
    for (const auto& lane : expected)
      loss += std::accumulate(lane.begin() + n * segment, lane.begin() + (n + 1) * segment, 0.0);
    CHECK(trainer.update(0).loss == Approx(loss / static_cast<double>(lanes * segment)).epsilon(1e-5));
  }
  // a new pass forgets the last one
  CHECK(trainer.batches().starts_afresh());
  const double loss = trainer.update(0).loss;
  double fresh = 0;
  const auto shift = static_cast<std::size_t>(trainer.batches().place().position - segment);
  for (Index b = 0; b < lanes; ++b)
    fresh += sum(naive_losses(
        model, Tokens(text).subspan(static_cast<std::size_t>(b * length) + shift, static_cast<std::size_t>(segment) + 1)));
  CHECK(loss == Approx(fresh / static_cast<double>(lanes * segment)).epsilon(1e-5));
  CHECK(distance(model, before) < 1e-20);
}

TEST_CASE("Trainer: in the fresh part of a training every segment begins with an empty memory") {
  const auto text = tiny_text(25);
  Model model = tiny_model();
  TrainerOptions options = tiny_options();
  options.lanes = 1;
  options.shards = 1;
  options.segment = 4;
  options.fresh = 0.5;
  options.schedule = {1e-30, 0, 1};
  Trainer<Model> trainer(model, text, options);
  trainer.update(0);
  CHECK(trainer.update(0.4999).loss == Approx(sum(naive_losses(model, Tokens(text).subspan(4, 5))) / 4).epsilon(1e-5));
  const auto carried = naive_losses(model, Tokens(text).subspan(4, 9));  // the memory is kept from here on
  CHECK(trainer.update(0.5).loss == Approx(std::accumulate(carried.begin() + 4, carried.end(), 0.0) / 4).epsilon(1e-5));
}

TEST_CASE("Trainer: segments of the curriculum are doubled until they have their full length") {
  TrainerOptions options = tiny_options();
  options.segment = 24;
  options.first_segment = 5;
  options.growing = 0.6;  // 5, 10, 20, each for a fifth of the training, then 24
  for (const auto& [progress, steps] :
       std::vector<std::pair<double, Index>>{{0, 5}, {0.199, 5}, {0.201, 10}, {0.401, 20}, {0.599, 20}, {0.6, 24}, {1, 24}})
    CHECK(options.segment_at(progress) == steps);
  const auto text = tiny_text(500);
  Model model = tiny_model();
  Trainer<Model> trainer(model, text, options);
  CHECK(trainer.update(0.1).tokens == 3 * 5);
  CHECK(trainer.update(0.3).tokens == 3 * 10);
  CHECK(trainer.batches().place() == Batches::Place{15, 0});
  CHECK(trainer.update(0.9).tokens == 3 * 24);
  options.first_segment = 0;
  CHECK(options.segment_at(0) == 24);
  options.first_segment = 24;
  CHECK(options.segment_at(0) == 24);
  options.first_segment = 1;
  options.growing = 0;
  CHECK(options.segment_at(0) == 24);
}

TEST_CASE("Trainer: an update leaves spans between 0 and the window") {
  const auto text = tiny_text(200);
  Config config = tiny_config();
  config.span_ramp = 2;
  Model model = tiny_model(config);
  for (auto& block : model.core.blocks) block.attention.span.length << -0.5f, 1.5f;
  Trainer<Model> trainer(model, text, tiny_options());
  trainer.update(0);
  for (const auto& block : model.core.blocks) {
    CHECK(block.attention.span.length.minCoeff() == 0);
    CHECK(block.attention.span.length.maxCoeff() <= 1);
  }
}

TEST_CASE("Trainer: a span penalty shortens spans") {
  const auto text = tiny_text(500);
  Config config = tiny_config();
  config.span_ramp = 2;
  const auto spans = [&](double penalty) {
    Model model = tiny_model(config);
    for (auto& block : model.core.blocks) block.attention.span.length.setConstant(0.5f);
    TrainerOptions options = tiny_options();
    options.span_penalty = penalty;
    Trainer<Model> trainer(model, text, options);
    for (int n = 0; n < 20; ++n) trainer.update(0);
    float sum = 0;
    for (const auto& block : model.core.blocks) sum += block.attention.span.length.sum();
    return sum;
  };
  CHECK(spans(1) < 0.9f * 4 * 0.5f);
  CHECK(spans(1) < spans(0));
}

TEST_CASE("Trainer: labels are learned instead of the tokens that follow") {
  const auto text = tiny_text(60);
  std::vector<Token> labels;  // scored at every other token: the one before it
  for (std::size_t i = 0; i < text.size(); ++i) labels.push_back(i % 2 == 0 ? -1 : text[i - 1]);
  const Segments segments = GENERATE(Segments::carried, Segments::independent);
  Model model = tiny_model();
  TrainerOptions options = tiny_options();
  Trainer<Model> trainer(model, text, labels, segments, options);
  trainer.update(0);
  const auto by_hand = [&](std::size_t first) {  // of the second segment of every lane, read from the given step on
    CrossEntropy loss;
    for (std::size_t b = 0; b < 3; ++b) {
      auto state = model.start(1);
      for (std::size_t t = first; t < 8; ++t) {
        const auto l =
            cross_entropy(model.step(Tokens(text).subspan(20 * b + t, 1), state), Tokens(labels).subspan(20 * b + t, 1));
        if (t >= 4) loss += l;
      }
    }
    CHECK(loss.count == 6);
    return loss.mean();
  };
  options.schedule.peak = 1e-30;  // the memory carried from the first segment is that of a model that stays as it is
  Trainer<Model> still(model, text, labels, segments, options);
  still.update(0);
  CHECK(still.update(0).loss == Approx(by_hand(segments == Segments::independent ? 4 : 0)).epsilon(1e-5));
  double last = 0;
  for (int n = 0; n < 200; ++n) last = trainer.update(0).loss;
  CHECK(last < 0.1);
}

TEST_CASE("Trainer: to the last bit the same with any number of threads") {
  Config config = tiny_config();
  config.dropout = 0.2;
  const auto text = tiny_text(100);
  TrainerOptions options = tiny_options();
  options.lanes = 7;
  options.shards = 3;
  std::vector<Model> results;
  std::vector<std::vector<double>> reports;
  for (const Index threads : {1, 2, 3, 8}) {
    options.threads = threads;
    Model& model = results.emplace_back(tiny_model(config));
    auto& report = reports.emplace_back();
    Trainer<Model> trainer(model, text, options);
    for (int n = 0; n < 12; ++n) {
      const auto r = trainer.update(0.05 * n);
      report.insert(report.end(), {r.loss, r.gradient_norm, r.learning_rate});
    }
  }
  for (std::size_t i = 1; i < results.size(); ++i) {
    CHECK(same(results[0], results[i]));
    CHECK(reports[0] == reports[i]);
  }
  CHECK(distance(results[0], tiny_model(config)) > 0.1);
}

TEST_CASE("Trainer: to the last bit the same when a team shares the steps of a shard") {
  Config config = tiny_config();  // wide enough for the work of a step to be shared
  config.width = 96;
  config.layers = 1;
  config.heads = 4;
  config.window = 16;
  config.position = GENERATE(PositionTerm::relative_key, PositionTerm::per_head);
  const auto text = tiny_text(3000);
  const Index shards = GENERATE(1, 2);
  const auto trained = [&](Index threads) {
    Model model = tiny_model(config);
    TrainerOptions options = tiny_options();
    options.lanes = 32;
    options.segment = 12;
    options.shards = shards;
    options.threads = threads;
    Trainer<Model> trainer(model, text, options);
    for (int n = 0; n < 3; ++n) trainer.update(0);
    return model;
  };
  const Model alone = trained(1);
  CHECK(same(trained(2 * shards), alone));
  CHECK(same(trained(3 * shards), alone));
}

TEST_CASE("Trainer: the number of shards changes the result by rounding only") {
  const auto text = tiny_text(100);
  TrainerOptions options = tiny_options();
  options.lanes = 5;
  options.adam.epsilon = 1;  // so that an update is in proportion to the gradient
  options.schedule.peak = 1;
  std::vector<Model> results;
  for (const Index shards : {1, 2, 5}) {
    options.shards = shards;
    Model& model = results.emplace_back(tiny_model());
    Trainer<Model> trainer(model, text, options);
    for (int n = 0; n < 3; ++n) trainer.update(0);
  }
  CHECK(distance(results[0], results[1]) < 1e-5);
  CHECK(distance(results[0], results[2]) < 1e-5);
  CHECK(distance(results[0], tiny_model()) > 0.1);
}

TEST_CASE("Trainer: dropout is drawn from the seed, anew for every update") {
  Config config = tiny_config();
  config.dropout = 0.5;
  TrainerOptions options = tiny_options();
  options.schedule = {1e-30, 0, 1};  // the model stays as it is
  const auto losses = [&](std::uint64_t seed) {
    std::vector<Token> text(121, 2);  // all segments are alike
    options.seed = seed;
    Model model = tiny_model(config);
    Trainer<Model> trainer(model, text, options);
    std::vector<double> result;
    for (int n = 0; n < 5; ++n) result.push_back(trainer.update(0).loss);
    return result;
  };
  const auto one = losses(1);
  CHECK(one == losses(1));
  CHECK(one != losses(2));
  CHECK(one[3] != one[4]);
}

TEST_CASE("Trainer: clipping, and the report") {
  const auto text = tiny_text(100);
  TrainerOptions options = tiny_options();
  options.adam.epsilon = 1;  // with a small gradient the first update is rate * gradient
  options.schedule = {0.5, 0, 1};
  options.clip = 0.01;
  const Model before = tiny_model();
  Model clipped = before, free = before;
  const auto report = Trainer<Model>(clipped, text, options).update(0);
  CHECK(report.gradient_norm > 0.1);  // before clipping
  CHECK(report.learning_rate == Approx(0.5));
  CHECK(distance(clipped, before) == Approx(0.5 * 0.01).epsilon(0.01));

  options.clip = 0;
  Trainer<Model>(free, text, options).update(0);
  CHECK(distance(free, before) > 0.05);

  options.schedule = {0.5, 4, 0.5};
  Trainer<Model> trainer(free, text, options);
  CHECK(trainer.update(0).learning_rate == Approx(0.125));
  CHECK(trainer.update(0).learning_rate == Approx(0.25));
  CHECK(trainer.update(1).learning_rate == Approx(0.5 * 0.75 * 0.5));
  CHECK(trainer.adam().updates == 3);
}

TEST_CASE("Trainer: a loss that is not finite stops it and leaves the model as it was") {
  const float bad = GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity());
  const auto text = tiny_text(100);
  Model model = tiny_model();
  Trainer<Model> trainer(model, text, tiny_options());
  trainer.update(0);
  model.head.linear.bias(1) = bad;
  const Model before = model, m = trainer.adam().m;
  const std::string message = message_of<std::runtime_error>([&] { trainer.update(0); });
  CHECK_THAT(message, ContainsSubstring("update 2: expected a finite loss, found "));
  CHECK_THAT(message,
             ContainsSubstring("(learning rate 0.01); the model was left as it was before this update; try a smaller"));
  model.head.linear.bias(1) = 0;
  Model expected = before;
  expected.head.linear.bias(1) = 0;
  CHECK(same(model, expected));
  CHECK(same(trainer.adam().m, m));
  CHECK(trainer.adam().updates == 1);
  CHECK(trainer.memory(0).end == 0);  // nothing of the segment is remembered
  CHECK(std::isfinite(trainer.update(1).loss));
}

TEST_CASE("Trainer: a progress outside of 0 to 1 is refused, and the model left as it was") {
  const double bad = GENERATE(std::numeric_limits<double>::quiet_NaN(), -0.1, 1.1);
  const auto text = tiny_text(100);
  Model model = tiny_model();
  const Model before = model;
  Trainer<Model> trainer(model, text, tiny_options());
  CHECK_THAT(message_of<std::invalid_argument>([&] { trainer.update(bad); }),
             ContainsSubstring("update: progress must be from 0 to 1, found "));
  CHECK(same(model, before));
}

TEST_CASE("Trainer: a gradient that is not finite stops it and leaves the model as it was") {
  const auto text = tiny_text(100);
  Model model = tiny_model();
  Model before = model;
  TrainerOptions options = tiny_options();
  options.segment = 1;
  float& bad = model.core.aggregator.key_values[0].key.weight(0, 0);
  bad = std::numeric_limits<
      float>::infinity();  // no step of this segment reads a key, but its gradient goes through the weight
  Trainer<Model> trainer(model, text, options);
  CHECK_THAT(message_of<std::runtime_error>([&] { trainer.update(0); }),
             ContainsSubstring("update 1: expected a finite gradient norm, found "));
  bad = before.core.aggregator.key_values[0].key.weight(0, 0);
  CHECK(same(model, before));
  CHECK(trainer.adam().updates == 0);
}

TEST_CASE("Trainer: a rate that is far too large ends with the message, not with a broken model that goes on") {
  const auto text = tiny_text(200);
  Model model = tiny_model();
  TrainerOptions options = tiny_options();
  options.schedule.peak = 1e30;
  Trainer<Model> trainer(model, text, options);
  const auto run = [&] {
    for (int n = 0; n < 10; ++n) trainer.update(0);
  };
  CHECK_THAT(message_of<std::runtime_error>(run), ContainsSubstring("expected a finite"));
}

TEST_CASE("Trainer: a token outside the vocabulary") {
  auto text = tiny_text(100);
  const std::vector<Token> labels(text.size(), 5);
  Model model = tiny_model();
  CHECK(message_of<std::invalid_argument>([&] { Trainer<Model>(model, text, labels, Segments::carried, tiny_options()); }) ==
        "the data has label 5: expected at most 4");
  text.back() = 5;
  CHECK(message_of<std::invalid_argument>([&] { Trainer<Model>(model, text, tiny_options()); }) ==
        "the data has token 5: expected 0 to 4");
  text.back() = -1;
  CHECK_THROWS_AS(Trainer<Model>(model, text, tiny_options()), std::invalid_argument);
}

TEST_CASE("Trainer: validation") {
  const auto text = tiny_text(100);
  Model model = tiny_model();
  const auto message = [&](auto&& change) {
    TrainerOptions options = tiny_options();
    change(options);
    return message_of<std::invalid_argument>([&] { Trainer<Model>(model, text, options); });
  };
  using O = TrainerOptions;
  CHECK_NOTHROW(O{}.validate());
  CHECK(message([](O& o) { o.lanes = 0; }) == "lanes must be at least 1, found 0");
  CHECK(message([](O& o) { o.segment = -3; }) == "the segment must be at least 1 token, found -3");
  CHECK(message([](O& o) { o.shards = 0; }) == "shards must be between 1 and the 3 lanes, found 0");
  CHECK(message([](O& o) { o.shards = 4; }) == "shards must be between 1 and the 3 lanes, found 4");
  CHECK(message([](O& o) { o.threads = 0; }) == "threads must be between 1 and 1024, found 0");
  CHECK(message([](O& o) { o.threads = 1025; }) == "threads must be between 1 and 1024, found 1025");
  CHECK(message([](O& o) { o.fresh = 1.5; }) == "fresh must be from 0 to 1, found 1.5");
  CHECK(message([](O& o) { o.first_segment = 5; }) ==
        "the first segment must be between 1 and the 4 steps of the others, or 0 for no curriculum, found 5");
  CHECK(message([](O& o) { o.growing = -1; }) == "growing must be from 0 to 1, found -1");
  CHECK(message([](O& o) { o.span_penalty = -1; }) == "the span penalty must be at least 0, found -1");
  CHECK(message([](O& o) { o.clip = -1; }) == "clip must be at least 0, found -1");
  CHECK(message([](O& o) { o.clip = std::numeric_limits<double>::quiet_NaN(); }) == "clip must be at least 0, found nan");
  CHECK(message([](O& o) { o.schedule.peak = 0; }) == "the learning rate must be above 0, found 0");
  CHECK(message([](O& o) { o.adam.beta2 = 1; }) == "beta2 must be at least 0 and below 1, found 1");
  CHECK(message([](O& o) { o.segment = 34; }) ==
        "the data is too short: 3 lanes of segments of 34 tokens need 103 tokens, found 100");
}

TEST_CASE("evaluate: one lane is one long run, to the last bit") {
  const Model model = tiny_model();
  const auto text = tiny_text(40);
  const double expected = sum(naive_losses(model, text));
  for (const Index context : {0, 3, 4, 39, 1000}) {
    const CrossEntropy loss = evaluate(model, text, 1, context, 1);
    CHECK(loss.count == 39);
    CHECK(loss.sum == expected);
  }
}

TEST_CASE("evaluate: many lanes are one long run, when a memory depends on no more than the window") {
  // A memory of h^0 alone: what a step sees depends on the last S tokens and on nothing before them.
  Model model = tiny_model();
  model.core.aggregator.mix.weight << 1000, 0, 0;
  const auto text = tiny_text(203);
  const double expected = sum(naive_losses(model, text));
  for (const Index lanes : {2, 7, 40}) {
    const CrossEntropy loss = evaluate(model, text, lanes, 4, 2);
    CHECK(loss.count == 202);
    CHECK(loss.sum == Approx(expected).epsilon(1e-6));
  }
  CHECK(std::abs(evaluate(model, text, 40, 3, 1).sum - expected) > 1e-4 * expected);  // too little context shows

  // With feedback from the upper layers the past reaches further than the window, more weakly the further it is back.
  model.core.aggregator.mix.weight.setZero();
  const double feedback = sum(naive_losses(model, text));
  const double near = std::abs(evaluate(model, text, 8, 4, 1).sum - feedback);
  const double far = std::abs(evaluate(model, text, 8, 24, 1).sum - feedback);
  CHECK(near < 0.05 * feedback);
  CHECK(far < 0.2 * near);
}

TEST_CASE("evaluate: every token but the first is predicted once, with the context before it") {
  Random random(3);
  std::vector<std::vector<Token>> read;
  const Unigram model{&read};
  for (const Index size : {2, 3, 4, 5, 10, 17, 33, 64, 100}) {
    const auto text = tiny_text(size);
    double expected = 0;
    {
      auto state = model.start(1);
      for (std::size_t i = 0; i + 1 < text.size(); ++i)
        expected += cross_entropy(model.step(Tokens(text).subspan(i, 1), state), Tokens(text).subspan(i + 1, 1)).sum;
    }
    for (const Index lanes : {1, 2, 3, 5, 16, 17, 40}) {
      for (const Index context : {0, 1, 2, 5, 20, 200}) {
        read.clear();
        const CrossEntropy loss = evaluate(model, text, lanes, context, 1);
        INFO(size << " tokens, " << lanes << " lanes, context " << context);
        REQUIRE(loss.count == size - 1);
        REQUIRE(loss.sum == Approx(expected).epsilon(1e-12));
        // no lane has more to read than its share, the context and a rounding
        Index tokens = 0;
        for (const auto& step : read) tokens += static_cast<Index>(step.size());
        REQUIRE(tokens <= size + lanes * (std::min(context, size) + 1));
      }
    }
  }
}

TEST_CASE("evaluate: to the last bit the same with any number of threads") {
  const Model model = tiny_model();
  const auto text = tiny_text(600);
  const double expected = evaluate(model, text, 50, 4, 1).sum;
  CHECK(evaluate(model, text, 50, 4, 2).sum == expected);
  CHECK(evaluate(model, text, 50, 4, 3).sum == expected);
  CHECK(evaluate(model, text, 50, 4, 9).sum == expected);
}

TEST_CASE("evaluate: errors") {
  const Unigram model;
  const auto text = tiny_text(10);
  const auto message = [&](std::size_t size, Index lanes, Index context, Index threads) {
    return message_of<std::invalid_argument>([&] { evaluate(model, Tokens(text).first(size), lanes, context, threads); });
  };
  CHECK(message(1, 1, 0, 1) == "evaluation needs at least 2 tokens, found 1");
  CHECK(message(0, 1, 0, 1) == "evaluation needs at least 2 tokens, found 0");
  const std::string least = "evaluation needs at least 1 lane, 1 thread and a context of 0, found ";
  CHECK(message(10, 0, 0, 1) == least + "0, 1 and 0");
  CHECK(message(10, 1, 0, 0) == least + "1, 0 and 0");
  CHECK(message(10, 1, -1, 1) == least + "1, 1 and -1");
}
