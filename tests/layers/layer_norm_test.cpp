#include "fbt/layers/layer_norm.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

using namespace fbt;

static_assert(ColumnLayer<LayerNorm<float>, float> && ColumnLayer<LayerNorm<double>, double>);

TEST_CASE("LayerNorm: gradients") {
  Random random(1);
  const Index lanes = GENERATE(1, 2, 3);
  const double epsilon = GENERATE(1e-5, 0.5);
  LayerNorm<double> layer(5, epsilon);
  scatter(layer, random);
  const GradientReport report = check_layer(layer, 5, 5, random, {3, lanes, true, 0});
  INFO(report.where);
  CHECK(report.compared == (5 * 3 * lanes) + 10);
  CHECK(report.worst < 1e-8);
}

TEST_CASE("LayerNorm: an epsilon that is 0 in its numbers is refused") {
  CHECK_THROWS_WITH(LayerNorm<float>(4, 1e-50),
                    "norm_epsilon: expected a number above 0, found 1e-50, which is 0 in the numbers of the layer");
  CHECK_NOTHROW(LayerNorm<double>(4, 1e-50));
}

TEST_CASE("LayerNorm: by hand") {
  LayerNorm<double> layer(2, 3);  // variance 1 + epsilon 3: deviation 2
  layer.weight << 2, 4;
  layer.bias << 10, 20;
  LayerNorm<double>::Trace trace;
  layer.prepare(trace, {1, 2, false, 0});
  Matrix<double> x(2, 2), y(2, 2), expected(2, 2);
  x << 1, 5, 3, 5;
  expected << 9, 10, 22, 20;  // a constant column has no direction: the bias alone
  layer.forward(x, trace, 0, y);
  CHECK(y == expected);
}

TEST_CASE("LayerNorm: starts as the plain normalisation") {
  Random random(1);
  const LayerNorm<double> layer(8);
  CHECK(layer.epsilon == 1e-5);
  LayerNorm<double>::Trace trace;
  layer.prepare(trace, {1, 3, false, 0});
  Matrix<double> y(8, 3);
  layer.forward(100 * random_matrix(8, 3, random).array() + 50, trace, 0, y);
  for (Index b = 0; b < 3; ++b) {
    CHECK(y.col(b).mean() == Approx(0).margin(1e-12));
    CHECK(y.col(b).squaredNorm() / 8 == Approx(1).epsilon(1e-6));
  }
}
