#include "fbt/layers/linear.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

#include <limits>
#include <utility>
#include <vector>

using namespace fbt;

static_assert(ColumnLayer<Linear<float>, float> && ColumnLayer<Linear<double>, double>);
static_assert(!Layer<Packed<float>> && !ColumnLayer<Linear<float>, double>);

TEST_CASE("Linear: gradients") {
  Random random(1);
  const bool with_bias = GENERATE(true, false);
  const Index lanes = GENERATE(1, 2, 3);
  Linear<double> layer(5, 4, random, with_bias);
  scatter(layer, random);
  const GradientReport report = check_layer(layer, 5, 4, random, {3, lanes, true, 0});
  INFO(report.where);
  CHECK(report.compared == (5 * 3 * lanes) + 20 + (with_bias ? 4 : 0));
  CHECK(report.worst < 1e-9);
}

TEST_CASE("Linear: backward needs a Trace that was prepared to train") {
  Random random(1);
  const Index lanes = GENERATE(1, 2);
  const Linear<double> layer(2, 3, random);
  Linear<double>::Trace trace;
  Matrix<double> x = Matrix<double>::Ones(2, lanes), y(3, lanes), dx(2, lanes);
  layer.prepare(trace, {1, lanes, true, 0});  // what the Trace held before does not count
  layer.prepare(trace, {1, lanes, false, 0});
  layer.forward(x, trace, 0, y);
  CHECK_THROWS_WITH(layer.backward(y, trace, 0, dx),
                    "backward() of weights (3, 2) needs a Trace prepared with segment.train");
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

  layer.prepare(trace, {1, 1, false, 0});
  Matrix<double> single(3, 1);
  layer.forward(x.leftCols(1), trace, 0, single);
  CHECK(single == expected.leftCols(1));
}

TEST_CASE("Linear: a single lane in pieces, the same to the last bit with any number of threads") {
  Random random(1);
  const Index outputs = 250, inputs = GENERATE(200, 611, 2500);  // 1, 2 and 8 pieces
  const bool relu = GENERATE(false, true);
  Linear<double> layer(inputs, outputs, random);
  scatter(layer, random);
  const Matrix<double> x = random_matrix(inputs, 1, random), add = random_matrix(outputs, 1, random);
  Matrix<double> expected = layer.weight * x + layer.bias + add;
  if (relu) expected = expected.cwiseMax(0.0);
  Matrix<double> first;
  for (const Index threads : {1, 2, 3}) {
    Team team(threads);
    Linear<double>::Trace trace;
    layer.prepare(trace, {1, 1, false, 0, &team});
    Matrix<double> y = Matrix<double>::Constant(outputs, 1, std::numeric_limits<double>::quiet_NaN());
    layer.forward(x, trace, 0, y, {.add = add.data(), .relu = relu});
    CHECK(difference(y, expected) < 1e-12);
    if (threads == 1) first = y;
    CHECK(y == first);
  }
}

TEST_CASE("Linear: weights of 16, 8 and 4 bits") {
  Random random(1);
  const Index lanes = GENERATE(1, 3), outputs = 250, inputs = 1250;  // enough to be split
  Linear<float> layer(inputs, outputs, random);
  fill_normal(layer.bias, 0.3, random);
  const Matrix<float> x = random_matrix(inputs, lanes, random).cast<float>(),
                      add = random_matrix(outputs, lanes, random).cast<float>();
  const Matrix<float> product = layer.weight * x, exact = (product + layer.bias.replicate(1, lanes) + add).cwiseMax(0.0f);
  Linear<float>::Trace trace;
  for (const auto& [format, granted] : std::vector<std::pair<WeightFormat, float>>{{WeightFormat::bf16, 0.003f},
                                                                                   {WeightFormat::int8, 0.01f},
                                                                                   {WeightFormat::int4, 0.12f},
                                                                                   {WeightFormat::full, 1e-6f}}) {
    CAPTURE(name_of(format));
    Matrix<float> first;
    for (const Index threads : {1, 2, 3}) {
      Team team(threads);
      Segment segment{1, lanes, false, 0, &team};
      segment.weights = format;
      layer.prepare(trace, segment);  // the same Trace, whatever it held before
      Matrix<float> y = Matrix<float>::Constant(outputs, lanes, std::numeric_limits<float>::quiet_NaN());
      layer.forward(x, trace, 0, y, {.add = add.data(), .add_stride = outputs, .relu = true});
      const float error = (y - exact).norm() / product.norm();
      CHECK(error < granted);
      if (format != WeightFormat::full) CHECK(error > granted / 10);
      if (threads == 1) first = y;
      CHECK(y == first);
    }
  }
}

