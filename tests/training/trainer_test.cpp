#include "fbt/training/trainer.hpp"

#include "fbt/models/sequence_model.hpp"
#include "fbt/training/evaluate.hpp"
#include "fbt/training/schedule.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/training.hpp"

#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
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
std::vector<Token> tiny_text(Index size, Index vocabulary = 5, std::uint64_t seed = 5) {
  Random random(seed);
  return random_tokens(size, vocabulary, random);
}
struct Options {
  BatchOptions batches{.lanes = 3, .segment = 4};
  AdamOptions adam;
  TrainerOptions trainer{.fresh = 0};
};

/// Of the tokens that follow, or of labels.
struct TinyTraining : Training<Model> {
  TinyTraining(Model& model, const std::vector<Token>& text, const Options& o = {}, Reduction<Model> reduction = {})
      : Training(model, {text, o.batches}, o.adam, o.trainer, {}, std::move(reduction)) {}
  TinyTraining(Model& model, const std::vector<Token>& text, const std::vector<Token>& labels, const Options& o = {})
      : Training(model, {text, labels, o.batches}, o.adam, o.trainer) {}
};
constexpr double rate = 0.01;

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

}  // namespace

TEST_CASE("Trainer: the loss falls on a tiny text") {
  std::vector<Token> text(121);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = std::array<Token, 6>{0, 1, 2, 0, 3, 4}[i % 6];  // 0 needs memory
  Model model = tiny_model();
  TinyTraining training(model, text);
  const double first = training.update(rate).loss;
  double last = first;
  for (int n = 0; n < 150; ++n) last = training.update(rate).loss;
  CHECK(first > 1);
  CHECK(last < 0.05);
  CHECK(evaluate(model, text).mean() < 0.1);
}

TEST_CASE("Trainer: the reported loss is that of the lanes' texts, read from end to end") {
  // at a rate of 0 the losses of a pass are those of single long runs
  const Index segment = GENERATE(2, 4, 6);
  const Index lanes = 5, length = 12;
  const auto text = tiny_text(lanes * length + 1);
  const Model before = tiny_model();
  Model model = before;
  Options options;
  options.batches.lanes = lanes;
  options.batches.segment = segment;
  options.trainer.shards = GENERATE(1, 3);
  TinyTraining training(model, text, options);
  std::vector<std::vector<double>> expected;
  for (Index b = 0; b < lanes; ++b)
    expected.push_back(naive_losses(model, Tokens(text).subspan(static_cast<std::size_t>(b * length), length + 1)));
  for (Index n = 0; n < length / segment; ++n) {
    double loss = 0;
    for (const auto& lane : expected)
      loss += std::accumulate(lane.begin() + n * segment, lane.begin() + (n + 1) * segment, 0.0);
    CHECK(training.update(0).loss == Approx(loss / static_cast<double>(lanes * segment)).epsilon(1e-5));
  }
  // a new pass forgets the last one
  const auto& batches = training.trainer.batches();
  CHECK(batches.starts_afresh());
  const double loss = training.update(0).loss;
  double fresh = 0;
  const auto shift = static_cast<std::size_t>(batches.place().position - segment);
  for (Index b = 0; b < lanes; ++b)
    fresh += sum(naive_losses(
        model, Tokens(text).subspan(static_cast<std::size_t>(b * length) + shift, static_cast<std::size_t>(segment) + 1)));
  CHECK(loss == Approx(fresh / static_cast<double>(lanes * segment)).epsilon(1e-5));
  CHECK(same(model, before));
}

TEST_CASE("Trainer: in the fresh part of a training every segment begins with an empty memory") {
  const auto text = tiny_text(25);
  Model model = tiny_model();
  Options options;
  options.batches.lanes = options.trainer.shards = 1;
  options.trainer.fresh = 0.5;
  TinyTraining training(model, text, options);
  training.update(0, 0);
  CHECK(training.update(0, 0.4999).loss == Approx(sum(naive_losses(model, Tokens(text).subspan(4, 5))) / 4).epsilon(1e-5));
  const auto carried = naive_losses(model, Tokens(text).subspan(4, 9));  // the memory is kept from here on
  CHECK(training.update(0, 0.5).loss == Approx(std::accumulate(carried.begin() + 4, carried.end(), 0.0) / 4).epsilon(1e-5));
}

