#include "fbt/layers/self_attention.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

#include <cmath>

using namespace fbt;

namespace {

constexpr Index width = 5, heads = 2, head_size = 3, reach = 2;
const std::vector<Index> lengths{4, 0, 1, 5};
constexpr Segment segment{5, 4, true, 3};

SelfAttention<double> some_layer(double dropout, Random& random) {
  SelfAttention<double> layer(width, heads, head_size, reach, dropout, random);
  scatter(layer, random);
  return layer;
}

}  // namespace

TEST_CASE("SelfAttention: gradients, with padding and without") {
  Random random(1);
  SelfAttention<double> layer = some_layer(GENERATE(0.0, 0.4), random);
  Matrix<double> x = random_matrix(width, segment.columns(), random);
  Matrix<double> weights = random_matrix(width, segment.columns(), random);
  for (Index b = 0; b < segment.lanes; ++b)
    for (Index i = lengths[static_cast<std::size_t>(b)]; i < segment.steps; ++i)
      weights.col(i * segment.lanes + b).setZero();
  SelfAttention<double>::Trace trace;
  Matrix<double> y(width, segment.columns()), dx(width, segment.columns());
  const auto loss = [&] {
    y.setConstant(std::nan(""));
    layer.prepare(trace, segment);
    layer.forward(x, lengths, trace, y);
    return y.cwiseProduct(weights).sum();
  };
  loss();
  CHECK(y.allFinite());
  dx.setConstant(std::nan(""));
  layer.backward(weights, lengths, trace, dx);
  SelfAttention<double> grad = layer;
  visit([](std::string_view, auto& tensor) { tensor.setOnes(); }, grad);
  layer.accumulate(trace, grad);
  visit([](std::string_view, auto& tensor) { tensor.array() -= 1; }, grad);
  GradientReport report;
  compare(report, "input", loss, x, dx);
  compare_parameters(report, loss, layer, grad);
  INFO(report.where);
  CHECK(report.compared == x.size() + count_parameters(layer));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("SelfAttention: what the equation says") {
  Random random(2);
  const SelfAttention<double> layer = some_layer(0, random);
  const Matrix<double> x = random_matrix(width, segment.columns(), random);
  Matrix<double> y(width, segment.columns());
  SelfAttention<double>::Trace trace;
  Segment evaluation = segment;
  evaluation.train = false;
  layer.prepare(trace, evaluation);
  layer.forward(x, lengths, trace, y);
  for (Index b = 0; b < segment.lanes; ++b) {
    const Index length = lengths[static_cast<std::size_t>(b)];
    for (Index i = 0; i < length; ++i) {
      const auto vector = [&](Index at) { return x.col(at * segment.lanes + b); };
      Vector<double> attended(heads * head_size);
      for (Index j = 0; j < heads; ++j) {
        const auto head = [&](const Linear<double>& projection, Index at) {
          return Vector<double>(projection.weight.middleRows(j * head_size, head_size) * vector(at));
        };
        double total = 0;
        Vector<double> sum = Vector<double>::Zero(head_size);
        for (Index n = 0; n < length; ++n) {
          const Index distance = std::max(-reach, std::min(reach, n - i));
          const Vector<double> key = head(layer.key, n) + layer.relative.row(reach + distance).transpose();
          const double weight = std::exp(head(layer.query, i).dot(key) / std::sqrt(3.0));
          total += weight;
          sum += weight * head(layer.value, n);
        }
        attended.segment(j * head_size, head_size) = sum / total;
      }
      CHECK(difference(y.col(i * segment.lanes + b), layer.output.weight * attended + layer.output.bias) < 1e-12);
    }
  }
}

TEST_CASE("SelfAttention: the same to the last bit with any number of threads") {
  Random random(3);
  const SelfAttention<double> layer(48, 4, 12, 8, 0.1, random);
  const std::vector<Index> long_lengths{40, 33, 40};
  Segment large{40, 3, true, 3};
  const Matrix<double> x = random_matrix(48, large.columns(), random), dy = random_matrix(48, large.columns(), random);
  const auto run = [&](Team* team) {
    large.team = team;
    SelfAttention<double>::Trace trace;
    Matrix<double> y(48, large.columns()), dx(48, large.columns());
    layer.prepare(trace, large);
    layer.forward(x, long_lengths, trace, y);
    Matrix<double> delta = dy;
    for (Index i = 33; i < 40; ++i) delta.col(i * 3 + 1).setZero();
    layer.backward(delta, long_lengths, trace, dx);
    SelfAttention<double> grad = zeros_like(layer);
    layer.accumulate(trace, grad);
    return std::tuple(y, dx, grad.relative, grad.key.weight);
  };
  Team team(3);
  CHECK(run(nullptr) == run(&team));
}
