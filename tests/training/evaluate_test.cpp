#include "fbt/training/evaluate.hpp"

#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <string>
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

/// The losses of predicting each token of a text but the first, in one run of one lane.
std::vector<double> naive_losses(const Model& model, Tokens text) {
  std::vector<double> losses;
  auto stepper = model.start(1);
  for (std::size_t i = 0; i + 1 < text.size(); ++i)
    losses.push_back(cross_entropy(model.step(text.subspan(i, 1), stepper), text.subspan(i + 1, 1)).sum);
  return losses;
}
double sum(const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); }

/// A model that remembers nothing and gives token v the logit v (+ 10 after token 3), and notes which tokens were read.
struct Unigram {
  using Scalar = double;
  struct Stepper {
    Matrix<double> logits;
  };
  std::vector<std::vector<Token>>* read = nullptr;  // by step

  Stepper start(Index lanes, const Execution& = {}) const { return {Matrix<double>::Zero(5, lanes)}; }
  Stepper start(Index lanes, const Stepper&) const { return start(lanes); }
  const Matrix<double>& step(Tokens tokens, Stepper& state) const {
    if (read) read->emplace_back(tokens.begin(), tokens.end());
    for (Index b = 0; b < state.logits.cols(); ++b)
      for (Index v = 0; v < 5; ++v)
        state.logits(v, b) =
            static_cast<double>(v) + (tokens[static_cast<std::size_t>(b)] == 3 ? 10 - 9 * static_cast<double>(v) : 0);
    return state.logits;
  }
};

}  // namespace

TEST_CASE("evaluate: the one long run is the definition, which lanes approach with a longer context") {
  // the memory reaches beyond the window, so that no context but the whole text gives a part the same past
  Random random(3);
  FeedbackTransformer<double> model({.vocabulary = 11, .width = 16, .layers = 3, .heads = 2, .window = 7}, random);
  model.core.aggregator.mix.weight.setZero();
  std::vector<Token> text;
  for (Token i = 0; i < 321; ++i) text.push_back((7 * i + i * i / 3) % 11);
  const double defined = 2.530489;
  CHECK(std::abs(evaluate(model, text).mean() - defined) < 1e-6);
  CHECK(std::abs(evaluate(model, text, {.context = 7, .threads = 2}).mean() - defined) < 1e-6);
  const auto distance = [&](Index lanes, Index context) {
    return std::abs(evaluate(model, text, {.lanes = lanes, .context = context}).mean() - defined);
  };
  CHECK(distance(5, 7) > 1e-4);
  CHECK(distance(5, 60) < 1e-5);
}

TEST_CASE("evaluate: one lane is one long run, to the last bit") {
  const Model model = tiny_model();
  const auto text = tiny_text(40);
  const double expected = sum(naive_losses(model, text));
  for (const Index context : {0, 3, 4, 39, 1000}) {
    const LossSum loss = evaluate(model, text, {1, context, 1}).loss;
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
    const LossSum loss = evaluate(model, text, {lanes, 4, 2}).loss;
    CHECK(loss.count == 202);
    CHECK(loss.sum == Approx(expected).epsilon(1e-6));
  }
  CHECK(std::abs(evaluate(model, text, {40, 3, 1}).loss.sum - expected) > 1e-4 * expected);  // too little context shows

  // With feedback from the upper layers the past reaches further than the window, more weakly the further it is back.
  model.core.aggregator.mix.weight.setZero();
  const double feedback = sum(naive_losses(model, text));
  const double near = std::abs(evaluate(model, text, {8, 4, 1}).loss.sum - feedback);
  const double far = std::abs(evaluate(model, text, {8, 24, 1}).loss.sum - feedback);
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
        const LossSum loss = evaluate(model, text, {lanes, context, 1}).loss;
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
  const double expected = evaluate(model, text, {50, 4, 1}).loss.sum;
  CHECK(evaluate(model, text, {50, 4, 2}).loss.sum == expected);
  CHECK(evaluate(model, text, {50, 4, 3}).loss.sum == expected);
  CHECK(evaluate(model, text, {50, 4, 9}).loss.sum == expected);
}

