#include "fbt/layers/linear.hpp"

#include "catch.hpp"
#include "fbt/testing/gradient_check.hpp"

using namespace fbt;

static_assert(ColumnLayer<Linear<float>, float>);

TEST_CASE("Linear: gradients") {
  Random random(1);
  const bool with_bias = GENERATE(true, false);
  const Index lanes = GENERATE(1, 2, 3);
  const Linear<double> layer(5, 4, random, with_bias);
  const GradientReport report = check_layer(layer, 5, 4, random, {3, lanes, true, 0});
  INFO(report.where);
  CHECK(report.compared == (5 * 3 * lanes) + 20 + (with_bias ? 4 : 0));
  CHECK(report.worst < 1e-9);
}

TEST_CASE("Linear: the product by hand") {
  Random random(1);
  Linear<double> layer(2, 3, random);
  layer.weight << 1, 2, 3, 4, 5, 6;
  layer.bias << 10, 20, 30;
  Linear<double>::Trace trace;
  layer.prepare(trace, {1, 2, false, 0});
  Matrix<double> x(2, 2), y(3, 2), expected(3, 2);
  x << 1, 0, 1, -1;
  expected << 13, 8, 27, 16, 41, 24;
  layer.forward(x, trace, 0, y);
  CHECK(y == expected);
}