TEST_CASE("Trainer: segments of the curriculum are doubled until they have their full length") {
  Options options;
  options.batches.segment = 24;
  TrainerOptions& o = options.trainer;
  o.first_segment = 5;
  o.growing = 0.6;  // 5, 10, 20, each for a fifth of the training, then 24
  for (const auto& [progress, steps] :
       std::vector<std::pair<double, Index>>{{0, 5}, {0.199, 5}, {0.201, 10}, {0.401, 20}, {0.599, 20}, {0.6, 24}, {1, 24}})
    CHECK(o.segment_at(progress, 24) == steps);
  const auto text = tiny_text(500);
  Model model = tiny_model();
  TinyTraining training(model, text, options);
  CHECK(training.update(rate, 0.1).tokens == 3 * 5);
  CHECK(training.update(rate, 0.3).tokens == 3 * 10);
  CHECK(training.trainer.batches().place() == Batches<>::Place{15, 0});
  CHECK(training.update(rate, 0.9).tokens == 3 * 24);
  o.first_segment = 0;
  CHECK(o.segment_at(0, 24) == 24);
  o.first_segment = 24;
  CHECK(o.segment_at(0, 24) == 24);
  o.first_segment = 1;
  o.growing = 0;
  CHECK(o.segment_at(0, 24) == 24);
}

TEST_CASE("Trainer: a curriculum of independent segments reads the first steps of each, and passes over the rest") {
  const auto text = tiny_text(48), labels = tiny_text(48, 5, 6);
  Model model = tiny_model();
  Options options;
  options.batches.segments = Segments::independent;
  options.batches.segment = 8;
  options.batches.lanes = 2;
  options.trainer.shards = 1;
  options.trainer.first_segment = 2;
  options.trainer.growing = 0.5;
  TinyTraining training(model, text, labels, options);
  const auto by_hand = [&](std::size_t n, std::size_t steps) {  // of the n-th segment of both lanes
    LossSum loss;
    for (std::size_t b = 0; b < 2; ++b) {
      auto stepper = model.start(1);
      for (std::size_t t = 24 * b + 8 * n; t < 24 * b + 8 * n + steps; ++t)
        loss += cross_entropy(model.step(Tokens(text).subspan(t, 1), stepper), Tokens(labels).subspan(t, 1));
    }
    return loss.mean();
  };
  const std::vector<std::pair<double, std::size_t>> updates{{0, 2}, {0.3, 4}, {1, 8}, {0.1, 2}};
  for (std::size_t n = 0; n < updates.size(); ++n) {
    const auto [progress, steps] = updates[n];
    const auto report = training.update(0, progress);
    CHECK(report.tokens == static_cast<Index>(2 * steps));
    CHECK(report.loss == Approx(by_hand(n % 3, steps)).epsilon(1e-5));
    CHECK(training.trainer.batches().place().position == static_cast<Index>(8 * (n % 3 + 1)));
  }
}

TEST_CASE("Trainer: an update leaves spans between 0 and the window") {
  const auto text = tiny_text(200);
  Config config = tiny_config();
  config.span_ramp = 2;
  Model model = tiny_model(config);
  for (auto& block : model.core.blocks) block.attention.span.length << -0.5f, 1.5f;
  TinyTraining(model, text).update(rate);
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
    Options options;
    options.trainer.span_penalty = penalty;
    TinyTraining training(model, text, options);
    for (int n = 0; n < 20; ++n) training.update(rate);
    float sum = 0;
    for (const auto& block : model.core.blocks) sum += block.attention.span.length.sum();
    return sum;
  };
  CHECK(spans(1) < 0.9f * 4 * 0.5f);
  CHECK(spans(1) < spans(0));
}

