#include "fbt/layers/key_value.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

#include <limits>

using namespace fbt;

static_assert(Layer<KeyValue<float>> && Layer<KeyValue<double>> && !ColumnLayer<KeyValue<double>, double>);

TEST_CASE("KeyValue: gradients") {
  Random random(1);
  const bool norm = GENERATE(true, false), value_bias = GENERATE(true, false);
  const Index B = GENERATE(1, 2, 3);
  const Segment segment{3, B, true, 0};
  KeyValue<double> layer(4, 2, 3, norm, value_bias, 1e-5, random);
  scatter(layer, random);
  Matrix<double> m = random_matrix(4, segment.columns(), random);
  const Matrix<double> dk = random_matrix(6, segment.columns(), random), dv = random_matrix(6, segment.columns(), random);
  KeyValue<double>::Trace trace;
  const auto loss = [&] {
    double sum = 0;
    layer.prepare(trace, segment);
    for (Index t = 0; t < segment.steps; ++t) {
      trace.k(t).setConstant(std::numeric_limits<double>::quiet_NaN());
      trace.v(t).setConstant(std::numeric_limits<double>::quiet_NaN());
      layer.forward(step_columns(m, t, B), trace, t);
      sum += trace.k(t).cwiseProduct(step_columns(dk, t, B)).sum() + trace.v(t).cwiseProduct(step_columns(dv, t, B)).sum();
    }
    return sum;
  };
  loss();
  Matrix<double> dm = Matrix<double>::Constant(4, segment.columns(), std::numeric_limits<double>::quiet_NaN());
  for (Index t = segment.steps - 1; t >= 0; --t) {
    trace.k(t) = step_columns(dk, t, B);
    trace.v(t) = step_columns(dv, t, B);
    layer.backward(trace, t, step_columns(dm, t, B));
  }
  KeyValue<double> grad = ones_like(layer);
  layer.accumulate(trace, 0, segment.steps, grad);
  remove_ones(grad);

  GradientReport report;
  compare(report, "memory vector", loss, m, dm);
  compare_parameters(report, loss, layer, grad);
  INFO(report.where);
  CHECK(report.compared == (4 * 3 * B) + 48 + (norm ? 8 : 0) + (value_bias ? 6 : 0));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("KeyValue: by hand") {
  Random random(1);
  const bool norm = GENERATE(true, false);
  KeyValue<double> layer(2, 1, 2, norm, true, 3, random);  // variance 1 + epsilon 3: deviation 2
  layer.key.weight << 2, 0, 0, 2;
  layer.value.weight << 0, 1, 1, 0;
  layer.value.bias << 100, 200;
  KeyValue<double>::Trace trace;
  layer.prepare(trace, {1, 1, false, 0});
  Matrix<double> m(2, 1), k(2, 1), v(2, 1);
  m << 1, 3;
  layer.forward(m, trace, 0);
  if (norm) {
    k << -1, 1;
    v << 100.5, 199.5;
  } else {
    k << 2, 6;
    v << 103, 201;
  }
  CHECK(trace.k(0) == k);
  CHECK(trace.v(0) == v);
}