TEST_CASE("Linear: weights of fewer bits are packed once for Traces that share them, and again when they have changed") {
  Random random(1);
  Linear<float> layer(40, 50, random);
  Segment segment{1, 1, false, 0};
  segment.weights = WeightFormat::int8;
  Linear<float>::Trace first;
  layer.prepare(first, segment);
  Linear<float>::Trace second = first;
  segment.lanes = 4;
  segment.keep_packed = true;
  layer.prepare(second, segment);
  CHECK(&*second.compact == &*first.compact);
  segment.weights = WeightFormat::int4;
  layer.prepare(second, segment);
  CHECK(&*second.compact != &*first.compact);
  CHECK(second.compact->format() == WeightFormat::int4);
  CHECK(first.compact->format() == WeightFormat::int8);
  layer.weight *= 2;
  Matrix<float> y(50, 4);
  CHECK_THROWS_WITH(layer.forward(Matrix<float>::Ones(40, 4), second, 0, y), Catch::Contains("have changed"));
  layer.prepare(second, segment);
  layer.forward(Matrix<float>::Ones(40, 4), second, 0, y);
  CHECK((y - layer.weight * Matrix<float>::Ones(40, 4)).norm() < 0.3f * y.norm());
}

TEST_CASE("Linear: weights of fewer bits are for floats, and not for training") {
  Random random(1);
  Segment segment{1, 1, true, 0};
  segment.weights = WeightFormat::bf16;
  Linear<float>::Trace trace;
  const Linear<float> layer(2, 3, random);
  segment.train = false;
  segment.weights = WeightFormat::int4;
  layer.prepare(trace, segment);
  segment.train = true;
  segment.weights = WeightFormat::bf16;
  CHECK_THROWS_WITH(layer.prepare(trace, segment), "weights of bf16 cannot be trained: expected a segment to evaluate");
  CHECK(trace.format == WeightFormat::int4);  // the Trace is as it was
  CHECK(trace.compact->format() == WeightFormat::int4);
  segment.train = false;
  Linear<double>::Trace other;
  CHECK_THROWS_WITH(Linear<double>(2, 3, random).prepare(other, segment), "weights of bf16 need a model of float");
}

TEST_CASE("Linear: starting values") {
  Random random(1);
  const Linear<double> layer(16, 50, random);
  CHECK(layer.inputs() == 16);
  CHECK(layer.outputs() == 50);
  CHECK(layer.bias == Vector<double>::Zero(50));
  CHECK(layer.weight.cwiseAbs().maxCoeff() <= 0.25);
  CHECK(layer.weight.cwiseAbs().maxCoeff() > 0.24);
  CHECK(layer.weight.squaredNorm() / 800 == Approx(0.25 * 0.25 / 3).epsilon(0.1));
  CHECK(Linear<double>(16, 50, random, false).bias.size() == 0);
}

TEST_CASE("Linear: a new segment sees changed weights") {
  Random random(1);
  const Index lanes = GENERATE(1, 4);
  Linear<double> layer(3, 2, random);
  Linear<double>::Trace trace;
  const Matrix<double> x = random_matrix(3, lanes, random);
  Matrix<double> y(2, lanes);
  layer.prepare(trace, {1, lanes, false, 0});
  layer.forward(x, trace, 0, y);
  layer.weight *= 2;
  CHECK_THROWS_WITH(
      layer.forward(x, trace, 0, y),
      "the weights (2, 3) have changed since the Trace was prepared: call prepare() again, or a model's start()");
  layer.prepare(trace, {1, lanes, false, 0});
  layer.forward(x, trace, 0, y);
  CHECK(difference(y, layer.weight * x) < 1e-14);
}

TEST_CASE("Linear: inputs and deltas may be written where the Trace keeps them") {
  Random random(1);
  const Linear<double> layer(3, 2, random);
  const Matrix<double> x = random_matrix(3, 4, random), dy = random_matrix(2, 4, random);
  Matrix<double> y(2, 4), dx(3, 4), y_in_place(2, 4), dx_in_place(3, 4);
  Linear<double>::Trace trace, in_place;
  layer.prepare(trace, {2, 2, true, 0});
  layer.prepare(in_place, {2, 2, true, 0});
  for (Index t = 0; t < 2; ++t) {
    layer.forward(step_columns(x, t, 2), trace, t, step_columns(y, t, 2));
    layer.backward(step_columns(dy, t, 2), trace, t, step_columns(dx, t, 2));
    in_place.input(t) = step_columns(x, t, 2);
    in_place.delta(t) = step_columns(dy, t, 2);
    layer.forward(in_place.input(t), in_place, t, step_columns(y_in_place, t, 2));
    layer.backward(in_place.delta(t), in_place, t, step_columns(dx_in_place, t, 2));
  }
  CHECK(y_in_place == y);
  CHECK(dx_in_place == dx);
  CHECK(trace.x == x);
  CHECK(trace.dy == dy);
  CHECK(in_place.x == x);
  CHECK(in_place.dy == dy);
}