TEST_CASE("evaluate: processes that read some groups of lanes each find together what one finds, to the last bit") {
  const Model model = tiny_model();
  const auto text = tiny_text(900);
  const EvaluationOptions options{.lanes = 40, .context = 3};  // three groups
  const Evaluation whole = evaluate(model, text, options);
  const Index processes = GENERATE(2, 3, 4);
  std::vector<Evaluation> found;  // by group
  Evaluation last;
  for (int round = 0; round < 2; ++round) {  // in the first they find, in the second they know of one another
    for (Index p = 0; p < processes; ++p) {
      Index first = 0, end = 0;
      EvaluationOptions part = options;
      part.own_part = [&](Index groups) {
        CHECK(groups == 3);
        found.resize(static_cast<std::size_t>(groups));
        first = groups * p / processes;
        end = groups * (p + 1) / processes;
        return std::pair(first, end);
      };
      part.share = [&](std::span<Evaluation> groups) {
        for (Index g = 0; g < 3; ++g) {
          const auto i = static_cast<std::size_t>(g);
          const bool own = g >= first && g < end;
          CHECK((groups[i].loss.count > 0) == own);  // nothing is read twice
          (own ? found[i] : groups[i]) = own ? groups[i] : found[i];
        }
      };
      last = evaluate(model, text, part);
      if (round == 0) continue;
      CHECK(last.loss.sum == whole.loss.sum);
      CHECK(last.loss.count == whole.loss.count);
      CHECK(last.right == whole.right);
    }
  }
}

TEST_CASE("evaluate: errors") {
  const Unigram model;
  const auto text = tiny_text(10);
  const auto message = [&](std::size_t size, Index lanes, Index context, Index threads) {
    return message_of<std::invalid_argument>([&] { evaluate(model, Tokens(text).first(size), {lanes, context, threads}); });
  };
  CHECK(message(1, 1, 0, 1) == "evaluation needs at least 2 tokens, found 1");
  CHECK(message(0, 1, 0, 1) == "evaluation needs at least 2 tokens, found 0");
  const std::string least = "evaluation needs at least 1 lane, 1 thread and a context of at least 0, found ";
  CHECK(message(10, 0, 0, 1) == least + "0, 1 and 0");
  CHECK(message(10, 1, 0, 0) == least + "1, 0 and 0");
  CHECK(message(10, 1, -1, 1) == least + "1, 1 and -1");
}

namespace {

/// A model of labels with a number of classes of their own, whose memory depends on no more than the window.
Model labelling_model() {
  Config config = tiny_config();
  config.outputs = 7;
  Model model = tiny_model(config);
  model.core.aggregator.mix.weight << 1000, 0, 0;
  Random random(4);
  fill_normal(model.head.linear.weight, 1, random);
  return model;
}
/// Labels of 7 classes; every third is not scored.
std::vector<Token> tiny_labels(Index size) {
  auto labels = tiny_text(size, 7, 8);
  for (std::size_t i = 0; i < labels.size(); i += 3) labels[i] = -1;
  return labels;
}

Evaluation by_hand(const Model& model, const std::vector<Token>& text, const std::vector<Token>& labels) {
  Evaluation result;
  auto stepper = model.start(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const Matrix<float>& logits = model.step(Tokens(text).subspan(i, 1), stepper);
    if (labels[i] < 0) continue;
    double total = 0;
    bool right = true;
    for (Index c = 0; c < logits.rows(); ++c) {
      total += std::exp(static_cast<double>(logits(c)) - static_cast<double>(logits(labels[i])));
      right = right && logits(c) <= logits(labels[i]);
    }
    result.loss += {std::log(total), 1};
    result.right += right;
  }
  return result;
}

}  // namespace

TEST_CASE("evaluate: labels: loss and accuracy as by hand, with one lane and many, and any number of threads") {
  const Model model = labelling_model();
  const auto text = tiny_text(601), labels = tiny_labels(601);
  const Evaluation expected = by_hand(model, text, labels);
  CHECK(expected.loss.count == 400);
  CHECK(expected.right > 20);
  CHECK(expected.right < 300);
  const Evaluation one = evaluate(model, text, labels);
  CHECK(one.loss.count == 400);
  CHECK(one.mean() == Approx(expected.mean()).epsilon(1e-5));
  CHECK(one.right == expected.right);
  CHECK(one.accuracy() == static_cast<double>(expected.right) / 400);
  for (const Index lanes : {3, 16, 17, 50}) {
    const Evaluation many = evaluate(model, text, labels, {lanes, 4, 1});
    CHECK(many.loss.count == 400);
    CHECK(many.mean() == Approx(expected.mean()).epsilon(1e-5));
    CHECK(many.right == expected.right);
    for (const Index threads : {2, 5}) {
      const Evaluation shared = evaluate(model, text, labels, {lanes, 4, threads});
      CHECK(shared.loss.sum == many.loss.sum);
      CHECK(shared.right == many.right);
    }
  }
}

