// Everything that uses a Team or parallel_for, in models large enough that their work is split: the preset `thread` runs it under the
// thread sanitizer. Results are the same to the last bit with any number of threads.
#include "fbt/fbt.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

#include <filesystem>

using namespace fbt;

namespace {

FeedbackTransformer<float> make_model(MemoryRule rule = MemoryRule::feedback) {
  Config c{.vocabulary = 30, .width = 96, .layers = 2, .heads = 3, .feed_forward = 700, .window = 40};
  c.memory_rule = rule;
  c.share_key_value = !c.remembers_per_layer();
  c.dropout = 0.1;
  Random random(1);
  return FeedbackTransformer<float>(c, random);
}

/// The parameters after some updates, as one vector.
Vector<float> train(Index shards, Index threads, MemoryRule rule) {
  auto model = make_model(rule);
  Random random(2);
  const std::vector<Token> text = random_tokens(2000, 30, random);
  Adam adam(model);
  Trainer trainer(model, adam, Batches(text, {.lanes = 8, .segment = 12}),
                  {.shards = shards, .threads = threads, .fresh = 0});
  for (int i = 0; i < 3; ++i) trainer.update(1e-3);
  Vector<float> all(count_parameters(model));
  Index at = 0;
  visit(
      [&](std::string_view, const auto& tensor) {
        all.segment(at, tensor.size()) = flat(tensor);
        at += tensor.size();
      },
      std::as_const(model));
  return all;
}

}  // namespace

TEST_CASE("threads: shards on threads, and teams that share the steps of a shard") {
  for (const MemoryRule rule : {MemoryRule::feedback, MemoryRule::transformer}) {
    CHECK(train(2, 2, rule) == train(2, 1, rule));
    CHECK(train(1, 2, rule) == train(1, 1, rule));
    CHECK(train(2, 5, rule) == train(2, 1, rule));
  }
}

TEST_CASE("threads: stepping") {
  const auto model = make_model();
  const WeightFormat weights = GENERATE(WeightFormat::full, WeightFormat::bf16, WeightFormat::int8);
  for (const Index lanes : {1, 4}) {
    auto alone = model.start(lanes, {1, weights}), shared = model.start(lanes, {3, weights});
    auto beside = shared;  // on the same team
    Random random(3);
    for (int t = 0; t < 60; ++t) {
      const std::vector<Token> tokens = random_tokens(lanes, 30, random);
      const Matrix<float> expected = model.step(tokens, alone);
      Matrix<float> first, second;
      parallel_for(2, 2, [&](Index i) {
        if (i == 0) {
          first = model.step(tokens, shared);
        } else {
          second = model.step(tokens, beside);
        }
      });
      REQUIRE(first == expected);
      REQUIRE(second == expected);
    }
  }
}

TEST_CASE("threads: one model serves many threads, whose steppers share its packed weights") {
  const auto model = make_model();
  const auto first = model.start(2, {1, GENERATE(WeightFormat::full, WeightFormat::int4)});
  std::vector<Matrix<float>> outputs(4);
  parallel_for(4, 4, [&](Index i) {
    auto stepper = model.start(2, first);
    for (Token t = 0; t < 20; ++t) model.step(std::vector<Token>{t, 1}, stepper);
    outputs[static_cast<std::size_t>(i)] = stepper.trace.outputs;
  });
  for (const auto& other : outputs) CHECK(other == outputs[0]);
}

TEST_CASE("threads: evaluation and generation") {
  const auto model = make_model();
  Random random(4);
  const std::vector<Token> text = random_tokens(600, 30, random);
  for (const Index lanes : {1, 40}) {
    const auto one = evaluate(model, Tokens(text), {.lanes = lanes, .context = 5, .threads = 1});
    const auto many = evaluate(model, Tokens(text), {.lanes = lanes, .context = 5, .threads = 3});
    CHECK(one.loss.sum == many.loss.sum);
    CHECK(one.right == many.right);
  }
  std::vector<GenerationRequest> requests(5);
  for (std::size_t i = 0; i < requests.size(); ++i)
    requests[i] = {{static_cast<Token>(i), 3}, {.length = static_cast<Index>(4 * i), .sampling = {.seed = i}}};
  const auto texts = [&](Index threads) {
    std::vector<std::vector<Token>> result(requests.size());
    generate(
        model, std::span<const GenerationRequest>(requests), 3,
        [&](std::size_t i, Token token) {
          result[i].push_back(token);
          return true;
        },
        threads);
    return result;
  };
  CHECK(texts(1) == texts(2));
}

TEST_CASE("threads: an LSTM with attention") {
  Random random(1);
  const LstmModel<float> model({.vocabulary = 30, .width = 128, .attention = true, .heads = 4, .window = 30}, random);
  auto alone = model.start(3), shared = model.start(3, 2);
  for (int t = 0; t < 40; ++t) {
    const std::vector<Token> tokens = random_tokens(3, 30, random);
    REQUIRE(model.step(tokens, shared) == model.step(tokens, alone));
  }
}