TEST_CASE("Trainer: labels are learned instead of the tokens that follow") {
  const auto text = tiny_text(60);
  Config config = tiny_config();
  config.outputs = GENERATE(0, 7);  // as many classes as there are tokens, or others
  const Token shift = config.outputs > 0 ? 2 : 0;
  std::vector<Token> labels;  // scored at every other token: the one before it
  for (std::size_t i = 0; i < text.size(); ++i) labels.push_back(i % 2 == 0 ? -1 : text[i - 1] + shift);
  Options options;
  const Segments segments = options.batches.segments = GENERATE(Segments::carried, Segments::independent);
  Model model = tiny_model(config);
  CHECK(model.head.outputs() == 5 + shift);
  TinyTraining training(model, text, labels, options);
  training.update(rate);
  const auto by_hand = [&](std::size_t first) {  // of the second segment of every lane, read from the given step on
    LossSum loss;
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
  TinyTraining still(model, text, labels, options);
  still.update(0);
  CHECK(still.update(0).loss == Approx(by_hand(segments == Segments::independent ? 4 : 0)).epsilon(1e-5));
  double last = 0;
  for (int n = 0; n < 200; ++n) last = training.update(rate).loss;
  CHECK(last < 0.1);
  const Evaluation evaluation = evaluate(model, text, labels);
  CHECK(evaluation.loss.count == 30);
  if (segments == Segments::carried) CHECK(evaluation.accuracy() > 0.9);  // else it has never seen so long a sequence
}

namespace {

/// Keeps the gradient that an update was made with, as it was before clipping.
template <class AnyModel>
Reduction<AnyModel> keep_gradient(AnyModel& kept) {
  return {.sum = [&kept](std::span<AnyModel* const> gradients, std::span<const LossSum> losses) {
    const LossSum loss = sum_shards(gradients, losses);
    kept = *gradients[0];
    return loss;
  }};
}

template <class AnyModel>
double largest_difference(const AnyModel& a, const AnyModel& b) {
  double largest = 0;
  visit([&](std::string_view, const auto& x, const auto& y) { largest = std::max(largest, difference(x, y)); }, a, b);
  return largest;
}

}  // namespace

TEST_CASE("Trainer: a stream with starts trains as its sequences alone") {
  using Exact = FeedbackTransformer<double>;
  Config config = tiny_config();
  config.memory_rule = GENERATE(MemoryRule::feedback, MemoryRule::transformer);
  config.share_key_value = config.memory_rule == MemoryRule::feedback;
  Random random(2);
  const Exact before(config, random);
  const Index lanes = 3, length = 12;
  const auto text = tiny_text(lanes * length), labels = tiny_text(lanes * length, 5, 6);
  // where sequences begin: lane 0 is one of 12, lane 1 are three, lane 2 begins with one of a single value
  std::vector<std::uint8_t> starts(static_cast<std::size_t>(lanes * length), 0);
  const std::vector<Index> firsts{0, 12, 16, 21, 24, 25, 36};
  for (const Index i : {12, 16, 21, 24, 25}) starts[static_cast<std::size_t>(i)] = 1;
  Batches batches(text, labels, BatchOptions{lanes, length});
  batches.set_starts(starts);

  // the way back of every sequence alone
  Exact expected = zeros_like(before);
  double loss = 0;
  for (std::size_t n = 0; n + 1 < firsts.size(); ++n) {
    const auto first = static_cast<std::size_t>(firsts[n]), size = static_cast<std::size_t>(firsts[n + 1] - firsts[n]);
    auto memory = before.make_memory(1);
    Exact::Trace trace;
    const Matrix<double>& logits =
        before.forward(Tokens(text).subspan(first, size), {static_cast<Index>(size), 1, true}, memory, trace);
    Matrix<double> dlogits(5, logits.cols());
    const auto part = Tokens(labels).subspan(first, size);
    loss += CrossEntropy{}.operator()<double>(logits, part, 1.0 / 36, dlogits).sum;
    before.backward(dlogits, memory, trace, expected);
  }
  const Index shards = GENERATE(1, 2);
  TrainerOptions options{.shards = shards, .fresh = 0};
  Exact model = before, gradient = before;
  Training training(model, batches, {}, options, {}, keep_gradient(gradient));
  CHECK(training.update(0).loss == Approx(loss / 36).epsilon(1e-13));
  CHECK(largest_difference(gradient, expected) < 1e-13);
  CHECK(squared_norm(expected) > 1e-3);

  // without the starts it is another training
  Training other(model, Batches(text, labels, BatchOptions{lanes, length}), {}, options, {}, keep_gradient(gradient));
  CHECK(other.update(0).loss != Approx(loss / 36).epsilon(1e-6));
  CHECK(largest_difference(gradient, expected) > 1e-4);

  // in shorter segments the memory is carried within a sequence, not beyond it
  Batches shorter(text, labels, BatchOptions{lanes, 4});
  shorter.set_starts(starts);
  Training carried(model, shorter, {}, options);
  double total = 0;
  for (int n = 0; n < 3; ++n) total += carried.update(0).loss;
  CHECK(total / 3 == Approx(loss / 36).epsilon(1e-12));
}

TEST_CASE("Trainer: starts and zero slots do not go together") {
  Config config = tiny_config();
  config.empty_memory = EmptyMemory::zero_slots;
  const auto text = tiny_text(41);
  Model model = tiny_model(config);
  const std::vector<std::uint8_t> starts(41, 0);
  Batches batches(text, BatchOptions{2, 4});
  batches.set_starts(starts);
  Training training(model, batches, {}, {});
  CHECK_THAT(message_of<std::invalid_argument>([&] { training.update(rate); }),
             ContainsSubstring("a segment with starts needs empty_memory skip"));
}

namespace {

/// A series of two numbers of which the next are functions of the last ones.
Matrix<double> small_series(Index length) {
  Matrix<double> series(2, length);
  for (Index t = 0; t < length; ++t) {
    const auto angle = 0.4 * static_cast<double>(t);
    series.col(t) << std::sin(angle), std::cos(angle) * std::sin(angle);
  }
  return series;
}
Config vector_config() {
  Config config = tiny_config();
  config.vocabulary = 0;
  config.inputs = config.outputs = 2;
  return config;
}
Vectors<double> columns(const Matrix<double>& m, Index first, Index count) {
  return {m.data() + m.rows() * first, m.rows(), count};
}

}  // namespace

TEST_CASE("Trainer: a model of vectors learns a small series") {
  const Index length = 121;
  const Matrix<double> series = small_series(length);
  const Vectors<double> now = columns(series, 0, length - 1), next = columns(series, 1, length - 1);
  Random random(1);
  VectorModel<double> model(vector_config(), random);
  AdamOptions adam_options;
  adam_options.weight_decay = 0.01;
  Adam adam(model, adam_options);
  Batches<Vectors<double>, Vectors<double>> batches(now, next, {.lanes = 3, .segment = 8});
  Trainer trainer(model, adam, batches, {.fresh = 0}, SquaredError<double>{});

  // the first loss, by hand
  LossSum expected;
  for (Index b = 0; b < 3; ++b) {
    auto stepper = model.start(1);
    for (Index t = 40 * b; t < 40 * b + 8; ++t) {
      const Matrix<double>& y = model.step(now.col(t), stepper);
      expected.sum += (y - next.col(t)).squaredNorm();
      expected.count += 2;
    }
  }
  const auto first = trainer.update(rate);
  CHECK(first.loss == Approx(expected.mean()).epsilon(1e-12));
  CHECK(first.tokens == 24);
  for (int n = 0; n < 300; ++n) trainer.update(0.005);
  const Evaluation evaluation = evaluate(model, now, next, {}, SquaredError<double>{});
  CHECK(evaluation.loss.count == 240);
  CHECK(evaluation.mean() < 0.01 * first.loss);
}

TEST_CASE("Trainer: targets that are not numbers are not scored, and the others count as much as ever") {
  const Matrix<double> series = small_series(24), values = series.leftCols(23);
  Matrix<double> targets = series.rightCols(23);
  targets.leftCols(3).setConstant(std::numeric_limits<double>::quiet_NaN());
  targets(1, 4) = std::numeric_limits<double>::quiet_NaN();
  Random random(1);
  const VectorModel<double> before(vector_config(), random);
  using Data = Batches<Vectors<double>, Vectors<double>>;
  const Data batches(columns(values, 0, 23), columns(targets, 0, 23), {.lanes = 1, .segment = 6});
  VectorModel<double> model = before, gradient = before, expected = zeros_like(before);
  Training<VectorModel<double>, Data, SquaredError<double>> training(model, batches, {}, {.shards = 1, .fresh = 0}, {},
                                                                     keep_gradient(gradient));
  const auto report = training.update(0);

  auto memory = before.make_memory(1);
  VectorModel<double>::Trace trace;
  const Matrix<double> outputs = before.forward(columns(values, 0, 6), {6, 1, true}, memory, trace);
  Matrix<double> doutputs = Matrix<double>::Zero(2, 6);
  double loss = 0;
  for (const auto& [row, t] : std::vector<std::pair<Index, Index>>{{0, 3}, {1, 3}, {0, 4}, {0, 5}, {1, 5}}) {
    const double difference = outputs(row, t) - targets(row, t);
    loss += difference * difference / 5;
    doutputs(row, t) = 2 * difference / 5;
  }
  before.backward(doutputs, memory, trace, expected);
  CHECK(report.loss == Approx(loss).epsilon(1e-13));
  CHECK(largest_difference(gradient, expected) < 1e-13);
}

TEST_CASE("Trainer: trainers that read a part of the shards each are one trainer of all, to the last bit") {
  const Index lanes = 5, shards = 3;
  const auto text = tiny_text(lanes * 12);
  auto labels = tiny_text(lanes * 12, 5, 6);
  for (std::size_t i = 0; i < 20; ++i) labels[i] = -1;  // the first shard scores far less than the others
  Config config = tiny_config();
  config.dropout = 0.2;  // shards draw masks of their own
  const Model before = tiny_model(config);
  const Batches batches(text, labels, BatchOptions{lanes, 4});
  const AdamOptions adam{.weight_decay = 0.1};
  const TrainerOptions options{.shards = shards, .fresh = 0, .clip = 0.05};
  constexpr int updates = 5;

  struct Seen {
    Model model;
    std::vector<double> numbers = {};

    void update(Training<Model>& training) {
      for (int n = 0; n < updates; ++n) {
        const auto report = training.update(rate);
        for (const double number : {report.loss, report.gradient_norm, static_cast<double>(report.tokens)})
          numbers.push_back(number);
      }
    }
  };
  Seen all{before};
  Training one(all.model, batches, adam, options);
  all.update(one);
  CHECK(distance(all.model, before) > 0.01);
  CHECK(all.numbers[1] > 0.05);  // it is clipped

  // two processes: one with the first shard, one with the others
  std::vector<Seen> processes(2, Seen{before});
  std::vector<Model> gradients(static_cast<std::size_t>(shards), before);
  std::vector<LossSum> losses(static_cast<std::size_t>(shards));
  std::atomic<int> arrived = 0;
  parallel_for(2, 2, [&](Index p) {
    int wanted = 0;
    const auto meet = [&] {
      wanted += 2;
      ++arrived;
      while (arrived < wanted) std::this_thread::yield();
    };
    const Index first = p, count = p == 0 ? 1 : shards - 1;
    Reduction<Model> reduction{.first_shard = first, .shards = count};
    reduction.sum = [&, first](std::span<Model* const> own, std::span<const LossSum> own_losses) {
      for (std::size_t i = 0; i < own.size(); ++i) {
        gradients[static_cast<std::size_t>(first) + i] = *own[i];
        losses[static_cast<std::size_t>(first) + i] = own_losses[i];
      }
      meet();
      std::vector<Model> copies = gradients;
      std::vector<Model*> pointers;
      for (Model& copy : copies) pointers.push_back(&copy);
      const LossSum loss = sum_shards<Model>(pointers, losses);
      *own[0] = copies[0];
      meet();
      return loss;
    };
    Seen& own = processes[static_cast<std::size_t>(p)];
    Training part(own.model, batches, adam, options, {}, reduction);
    own.update(part);
  });
  for (const Seen& process : processes) {
    CHECK(same(process.model, all.model));
    CHECK(process.numbers == all.numbers);
  }

  Model model = before;
  for (const auto& [first, count] : std::vector<std::pair<Index, Index>>{{-1, 1}, {2, 2}, {3, 1}, {0, 4}, {0, -1}})
    CHECK_THROWS_WITH(Training(model, batches, adam, options, {}, Reduction<Model>{.first_shard = first, .shards = count}),
                      "reduction: expected some of the 3 shards, found " + std::to_string(count) + " from number " +
                          std::to_string(first) + " on");
  CHECK_THROWS_WITH(Training(model, batches, adam, options, {}, Reduction<Model>{.of_shards = 4}),
                    "reduction: expected as many shards as the trainer's 3, found 4");
  Training some(model, batches, adam, options, {}, Reduction<Model>{.first_shard = 1, .shards = 1});
  CHECK(some.trainer.memory(1).lanes() == 2);
  for (const Index other : {0, 2})
    CHECK_THROWS_WITH(some.trainer.memory(other),
                      "memory: expected one of the 1 shards from number 1 on, found " + std::to_string(other));
}

TEST_CASE("Trainer: frozen parameters stay as they are and have no part in the norm that is clipped") {
  const auto text = tiny_text(100);
  const Model before = tiny_model();
  Options options;
  options.adam.groups = {{.pattern = "blocks.*", .frozen = true}};
  options.adam.weight_decay = 0.5;
  Model model = before, gradient = before;
  TinyTraining training(model, text, options, keep_gradient(gradient));
  double expected = 0;
  const auto report = training.update(rate);
  visit(
      [&](std::string_view name, const auto& g) {
        if (!name.starts_with("blocks.")) expected += static_cast<double>(g.squaredNorm());
      },
      gradient);
  CHECK(report.gradient_norm == Approx(std::sqrt(expected)).epsilon(1e-5));
  CHECK(report.gradient_norm < 0.99 * std::sqrt(squared_norm(gradient)));
  for (int n = 0; n < 3; ++n) training.update(rate);
  visit(
      [](std::string_view name, const auto& now, const auto& then) {
        INFO(name);
        CHECK((now == then) == name.starts_with("blocks."));
      },
      model, before);
}

namespace {

/// Moves every parameter against its gradient, and has no moments.
struct Descent {
  std::int64_t updates = 0;
  void drop_frozen(Model&) const {}
  void update(Model& model, const Model& grad, double learning_rate, double gradient_scale) {
    ++updates;
    visit([&](std::string_view, auto& parameter,
              const auto& gradient) { parameter -= static_cast<float>(learning_rate * gradient_scale) * gradient; },
          model, grad);
  }
};

/// Cross-entropy of which every label counts twice.
struct Doubled {
  using Targets = Tokens;
  static Index count(Tokens labels) { return CrossEntropy::count(labels); }
  template <class Scalar>
  LossSum operator()(const std::type_identity_t<In<Scalar>>& logits, Tokens labels, Scalar scale,
                     std::type_identity_t<Out<Scalar>> dlogits) const {
    LossSum loss = CrossEntropy{}.operator()<Scalar>(logits, labels, 2 * scale, dlogits);
    loss.sum *= 2;
    return loss;
  }
};

}  // namespace

TEST_CASE("Trainer: an optimiser and a loss of one's own") {
  const auto text = tiny_text(100);
  const Model before = tiny_model();
  Model model = before, other = before, gradient = before;
  Descent descent;
  Trainer trainer(model, descent, Batches(text, BatchOptions{3, 4}), {.fresh = 0, .clip = 0}, Doubled{},
                  keep_gradient(gradient));
  const double loss = trainer.update(0.125).loss;
  CHECK(descent.updates == 1);
  CHECK(trainer.optimizer().updates == 1);
  visit([](std::string_view, auto& p, const auto& g) { p -= 0.125f * g; }, other, gradient);
  CHECK(same(model, other));

  model = before;
  Model plain_gradient = before;
  TinyTraining plain(model, text, {}, keep_gradient(plain_gradient));
  CHECK(loss == Approx(2 * plain.update(0).loss));
  visit([](std::string_view, auto& g, const auto& half) { g -= 2 * half; }, gradient, plain_gradient);
  CHECK(std::sqrt(squared_norm(gradient)) < 1e-6);
}

TEST_CASE("Trainer: to the last bit the same with any number of threads") {
  Config config = tiny_config();
  config.dropout = 0.2;
  const auto text = tiny_text(100);
  Options options;
  options.batches.lanes = 7;
  options.trainer.shards = 3;
  std::vector<Model> results;
  std::vector<std::vector<double>> reports;
  for (const Index threads : {1, 2, 3, 8}) {
    options.trainer.threads = threads;
    Model& model = results.emplace_back(tiny_model(config));
    auto& report = reports.emplace_back();
    TinyTraining training(model, text, options);
    for (int n = 0; n < 12; ++n) {
      const auto r = training.update(rate, 0.05 * n);
      report.insert(report.end(), {r.loss, r.gradient_norm, r.learning_rate});
    }
  }
  for (std::size_t i = 1; i < results.size(); ++i) {
    CHECK(same(results[0], results[i]));
    CHECK(reports[0] == reports[i]);
  }
  CHECK(distance(results[0], tiny_model(config)) > 0.1);
}

TEST_CASE("Trainer: to the last bit the same when activations are computed twice instead of kept") {
  Config config = tiny_config();
  config.dropout = 0.2;
  const auto text = tiny_text(200);
  Options options;
  options.batches.segment = 40;
  std::vector<Model> results;
  for (const bool recompute : {false, true}) {
    options.trainer.recompute = recompute;
    Model& model = results.emplace_back(tiny_model(config));
    TinyTraining training(model, text, options);
    for (int n = 0; n < 5; ++n) training.update(rate);
  }
  CHECK(same(results[0], results[1]));
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
    Options options;
    options.batches.lanes = 32;
    options.batches.segment = 12;
    options.trainer.shards = shards;
    options.trainer.threads = threads;
    TinyTraining training(model, text, options);
    for (int n = 0; n < 3; ++n) training.update(rate);
    return model;
  };
  const Model alone = trained(1);
  CHECK(same(trained(2 * shards), alone));
  CHECK(same(trained(3 * shards), alone));
}

