#include "fbt/models/sequence_model.hpp"
#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/lanes.hpp"
#include "support/small_models.hpp"

using namespace fbt;

namespace {

constexpr Index lanes = 2, steps = 5;

// A segment longer than the window, from an empty memory or from that of an earlier segment, which stays as it is while the
// parameters are varied: carried slots are constants.
GradientReport check_model(FeedbackTransformer<double>& model, Index carried_steps, Random& random) {
  const Config& c = model.config();
  Lanes run(model, lanes);
  if (carried_steps > 0)
    run.forward(random_tokens(carried_steps * lanes, c.vocabulary, random), {carried_steps, lanes, true, 3});
  const Memory<double> carried = run.memory;
  const std::vector<Token> tokens = random_tokens(steps * lanes, c.vocabulary, random);
  const Matrix<double> weights = random_matrix(c.vocabulary, steps * lanes, random);

  const auto loss = [&] {
    run.memory = carried;
    return run.forward(tokens, {steps, lanes, true, 11}).cwiseProduct(weights).sum();
  };
  loss();
  FeedbackTransformer<double> grad = ones_like(model);
  run.backward(weights, grad);
  remove_ones(grad);

  GradientReport report;
  compare_parameters(report, loss, model, grad);
  return report;
}

}  // namespace

TEST_CASE("FeedbackTransformer: gradients") {
  // every combination of the switches that change how gradients flow; the others are drawn
  Config c = small_config();
  c.embedding_deviation = 1;  // a norm of four small numbers bends too much for differences
  c.norm_epsilon = 0.1;
  c.pre_norm = GENERATE(true, false);
  c.share_key_value = GENERATE(true, false);
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  c.memory_norm = GENERATE(MemoryNorm::own, MemoryNorm::none, MemoryNorm::block, MemoryNorm::soft);
  if (c.memory_norm == MemoryNorm::block && !c.pre_norm) return;
  c.activation = GENERATE(Activation::relu, Activation::gelu, Activation::geglu);
  const Index carried_steps = GENERATE(0, 4);
  // Catch2 draws again on every pass: the seed is made from the combination
  Random random((c.pre_norm ? 1 : 0) + (c.share_key_value ? 2 : 0) + 4 * static_cast<std::uint64_t>(c.memory_norm) +
                (c.empty_memory == EmptyMemory::skip ? 16 : 0) + (carried_steps > 0 ? 32 : 0) +
                64 * static_cast<std::uint64_t>(c.activation));
  const auto coin = [&] { return random.below(2) == 0; };
  if (coin()) c.head_size = 3;
  if (coin()) c.dropout = 0.3;
  c.position = static_cast<PositionTerm>(random.below(4));
  c.log_probabilities = coin();
  c.value_bias = coin();
  c.output_bias = coin();

  FeedbackTransformer<double> model = scattered_model<double>(c, random);
  const GradientReport report = check_model(model, carried_steps, random);
  INFO(describe(c) << "carried = " << carried_steps << ": " << report.where);
  CHECK(report.compared == count_parameters(model));
  CHECK(report.worst < 1e-7);
}

TEST_CASE("FeedbackTransformer: gradients of every memory rule") {
  Config c = small_config();
  c.layers = 3;
  c.embedding_deviation = 1;
  c.norm_epsilon = 0.1;
  c.memory_rule =
      GENERATE(MemoryRule::average, MemoryRule::top_only, MemoryRule::layer, MemoryRule::recurrent, MemoryRule::transformer);
  c.memory_layer = c.memory_rule == MemoryRule::layer ? GENERATE(0, 1, 3) : 0;
  c.share_key_value = !c.remembers_per_layer();
  c.pre_norm = GENERATE(true, false);
  c.memory_norm = GENERATE(MemoryNorm::own, MemoryNorm::block);
  if (c.memory_norm == MemoryNorm::block && !c.pre_norm) return;
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  const Index carried_steps = GENERATE(0, 4);
  c.dropout = carried_steps > 0 ? 0.3 : 0;
  Random random(1 + static_cast<std::uint64_t>(c.memory_rule));
  FeedbackTransformer<double> model = scattered_model<double>(c, random);
  const GradientReport report = check_model(model, carried_steps, random);
  INFO(describe(c) << "carried = " << carried_steps << ": " << report.where);
  CHECK(report.compared == count_parameters(model));
  CHECK(report.worst < 1e-7);
}

TEST_CASE("FeedbackTransformer: gradients with learned spans") {
  Config c = small_config();
  c.embedding_deviation = 1;
  c.norm_epsilon = 0.1;
  c.span_ramp = 2;
  c.memory_rule = GENERATE(MemoryRule::feedback, MemoryRule::transformer);
  c.share_key_value = !c.remembers_per_layer();
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  const Index carried_steps = GENERATE(0, 4);
  Random random(3);
  FeedbackTransformer<double> model = scattered_model<double>(c, random);
  model.core.blocks[0].attention.span.length << 0.2, 0.55;  // away from the kinks of the mask
  model.core.blocks[1].attention.span.length << 0.8, 0.1;
  const GradientReport report = check_model(model, carried_steps, random);
  INFO(describe(c) << "carried = " << carried_steps << ": " << report.where);
  CHECK(report.compared == count_parameters(model));
  CHECK(report.worst < 1e-7);
}
