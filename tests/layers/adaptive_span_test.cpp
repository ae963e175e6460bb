#include "fbt/layers/adaptive_span.hpp"

#include "fbt/layers/attention.hpp"
#include "support/attention_run.hpp"
#include "support/catch.hpp"
#include "support/memory_layer_check.hpp"

using namespace fbt;

TEST_CASE("AdaptiveSpan: without learned lengths every head sees the whole window") {
  const AdaptiveSpan<double> span;
  CHECK(!span.adaptive());
  CHECK(span.seen(1, {4, 7}).begin == 4);
  CHECK(span.seen(1, {4, 7}).count == 7);
  double weights[] = {0.25, 0.75};
  span.forward(0, weights, 2);
  CHECK(weights[0] == 0.25);
}

TEST_CASE("AdaptiveSpan: what a head sees, and the mask, by hand") {
  AdaptiveSpan<double> span(4, 10, 4);
  span.length << 0, 0.25, 0.7, 1;  // z = 0, 2.5, 7, 10; ages below z + 4 are seen
  CHECK(span.visible(0) == 3);
  CHECK(span.visible(1) == 6);
  CHECK(span.visible(2) == 10);
  CHECK(span.visible(3) == 10);
  CHECK(span.seen(1, {5, 9}).begin == 8);
  CHECK(span.seen(1, {5, 9}).count == 6);
  CHECK(span.seen(1, {5, 2}).begin == 5);
  CHECK(span.seen(1, {5, 2}).count == 2);

  Vector<double> weights = Vector<double>::Constant(6, 1.0 / 6);
  span.forward(1, weights.data(), 6);  // ages 6 .. 1: (4 + 2.5 - age) / 4, at most 1
  const Vector<double> mask = (Vector<double>(6) << 0.125, 0.375, 0.625, 0.875, 1, 1).finished();
  CHECK(difference(weights, mask / mask.sum()) < 1e-15);
}

TEST_CASE("AdaptiveSpan: lengths outside of 0 to 1 count as these") {
  AdaptiveSpan<double> span(2, 10, 4);
  span.length << -3, 2;
  CHECK(span.visible(0) == 3);
  CHECK(span.visible(1) == 10);
  span.length(1) = std::numeric_limits<double>::quiet_NaN();  // as 0
  CHECK(span.visible(1) == 3);
}

TEST_CASE("AdaptiveSpan: gradients of an attention with learned spans") {
  Random random(1);
  constexpr Index width = 4, head_size = 3, window = 5, heads = 3;
  const Index lanes = GENERATE(1, 2);
  const double rate = GENERATE(0.0, 0.4);
  const PositionTerm term = GENERATE(PositionTerm::relative_key, PositionTerm::per_head);
  Attention<double> layer(width, heads, head_size, true, rate, random);
  Position<double> position(term, head_size, heads, window, random);
  scatter(layer, random);
  scatter(position, random);
  layer.span = AdaptiveSpan<double>(heads, window, 2);
  layer.span.length << 0.13, 0.47, 0.9;  // 2, 4 and 5 slots are seen
  const KeyValueCache<double> memory = random_cache(head_size, heads, lanes, 9, random);
  const GradientReport report =
      check_memory_layer<AttentionRun>(layer, position, memory, width, 2, {5, lanes, true, 9}, random);
  INFO(report.where);
  const Index parameters = 2 * width * heads * head_size + width + heads;
  CHECK(report.compared == width * 5 * lanes + 2 * memory.keys.size() + parameters + count_parameters(position));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("AdaptiveSpan: a span that covers the window changes nothing") {
  Random random(1);
  const Attention<double> plain(4, 2, 3, true, 0, random);
  Attention<double> layer = plain;
  layer.span = AdaptiveSpan<double>(2, 5, 2);
  layer.span.length.setOnes();
  const Position<double> position(PositionTerm::relative_key, 3, 2, 5, random);
  const KeyValueCache<double> memory = random_cache(3, 2, 1, 9, random);
  const Matrix<double> x = random_matrix(4, 1, random);
  Matrix<double> y(4, 1), expected(4, 1);
  const Window window{3, 5};
  Attention<double>::Trace trace;
  for (auto [attention, to] : {std::pair{&plain, &expected}, {&std::as_const(layer), &y}}) {
    attention->prepare(position, 5, trace, {1, 1, false, 0});
    attention->forward(x, memory, {&window, 1}, position, trace, 0, *to);
  }
  CHECK(difference(y, expected) < 1e-14);
}

TEST_CASE("AdaptiveSpan: sizes that see nothing are refused") {
  CHECK_THROWS_WITH(AdaptiveSpan<double>(2, 5, 1),
                    "span: expected at least 1 head, a window of 1 and a ramp of 2, so that the newest slot is seen, "
                    "found 2, 5 and 1");
  CHECK_THROWS_AS(AdaptiveSpan<double>(0, 5, 2), std::invalid_argument);
  CHECK_THROWS_AS(AdaptiveSpan<double>(2, 0, 2), std::invalid_argument);
}
