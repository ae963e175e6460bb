#include "fbt/layers/layer_mix.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

using namespace fbt;

static_assert(ColumnLayer<LayerMix<float>, float> && ColumnLayer<LayerMix<double>, double>);

TEST_CASE("LayerMix: gradients") {
  Random random(1);
  const Index lanes = GENERATE(1, 2, 3);
  LayerMix<double> layer(2, 3);
  scatter(layer, random);
  const GradientReport report = check_layer(layer, 9, 3, random, {3, lanes, true, 0});
  INFO(report.where);
  CHECK(report.compared == (9 * 3 * lanes) + 3);
  CHECK(report.worst < 1e-9);
}

TEST_CASE("LayerMix: by hand") {
  LayerMix<double> layer(1, 2);
  layer.weight << std::log(1), std::log(3);  // shares 1/4 and 3/4
  CHECK(layer.mix_weights()(0) == Approx(0.25));
  CHECK(layer.mix_weights()(1) == Approx(0.75));
  LayerMix<double>::Trace trace;
  layer.prepare(trace, {1, 2, false, 0});
  Matrix<double> x(4, 2), y(2, 2), expected(2, 2);
  x << 4, 0, 8, 0, 12, 4, 16, 8;
  expected << 10, 3, 14, 6;
  layer.forward(x, trace, 0, y);
  CHECK(difference(y, expected) < 1e-14);
}

TEST_CASE("LayerMix: starts as the mean of all layers") {
  const LayerMix<double> layer(3, 2);
  CHECK(layer.weight.size() == 4);
  CHECK(difference(layer.mix_weights(), Vector<double>::Constant(4, 0.25)) < 1e-15);
}

TEST_CASE("LayerMix: given shares are no parameters") {
  Random random(1);
  Vector<double> shares(3);
  shares << 0, 0.25, 2;
  const LayerMix<double> layer(shares, 3);
  CHECK(count_parameters(layer) == 0);
  CHECK(layer.mix_weights() == shares);
  const GradientReport report = check_layer(layer, 9, 3, random, {3, 2, true, 0});
  INFO(report.where);
  CHECK(report.compared == 9 * 3 * 2);
  CHECK(report.worst < 1e-9);
}