TEST_CASE("Trainer: the number of shards changes the result by rounding only") {
  const auto text = tiny_text(100);
  Options options;
  options.batches.lanes = 5;
  options.adam.epsilon = 1;  // so that an update is in proportion to the gradient
  std::vector<Model> results;
  for (const Index shards : {1, 2, 5}) {
    options.trainer.shards = shards;
    Model& model = results.emplace_back(tiny_model());
    TinyTraining training(model, text, options);
    for (int n = 0; n < 3; ++n) training.update(1);
  }
  CHECK(distance(results[0], results[1]) < 1e-5);
  CHECK(distance(results[0], results[2]) < 1e-5);
  CHECK(distance(results[0], tiny_model()) > 0.1);
}

TEST_CASE("Trainer: dropout is drawn from the seed, anew for every update") {
  Config config = tiny_config();
  config.dropout = 0.5;
  Options options;
  const auto losses = [&](std::uint64_t seed) {
    std::vector<Token> text(121, 2);  // all segments are alike
    options.batches.seed = seed;
    Model model = tiny_model(config);
    TinyTraining training(model, text, options);
    std::vector<double> result;
    for (int n = 0; n < 5; ++n) result.push_back(training.update(0).loss);  // the model stays as it is
    return result;
  };
  const auto one = losses(1);
  CHECK(one == losses(1));
  CHECK(one != losses(2));
  CHECK(one[3] != one[4]);
}

