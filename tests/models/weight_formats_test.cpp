// Steps with weights of 16, 8 and 4 bits, in every model.
#include "fbt/generation/generate.hpp"
#include "fbt/models/encoder_decoder.hpp"
#include "fbt/training/evaluate.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace fbt;

namespace {

constexpr Index vocabulary = 11;

Config small(MemoryRule rule) {
  Config c{.vocabulary = vocabulary, .width = 48, .layers = 2, .heads = 2, .feed_forward = 70, .window = 4};
  c.memory_rule = rule;
  c.share_key_value = !c.remembers_per_layer();
  return c;
}

/// Calls f(name, model) for a model of each kind.
template <class F>
void for_each_model(F&& f) {
  Random random(1);
  for (const MemoryRuleInfo& rule : memory_rules)
    f(std::string(rule.name), FeedbackTransformer<float>(small(rule.rule), random));
  f(std::string("lstm"),
    LstmModel<float>({.vocabulary = vocabulary, .width = 48, .attention = true, .heads = 2, .window = 4}, random));
}

/// The model with the weights of its Linear layers rounded to bf16.
template <class Model>
Model rounded_to_bf16(Model model) {
  visit(
      [](std::string_view name, auto& tensor) {
        for (const char* layer : {"query", "key", "value", "output", "first", "second", "gates", "head"})
          if (name.ends_with(fmt::format("{}.weight", layer)))
            for (float& entry : flat(tensor)) entry = std::bit_cast<float>(std::uint32_t{detail::to_bf16(entry)} << 16);
      },
      model);
  return model;
}

/// The outputs (rows, lanes * steps) of reading tokens step by step.
template <class Model>
Matrix<float> outputs(const Model& model, typename Model::Stepper stepper) {
  Random random(2);
  const Index lanes = stepper.memory.lanes(), steps = 9;
  Matrix<float> result(vocabulary, lanes * steps);
  for (Index t = 0; t < steps; ++t)
    step_columns(result, t, lanes) = model.step(random_tokens(lanes, vocabulary, random), stepper);
  return result;
}

double difference_of(const Matrix<float>& a, const Matrix<float>& b) { return (a - b).norm() / b.norm(); }

}  // namespace

TEST_CASE("weight formats: steps with 16 bits are those of a model whose weights are so, of fewer they are near") {
  const Index lanes = GENERATE(1, 3);
  for_each_model([&](const std::string& name, const auto& model) {
    CAPTURE(name, lanes);
    const auto with = [&](WeightFormat weights) { return outputs(model, model.start(lanes, {1, weights})); };
    const Matrix<float> full = with(WeightFormat::full), half = with(WeightFormat::bf16);
    CHECK(full == outputs(model, model.start(lanes)));
    const auto rounded = rounded_to_bf16(model);
    CHECK(difference_of(half, outputs(rounded, rounded.start(lanes))) < 1e-5);
    for (const auto& [weights, granted] : std::vector<std::pair<WeightFormat, double>>{
             {WeightFormat::bf16, 0.01}, {WeightFormat::int8, 0.05}, {WeightFormat::int4, 0.4}}) {
      CAPTURE(name_of(weights));
      const double difference = difference_of(with(weights), full);
      CHECK(difference < granted);
      CHECK(difference > granted / 30);
    }
  });
}

TEST_CASE("weight formats: a stepper hands its own on, and keeps it when it is refreshed") {
  Random random(1);
  FeedbackTransformer<float> model(small(MemoryRule::feedback), random);
  auto first = model.start(2, {1, WeightFormat::int8});
  const auto packed = [](const auto& stepper) { return &*stepper.trace.core.blocks[0].attention.query.compact; };
  CHECK(packed(model.start(3, first)) == packed(first));
  CHECK(outputs(model, model.start(3, first)) == outputs(model, model.start(3, {1, WeightFormat::int8})));
  model.core.blocks[0].attention.query.weight *= 2;
  CHECK_THROWS_WITH(outputs(model, first), Catch::Contains("have changed since the Trace was prepared"));
  model.refresh(first);
  CHECK(outputs(model, first) == outputs(model, model.start(2, {1, WeightFormat::int8})));
}

TEST_CASE("weight formats: generate() and evaluate() take them") {
  Random random(1);
  const FeedbackTransformer<float> model(small(MemoryRule::feedback), random);
  const auto text = random_tokens(200, vocabulary, random);
  const auto write = [&](WeightFormat weights) {
    std::vector<Token> written;
    generate(model, Tokens(text).first(5), {.length = 50},
             [&](Token token) {
               written.push_back(token);
               return true;
             },
             {1, weights});
    return written;
  };
  CHECK(write(WeightFormat::int4) != write(WeightFormat::full));
  const auto loss = [&](WeightFormat weights) { return evaluate(model, text, {.lanes = 20, .weights = weights}).mean(); };
  CHECK(loss(WeightFormat::int8) != loss(WeightFormat::full));
  CHECK(loss(WeightFormat::int8) == Approx(loss(WeightFormat::full)).epsilon(0.01));
}

TEST_CASE("weight formats: an encoder and its decoder") {
  Random random(1);
  Config decoder = small(MemoryRule::feedback);
  decoder.cross_attention = true;
  const EncoderDecoder<float> model({.decoder = decoder, .source_vocabulary = 7, .encoder_layers = 2}, random);
  const std::vector<std::vector<Token>> sources{{1, 2, 3}, {4, 5, 6, 0, 1}};
  const auto with = [&](WeightFormat weights) { return outputs(model.decoder, model.start(sources, 1, {1, weights})); };
  const Matrix<float> full = with(WeightFormat::full), half = with(WeightFormat::bf16);
  CHECK(difference_of(half, full) < 0.02);
  // the encoder's are rounded, too
  auto stepper = model.start(sources, 1, {1, WeightFormat::bf16});
  stepper.memory.source = model.start(sources).memory.source;
  CHECK(outputs(model.decoder, stepper) != half);
}

TEST_CASE("weight formats: are for models of float") {
  Random random(1);
  const FeedbackTransformer<double> model(small(MemoryRule::feedback), random);
  CHECK_THROWS_WITH(model.start(1, {1, WeightFormat::int8}), "weights of int8 need a model of float");
}