TEST_CASE("evaluate: predicting the next token is labelling with it") {
  const Model model = tiny_model();
  const auto text = tiny_text(60);
  const std::vector<Token> labels(text.begin() + 1, text.end());
  const Evaluation next = evaluate(model, text, {3, 4, 1}),
                   labelled = evaluate(model, Tokens(text).first(59), labels, {3, 4, 1});
  CHECK(next.loss.sum == labelled.loss.sum);
  CHECK(next.loss.count == 59);
  CHECK(next.right == labelled.right);
}

TEST_CASE("evaluate: nothing is scored") {
  const Model model = tiny_model();
  const std::vector<Token> text{1}, none{-1};
  const Evaluation evaluation = evaluate(model, text, none);
  CHECK(evaluation.loss.count == 0);
  CHECK(std::isnan(evaluation.mean()));
  CHECK(std::isnan(evaluation.accuracy()));
}

TEST_CASE("evaluate: vectors, as by hand, with one lane and many, and any number of threads") {
  Config config = tiny_config();
  config.vocabulary = 0;
  config.inputs = 3;
  config.outputs = 2;
  Random random(1);
  VectorModel<double> model(config, random);
  scatter(model, random);
  model.core.aggregator.mix.weight << 1000, 0, 0;
  Matrix<double> values(3, 90), targets(2, 90);
  fill_normal(values, 1, random);
  fill_normal(targets, 1, random);
  targets.col(7).setConstant(std::numeric_limits<double>::quiet_NaN());
  targets(1, 30) = std::numeric_limits<double>::quiet_NaN();
  const Vectors<double> data(values.data(), 3, 90), goals(targets.data(), 2, 90);
  LossSum expected;
  auto stepper = model.start(1);
  for (Index t = 0; t < 90; ++t) {
    const Matrix<double>& y = model.step(values.col(t), stepper);
    for (Index k = 0; k < 2; ++k)
      if (!std::isnan(targets(k, t))) expected += {(y(k) - targets(k, t)) * (y(k) - targets(k, t)), 1};
  }
  CHECK(expected.count == 177);
  for (const Index lanes : {1, 4, 17, 22}) {
    const Evaluation one = evaluate(model, data, goals, {lanes, 4, 1}, SquaredError<double>{}),
                     shared = evaluate(model, data, goals, {lanes, 4, 3}, SquaredError<double>{});
    CHECK(one.loss.count == 177);
    CHECK(one.mean() == Approx(expected.mean()).epsilon(1e-10));
    CHECK(shared.loss.sum == one.loss.sum);
    CHECK(one.right == 0);
  }
}

TEST_CASE("evaluate: targets that do not fit") {
  const Model model = tiny_model();
  const auto text = tiny_text(10);
  std::vector<Token> labels(9, 0);
  const auto message = [&] { return message_of<std::invalid_argument>([&] { evaluate(model, text, labels); }); };
  CHECK(message() == "evaluation needs a target for every value, found 9 for 10");
  labels.assign(10, 5);
  CHECK_THAT(message(), ContainsSubstring("target 5 is outside the vocabulary of 5"));
  CHECK(message_of<std::invalid_argument>([&] { evaluate(model, {}, {}, EvaluationOptions{}); }) ==
        "evaluation needs at least 1 value, found none");
}

TEST_CASE("evaluate: the beginning of the data is not scored where it only warms the memory up") {
  const Model model = tiny_model();
  const std::vector<Token> text = tiny_text(40);
  const std::vector<double> losses = naive_losses(model, text);
  for (const Index warm_up : {0, 1, 7, 38}) {
    const Evaluation result = evaluate(model, Tokens(text), {.warm_up = warm_up});
    CHECK(result.loss.count == 39 - warm_up);
    CHECK(result.loss.sum == Approx(sum(losses) - std::accumulate(losses.begin(), losses.begin() + warm_up, 0.0)));
  }
  CHECK(evaluate(model, Tokens(text), {.warm_up = 100}).loss.count == 0);
}
