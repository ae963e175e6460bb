#include "fbt/layers/embedding.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

using namespace fbt;

static_assert(Layer<Embedding<float>> && Layer<Embedding<double>> && !ColumnLayer<Embedding<double>, double>);

TEST_CASE("Embedding: gradients") {
  Random random(1);
  const Index lanes = GENERATE(1, 2, 3);
  const Segment segment{4, lanes, true, 0};
  Embedding<double> layer(6, 3, 1, random);
  const std::vector<Token> tokens = random_tokens(segment.columns(), 5, random);  // token 5 never occurs
  const Matrix<double> weights = random_matrix(3, segment.columns(), random);
  Embedding<double>::Trace trace;
  const auto loss = [&] {
    Matrix<double> y = Matrix<double>::Constant(3, segment.columns(), std::numeric_limits<double>::quiet_NaN());
    layer.prepare(trace, segment);
    for (Index t = 0; t < segment.steps; ++t)
      layer.forward(step_columns(Tokens(tokens), t, lanes), trace, t, step_columns(y, t, lanes));
    return y.cwiseProduct(weights).sum();
  };
  loss();
  for (Index t = segment.steps - 1; t >= 0; --t) layer.backward(step_columns(weights, t, lanes), trace, t);
  Embedding<double> grad = ones_like(layer);
  layer.accumulate(trace, 0, segment.steps, grad);
  CHECK(grad.weight.row(5) == RowMatrix<double>::Ones(1, 3));
  remove_ones(grad);

  GradientReport report;
  compare_parameters(report, loss, layer, grad);
  CHECK(report.compared == 18);
  CHECK(report.worst < 1e-9);
}

TEST_CASE("Embedding: looks up rows") {
  Random random(1);
  Embedding<double> layer(3, 2, 1, random);
  layer.weight << 1, 2, 3, 4, 5, 6;
  CHECK(layer.vocabulary() == 3);
  Embedding<double>::Trace trace;
  layer.prepare(trace, {1, 3, false, 0});
  Matrix<double> y(2, 3), expected(2, 3);
  expected << 5, 1, 5, 6, 2, 6;
  layer.forward(std::vector<Token>{2, 0, 2}, trace, 0, y);
  CHECK(y == expected);
}

TEST_CASE("Embedding: starts normal with the given deviation") {
  Random random(1);
  const Embedding<double> layer(100, 100, 0.3, random);
  CHECK(layer.weight.mean() == Approx(0).margin(0.01));
  CHECK(layer.weight.squaredNorm() / 1e4 == Approx(0.09).epsilon(0.05));
}