TEST_CASE("Trainer: clipping, and the report") {
  const auto text = tiny_text(100);
  Options options;
  options.adam.epsilon = 1;  // with a small gradient the first update is rate * gradient
  options.trainer.clip = 0.01;
  const Model before = tiny_model();
  Model clipped = before, free = before;
  const auto report = TinyTraining(clipped, text, options).update(0.5);
  CHECK(report.gradient_norm > 0.1);  // before clipping
  CHECK(report.learning_rate == 0.5);
  CHECK(report.tokens == 12);
  CHECK(distance(clipped, before) == Approx(0.5 * 0.01).epsilon(0.01));

  options.trainer.clip = 0;
  TinyTraining(free, text, options).update(0.5);
  CHECK(distance(free, before) > 0.05);

  const Schedule schedule{0.5, 4, 0.5};
  TinyTraining training(free, text, options);
  for (const auto& [progress, expected] :
       std::vector<std::pair<double, double>>{{0, 0.125}, {0, 0.25}, {1, 0.5 * 0.75 * 0.5}})
    CHECK(training.update(schedule.rate(training.adam.updates, progress), progress).learning_rate == Approx(expected));
  CHECK(training.adam.updates == 3);
}

TEST_CASE("Trainer: a loss that is not finite stops it and leaves the model as it was") {
  const float bad = GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity());
  const auto text = tiny_text(100);
  Model model = tiny_model();
  TinyTraining training(model, text);
  training.update(rate);
  model.head.linear.bias(1) = bad;
  const Model before = model, m = training.adam.m;
  const std::string message = message_of<std::runtime_error>([&] { training.update(rate); });
  CHECK_THAT(message, ContainsSubstring("update 2: expected a finite loss, found "));
  CHECK_THAT(message,
             ContainsSubstring("(learning rate 0.01); the model was left as it was before this update; try a smaller"));
  model.head.linear.bias(1) = 0;
  Model expected = before;
  expected.head.linear.bias(1) = 0;
  CHECK(same(model, expected));
  CHECK(same(training.adam.m, m));
  CHECK(training.adam.updates == 1);
  CHECK(training.trainer.memory(0).end == 0);  // nothing of the segment is remembered
  CHECK(std::isfinite(training.update(rate).loss));
}

