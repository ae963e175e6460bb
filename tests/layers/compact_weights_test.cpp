#include "fbt/layers/compact_weights.hpp"

#include "fbt/models/encoder_decoder.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <string>
#include <vector>

using namespace fbt;

namespace {

using Model = FeedbackTransformer<float>;

Model small_model() {
  Random random(1);
  return Model({.vocabulary = 11, .width = 40, .layers = 2, .heads = 2, .feed_forward = 70, .window = 4}, random);
}
WeightFormat any_format() { return GENERATE(WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4); }

}  // namespace

TEST_CASE("compact weights: every Linear of a model, by its name") {
  const Model model = small_model();
  std::vector<std::string> names;
  visit_linear(model, [&](std::string_view name, const auto&) { names.emplace_back(name); });
  CHECK(names == std::vector<std::string>{"blocks.0.attention.query", "blocks.0.attention.output",
                                          "blocks.0.feed_forward.first", "blocks.0.feed_forward.second",
                                          "blocks.1.attention.query", "blocks.1.attention.output",
                                          "blocks.1.feed_forward.first", "blocks.1.feed_forward.second", "key_values.0.key",
                                          "key_values.0.value", "head"});
}

TEST_CASE("compact weights: steps as full weights that are rounded at the start") {
  const WeightFormat format = any_format();
  const Index lanes = GENERATE(1, 3);
  const Model full = small_model();
  Model compact = full;
  compact_weights(compact, format);
  CHECK(weights_of(full) == WeightFormat::full);
  CHECK(weights_of(compact) == format);
  CHECK(count_parameters(compact) == count_parameters(full));
  CHECK(compact.head.linear.weight.size() == 0);
  CHECK(compact.head.linear.outputs() == 11);
  CHECK(compact.head.linear.inputs() == 40);
  auto rounded = full.start(lanes, {1, format}), kept = compact.start(lanes), named = compact.start(lanes, {2, format});
  auto copied = Model(compact).start(lanes);
  Random random(2);
  for (int i = 0; i < 9; ++i) {
    const auto tokens = random_tokens(lanes, 11, random);
    const Matrix<float> logits = full.step(tokens, rounded);
    CHECK(compact.step(tokens, kept) == logits);
    CHECK(compact.step(tokens, named) == logits);
    CHECK(compact.step(tokens, copied) == logits);
  }
}

TEST_CASE("compact weights: a model of them that is read in a segment") {
  const WeightFormat format = any_format();
  const Model full = small_model();
  Model compact = full;
  compact_weights(compact, format);
  Random random(2);
  const auto tokens = random_tokens(12, 11, random);
  const auto logits = [&](const Model& model, WeightFormat weights) -> Matrix<float> {
    auto memory = model.make_memory(2);
    Model::Trace trace;
    return model.forward(tokens, {.steps = 6, .lanes = 2, .weights = weights}, memory, trace);
  };
  CHECK(logits(compact, WeightFormat::full) == logits(full, format));
}

TEST_CASE("compact weights: an encoder-decoder") {
  EncoderDecoderConfig config;
  config.decoder = {.vocabulary = 9, .width = 40, .layers = 1, .heads = 2, .window = 4, .cross_attention = true};
  Random random(1);
  const EncoderDecoder<float> full(config, random);
  EncoderDecoder<float> compact = full;
  compact_weights(compact, WeightFormat::int8);
  const std::vector<std::vector<Token>> sources{{1, 2, 3}, {4}};
  auto rounded = full.start(sources, 1, {1, WeightFormat::int8}), kept = compact.start(sources);
  for (const Token token : {0, 3, 8}) {
    const std::vector<Token> tokens{token, token};
    const Matrix<float> logits = full.step(tokens, rounded);
    CHECK(compact.step(tokens, kept) == logits);
  }
}

TEST_CASE("compact weights: a stepper of one model does not step another") {
  Model model = small_model();
  compact_weights(model, WeightFormat::bf16);
  auto stepper = model.start(2);
  const std::vector<Token> tokens{1, 2};
  model.step(tokens, stepper);
  const auto message = [&] { return message_of<std::invalid_argument>([&] { model.step(tokens, stepper); }); };
  for (const WeightFormat format : {WeightFormat::int8, WeightFormat::int8, WeightFormat::full}) {
    const Index before = stepper.memory.end;
    Model other = small_model();
    if (format != WeightFormat::full) compact_weights(other, format);
    model = other;
    CHECK(message().find("call prepare() again, or a model's start()") != std::string::npos);
    CHECK(stepper.memory.end == before);
    stepper = model.start(2);
    model.step(tokens, stepper);
  }
  compact_weights(model, WeightFormat::int4);
  CHECK(message().find("call prepare() again, or a model's start()") != std::string::npos);
}

TEST_CASE("compact weights: of a Linear alone, and models of which only a part is compact") {
  Random random(1);
  Linear<float> linear(3, 4, random);
  compact_weights(linear, WeightFormat::int8);
  CHECK(weights_of(linear) == WeightFormat::int8);
  CHECK(linear.weight.size() == 0);
  Model model = small_model();
  compact_weights(model.head, WeightFormat::int8);
  CHECK(message_of<std::invalid_argument>([&] { weights_of(model); }) ==
        "expected weights of one format in all of a model, found full and, in head, int8");
}

TEST_CASE("compact weights: what they are not for") {
  const WeightFormat format = any_format();
  Model model = small_model();
  const auto message = [](auto&& f) { return message_of<std::invalid_argument>(f); };
  CHECK(message([&] { compact_weights(model, WeightFormat::full); }) ==
        "compact weights: expected bf16, int8 or int4, found full");
  CHECK(weights_of(model) == WeightFormat::full);
  compact_weights(model, format);
  CHECK(message([&] { compact_weights(model, WeightFormat::int8); }) ==
        fmt::format("compact weights: expected a model of full weights, found weights of {}", name_of(format)));
  const WeightFormat other = format == WeightFormat::bf16 ? WeightFormat::int4 : WeightFormat::bf16;
  CHECK(message([&] {
          model.start(1, {1, other});
        }) == fmt::format("the model has weights of {}: expected these, or full for what it has, found {}", name_of(format),
                          name_of(other)));
  auto memory = model.make_memory(1);
  Model::Trace trace;
  CHECK(message([&] {
          model.forward(std::vector<Token>{1}, {1, 1, true, 0}, memory, trace);
        }) == fmt::format("weights of {} cannot be trained: expected a segment to evaluate", name_of(format)));
}
