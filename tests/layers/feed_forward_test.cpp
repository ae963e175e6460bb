#include "fbt/layers/feed_forward.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

using namespace fbt;

static_assert(ColumnLayer<FeedForward<float>, float> && ColumnLayer<FeedForward<double>, double>);

TEST_CASE("FeedForward: gradients") {
  Random random(1);
  const Activation activation = GENERATE(Activation::relu, Activation::gelu, Activation::geglu);
  const double rate = GENERATE(0.0, 0.4);
  const Index lanes = GENERATE(1, 2, 3);
  FeedForward<double> layer(3, 4, activation, rate, random);
  scatter(layer, random);
  const GradientReport report = check_layer(layer, 3, 3, random, {3, lanes, true, 5});
  INFO(report.where);
  CHECK(report.compared == (3 * 3 * lanes) + (activation == Activation::geglu ? 8 * 4 : 4 * 4) + 3 * 5);
  CHECK(report.worst < 1e-8);
}

TEST_CASE("FeedForward: by hand") {
  // W1 = [1 0; 0 1], and for geglu the gates [0 1; 1 0]; W2 = [1 10]
  Random random(1);
  const Activation activation = GENERATE(Activation::relu, Activation::gelu, Activation::geglu);
  FeedForward<double> layer(2, 2, activation, 0, random);
  layer.first.weight.topRows(2).setIdentity();
  if (activation == Activation::geglu) layer.first.weight.bottomRows(2) << 0, 1, 1, 0;
  layer.second.weight << 1, 10, 0, 0;
  layer.second.bias << 100, 1000;
  layer.first.bias(0) = 1;
  FeedForward<double>::Trace trace;
  layer.prepare(trace, {1, 1, false, 0});
  Matrix<double> x(2, 1), y(2, 1);
  x << 1, -0.5;
  layer.forward(x, trace, 0, y);
  const double gelu_2 = 1.9544997361036416, gelu_minus_half = -0.15426876936299344, gelu_1 = 0.8413447460685429;
  switch (activation) {
    case Activation::relu: CHECK(y(0) == Approx(100 + 2).epsilon(1e-15)); break;
    case Activation::gelu: CHECK(y(0) == Approx(100 + gelu_2 + 10 * gelu_minus_half).epsilon(1e-14)); break;
    case Activation::geglu: CHECK(y(0) == Approx(100 + 2 * gelu_minus_half + 10 * -0.5 * gelu_1).epsilon(1e-14)); break;
  }
  CHECK(y(1) == 1000);
}

TEST_CASE("FeedForward: dropout acts on the hidden vector, in training only") {
  Random random(1);
  FeedForward<double> layer(2, 200, Activation::relu, 0.5, random);
  layer.first.weight.setZero();
  layer.first.bias.setOnes();
  layer.second.weight.setOnes();
  FeedForward<double>::Trace trace;
  Matrix<double> y(2, 1);
  layer.prepare(trace, {1, 1, false, 1});
  layer.forward(Matrix<double>::Zero(2, 1), trace, 0, y);
  CHECK(y(0) == 200);
  layer.prepare(trace, {1, 1, true, 1});
  layer.forward(Matrix<double>::Zero(2, 1), trace, 0, y);
  CHECK(y(0) != 200);
  CHECK(y(0) == Approx(200).epsilon(0.3));
  CHECK(y(0) == y(1));  // one mask for both outputs: the hidden units are dropped, not the outputs
}