TEST_CASE("Trainer: a progress or a learning rate out of range is refused, and the model left as it was") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  const auto text = tiny_text(100);
  Model model = tiny_model();
  const Model before = model;
  TinyTraining training(model, text);
  for (const double bad : {nan, -0.1, 1.1})
    CHECK_THAT(message_of<std::invalid_argument>([&] { training.update(rate, bad); }),
               ContainsSubstring("update: progress must be from 0 to 1, found "));
  for (const double bad : {nan, -0.1, infinity})
    CHECK_THAT(message_of<std::invalid_argument>([&] { training.update(bad); }),
               ContainsSubstring("update: the learning rate must be at least 0, found "));
  CHECK(same(model, before));
  CHECK(training.trainer.batches().place() == Batches<>::Place{});
}

TEST_CASE("Trainer: a gradient that is not finite stops it and leaves the model as it was") {
  const auto text = tiny_text(100);
  Model model = tiny_model();
  Model before = model;
  Options options;
  options.batches.segment = 1;
  float& bad = model.core.aggregator.key_values[0].key.weight(0, 0);
  bad = std::numeric_limits<
      float>::infinity();  // no step of this segment reads a key, but its gradient goes through the weight
  TinyTraining training(model, text, options);
  CHECK_THAT(message_of<std::runtime_error>([&] { training.update(rate); }),
             ContainsSubstring("update 1: expected a finite gradient norm, found "));
  bad = before.core.aggregator.key_values[0].key.weight(0, 0);
  CHECK(same(model, before));
  CHECK(training.adam.updates == 0);
}

