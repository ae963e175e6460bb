#include "support/catch.hpp"
#include "support/lanes.hpp"
#include "support/reference_model.hpp"
#include "support/small_models.hpp"

using namespace fbt;

namespace {

// The largest difference to the reference over all config switches, for a sequence three times as long as the window, read
// in segments of uneven length.
template <class Scalar>
void check_all_switches(double tolerance) {
  Config c = small_config();
  c.pre_norm = GENERATE(true, false);
  c.share_key_value = GENERATE(true, false);
  c.memory_norm = GENERATE(MemoryNorm::own, MemoryNorm::none, MemoryNorm::block, MemoryNorm::soft);
  if (c.memory_norm == MemoryNorm::block && !c.pre_norm) return;
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  c.position = GENERATE(PositionTerm::none, PositionTerm::relative_key, PositionTerm::per_head, PositionTerm::buckets);
  c.activation = GENERATE(Activation::relu, Activation::gelu, Activation::geglu);
  for (const int bits : {0, 1, 2, 3, 4, 5, 6, 7}) {
    c.head_size = bits & 1 ? 3 : 0;
    c.value_bias = bits & 2;
    c.output_bias = bits & 4;
    c.log_probabilities = bits == 3;
    const auto rule = static_cast<MemoryRule>(bits % 6);
    const bool per_layer = rule == MemoryRule::recurrent || rule == MemoryRule::transformer;
    c.memory_rule = per_layer && c.share_key_value ? MemoryRule::feedback : rule;
    c.memory_layer = rule == MemoryRule::layer ? 1 : 0;
    Random random(static_cast<std::uint64_t>(bits));
    const auto model = scattered_model<Scalar>(c, random);
    const std::vector<Token> tokens = random_tokens(10, c.vocabulary, random);
    ReferenceModel<Scalar> reference(model);
    Matrix<Scalar> expected(c.vocabulary, 10), logits(c.vocabulary, 10);
    for (Index t = 0; t < 10; ++t) expected.col(t) = reference.step(tokens[static_cast<std::size_t>(t)]);

    Lanes run(model, 1);
    Index t = 0;
    for (const Index length : {1, 4, 2, 3}) {
      logits.middleCols(t, length) = run.forward(
          Tokens(tokens).subspan(static_cast<std::size_t>(t), static_cast<std::size_t>(length)), {length, 1, false, 0});
      t += length;
    }
    INFO(describe(c));
    CHECK(difference(logits, expected) < tolerance);
  }
}

}  // namespace

TEST_CASE("FeedbackTransformer: the same logits as the reference model, in double") { check_all_switches<double>(1e-12); }

TEST_CASE("FeedbackTransformer: the same logits as the reference model, in float") { check_all_switches<float>(2e-3); }
