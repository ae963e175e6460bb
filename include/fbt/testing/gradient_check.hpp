// Proves a backward pass against central differences, in double. For the layers of this library and for yours: check_layer()
// takes any ColumnLayer (layers/layer.hpp); compare() checks one tensor against any loss.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/layers/linear.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

namespace fbt {

/// The worst disagreement that was seen. The error of a tensor is the largest difference between an analytic and a numeric
/// derivative, over the largest derivative of the tensor (or over 1e-4, for a tensor that hardly matters).
struct GradientReport {
  double worst = 0;    ///< relative error; infinity when a derivative is not finite
  std::string where;   ///< the tensor it was seen in
  Index compared = 0;  ///< number of derivatives

  void merge(double error, std::string_view name) {
    if (!std::isfinite(error)) error = std::numeric_limits<double>::infinity();
    if (error <= worst && !where.empty()) return;
    worst = error;
    where = name;
  }
};

/// Compares the analytic derivatives of loss() with respect to values, a matrix or vector that loss() reads, with five-point
/// central differences. Leaves values as they were.
template <class Loss, class Values, class Analytic>
void compare(GradientReport& report, std::string_view name, Loss&& loss, Values&& values, const Analytic& analytic,
             double step = 1e-3) {
  check(values.rows() == analytic.rows() && values.cols() == analytic.cols(),
        "gradient check: {} has shape ({}, {}), its gradient ({}, {})", name, values.rows(), values.cols(), analytic.rows(),
        analytic.cols());
  double difference = 0, largest = 1e-4;
  for (Index j = 0; j < values.cols(); ++j) {
    for (Index i = 0; i < values.rows(); ++i) {
      auto& value = values(i, j);
      const double kept = value;
      const auto at = [&](double offset) {
        value = kept + offset;
        return loss();
      };
      const double numeric = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step);
      value = kept;
      const double error = std::abs(numeric - analytic(i, j));
      difference = std::isfinite(error) ? std::max(difference, error) : std::numeric_limits<double>::infinity();
      largest = std::max({largest, std::abs(numeric), std::abs(static_cast<double>(analytic(i, j)))});
      ++report.compared;
    }
  }
  report.merge(difference / largest, name);
}

/// compare() for every parameter of a layer that loss() reads. grad is a twin holding the analytic gradient.
template <class Loss, class L>
void compare_parameters(GradientReport& report, Loss&& loss, L& layer, const L& grad) {
  visit([&](std::string_view name, auto& tensor, const auto& analytic) { compare(report, name, loss, tensor, analytic); },
        layer, grad);
}

/// Fills a matrix with standard normal numbers.
inline Matrix<double> random_matrix(Index rows, Index columns, Random& random) {
  Matrix<double> m(rows, columns);
  fill_normal(m, 1, random);
  return m;
}

/// Runs a layer over a segment with random inputs and a random linear function of its outputs as the loss, and checks the
/// gradient of every input and parameter. Outputs are filled with NaN beforehand, so that one which is added to or left out
/// shows, and the parameter gradient with 1, so that one which is overwritten shows.
/// The layer maps columns of the given number of inputs to columns of the given number of outputs.
template <class L>
requires ColumnLayer<L, double> GradientReport check_layer(L layer, Index inputs, Index outputs, Random& random,
                                                           Segment segment = {3, 2, true, 1}) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  Matrix<double> x = random_matrix(inputs, segment.columns(), random);
  const Matrix<double> weights = random_matrix(outputs, segment.columns(), random);
  typename L::Trace trace;

  const auto loss = [&] {
    Matrix<double> y = Matrix<double>::Constant(outputs, segment.columns(), nan);
    layer.prepare(trace, segment);
    for (Index t = 0; t < segment.steps; ++t)
      layer.forward(step_columns(x, t, segment.lanes), trace, t, step_columns(y, t, segment.lanes));
    return y.cwiseProduct(weights).sum();
  };
  loss();
  Matrix<double> dx = Matrix<double>::Constant(inputs, segment.columns(), nan);
  for (Index t = segment.steps - 1; t >= 0; --t)
    layer.backward(step_columns(weights, t, segment.lanes), trace, t, step_columns(dx, t, segment.lanes));
  L grad = layer;
  visit([](std::string_view, auto& tensor) { tensor.setOnes(); }, grad);
  layer.accumulate(trace, grad);
  visit([](std::string_view, auto& tensor) { tensor.array() -= 1; }, grad);

  GradientReport report;
  compare(report, "input", loss, x, dx);
  compare_parameters(report, loss, layer, grad);
  return report;
}

}  // namespace fbt