TEST_CASE("Trainer: a rate that is far too large ends with the message, not with a broken model that goes on") {
  const auto text = tiny_text(200);
  Model model = tiny_model();
  TinyTraining training(model, text);
  const auto run = [&] {
    for (int n = 0; n < 10; ++n) training.update(1e30);
  };
  CHECK_THAT(message_of<std::runtime_error>(run), ContainsSubstring("expected a finite"));
}

TEST_CASE("Trainer: a model of compact weights is refused") {
  using Floats = FeedbackTransformer<float>;
  Random random(1);
  Floats model(tiny_config(), random);
  compact_weights(model, WeightFormat::int8);
  Adam<Floats> adam(model);
  const auto text = tiny_text(41);
  CHECK_THROWS_WITH((Trainer<Floats>(model, adam, {text, BatchOptions{.lanes = 2, .segment = 4}}, {})),
                    "a trainer: expected a model of full weights, found weights of int8");
}

TEST_CASE("Trainer: a token outside the vocabulary, and a label that is no class") {
  auto text = tiny_text(100);
  std::vector<Token> labels(text.size(), 5);
  Model model = tiny_model();
  CHECK(message_of<std::invalid_argument>([&] { TinyTraining(model, text, labels); }) ==
        "the data has label 5: expected at most 4");
  Config config = tiny_config();
  config.outputs = 3;
  Model fewer = tiny_model(config);
  labels.assign(text.size(), 2);
  CHECK_NOTHROW(TinyTraining(fewer, text, labels));
  labels[7] = 3;
  CHECK(message_of<std::invalid_argument>([&] { TinyTraining(fewer, text, labels); }) ==
        "the data has label 3: expected at most 2");
  text.back() = 5;
  CHECK(message_of<std::invalid_argument>([&] { TinyTraining(model, text); }) == "the data has token 5: expected 0 to 4");
  text.back() = -1;
  CHECK_THROWS_AS(TinyTraining(model, text), std::invalid_argument);
}

TEST_CASE("Trainer: the optimiser of a model before its memory rule was set is refused") {
  const auto text = tiny_text(100);
  Model model = tiny_model();
  model.core.set_memory_rule(MemoryRule::average);
  Adam<Model> adam(model);
  model.core.set_memory_rule(MemoryRule::feedback);
  const Model before = model;
  Trainer<Model> trainer(model, adam, Batches(Tokens(text), {.lanes = 3, .segment = 4}), {});
  CHECK_THAT(message_of<std::invalid_argument>([&] { trainer.update(0.1, 0); }),
             ContainsSubstring("after set_memory_rule() make another"));
  CHECK_THROWS_AS(adam.update(model, zeros_like(model), 0.1), std::invalid_argument);
  CHECK(adam.updates == 0);
  CHECK(model.core.aggregator.mix.weight == before.core.aggregator.mix.weight);
  CHECK(model.head.linear.weight == before.head.linear.weight);
}

TEST_CASE("Trainer: validation") {
  const auto text = tiny_text(100);
  Model model = tiny_model();
  const auto message = [&](auto&& change) {
    Options options;
    change(options, options.trainer);
    return message_of<std::invalid_argument>([&] { TinyTraining(model, text, options); });
  };
  using A = Options;
  using O = TrainerOptions;
  CHECK_NOTHROW(O{}.validate(BatchOptions{}.lanes, BatchOptions{}.segment));
  CHECK(message([](A&, O& o) { o.shards = 0; }) == "shards must be between 1 and the 3 lanes, found 0");
  CHECK(message([](A&, O& o) { o.shards = 4; }) == "shards must be between 1 and the 3 lanes, found 4");
  CHECK(message([](A&, O& o) { o.threads = 0; }) == "threads must be between 1 and 1024, found 0");
  CHECK(message([](A&, O& o) { o.threads = 1025; }) == "threads must be between 1 and 1024, found 1025");
  CHECK(message([](A&, O& o) { o.fresh = 1.5; }) == "fresh must be from 0 to 1, found 1.5");
  CHECK(message([](A&, O& o) { o.first_segment = 5; }) ==
        "the first segment must be between 1 and the 4 steps of the others, or 0 for no curriculum, found 5");
  CHECK(message([](A&, O& o) { o.growing = -1; }) == "growing must be from 0 to 1, found -1");
  CHECK(message([](A&, O& o) { o.span_penalty = -1; }) == "the span penalty must be at least 0, found -1");
  CHECK(message([](A&, O& o) { o.span_penalty = 0.5; }) ==
        "span_penalty: expected 0 for a model without learned spans, found 0.5");
  CHECK(message([](A&, O& o) { o.clip = -1; }) == "clip must be at least 0, found -1");
  CHECK(message([](A&, O& o) { o.clip = std::numeric_limits<double>::quiet_NaN(); }) ==
        "clip must be at least 0, found nan");
  // what the parts that it is given refuse themselves
  CHECK(message([](A& a, O&) { a.batches.lanes = 0; }) == "lanes must be at least 1, found 0");
  CHECK(message([](A& a, O&) { a.batches.segment = -3; }) == "the segment must be at least 1 token, found -3");
  CHECK(message([](A& a, O&) { a.batches.segment = 34; }) ==
        "the data is too short: 3 lanes of segments of 34 tokens need 103 tokens, found 100");
  CHECK(message([](A& a, O&) { a.adam.beta2 = 1; }) == "beta2 must be at least 0 and below 1, found 1");
}
