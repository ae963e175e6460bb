// Proves a backward pass against central differences, in double. For the layers of this library and for yours:
//   check_layer()   any ColumnLayer (layers/layer.hpp)
//   check_block()   a block, which reads a memory (models/block.hpp)
//   check_core()    a core with its memory, over a segment that carries one on (models/feedback_core.hpp)
//   compare()       one tensor against any loss
// Where the loss has a kink (a ReLU at 0), differences across it mean nothing. A kink is told from a wrong gradient by
// smaller steps: they come to lie on one side of a kink, but leave a wrong gradient as wrong as it was.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/layers/attention.hpp"
#include "fbt/layers/key_value_cache.hpp"
#include "fbt/layers/layer.hpp"
#include "fbt/layers/position.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace fbt {

/// The worst disagreement that was seen. The error of a tensor is the largest difference between an analytic and a numeric
/// derivative, over the largest derivative of the tensor (or over 1e-4, for a tensor that hardly matters).
struct GradientReport {
  double worst = 0;         ///< relative error; infinity when a derivative is not finite
  std::string where;        ///< the tensor it was seen in
  Index compared = 0;       ///< number of derivatives
  Index kinks = 0;          ///< of which so many were beside a kink, and right on their side of it
  double tolerance = 1e-7;  ///< what ok() allows

  /// Whether derivatives were compared and all agree.
  bool ok() const { return compared > 0 && worst < tolerance; }

  void merge(double error, std::string_view name) {
    if (!is_finite(error)) error = std::numeric_limits<double>::infinity();
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
      const double kept = value, derivative = static_cast<double>(analytic(i, j));
      const auto numeric = [&](double h) {
        const auto at = [&](double offset) {
          value = kept + offset;
          return loss();
        };
        return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      };
      double slope = numeric(step), error = std::abs(slope - derivative);
      const double scale = std::max({1e-4, std::abs(slope), std::abs(derivative)});
      for (double h = step / 10; error > 1e-8 * scale && h > step / 1e5; h /= 10) {
        const double nearer = numeric(h), remaining = std::abs(nearer - derivative);
        if (!(remaining < 1e-7 * scale)) continue;
        report.kinks += error > 1e-6 * scale;
        slope = nearer;
        error = remaining;
        break;
      }
      value = kept;
      difference = is_finite(error) ? std::max(difference, error) : std::numeric_limits<double>::infinity();
      largest = std::max({largest, std::abs(slope), std::abs(derivative)});
      ++report.compared;
    }
  }
  report.merge(difference / largest, name);
}

/// compare() for every parameter of a layer that loss() reads. grad holds the analytic gradient.
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
  L grad = layer;
  visit([](std::string_view, auto& tensor) { tensor.setOnes(); }, grad);
  walk_back(
      segment.steps,
      [&](Index t) {
        layer.backward(step_columns(weights, t, segment.lanes), trace, t, step_columns(dx, t, segment.lanes));
      },
      [&](Index first, Index count) { layer.accumulate(trace, first, count, grad); });
  visit([](std::string_view, auto& tensor) { tensor.array() -= 1; }, grad);

  GradientReport report;
  compare(report, "input", loss, x, dx);
  compare_parameters(report, loss, layer, grad);
  return report;
}

/// Runs a block over a segment with random inputs, keys and values, and checks the gradient of the input, of the slots that
/// it has read, of every parameter, and of the position term. Every lane sees windows of its own: the first all that there
/// is, the second nothing at the first step. width: d of the block.
template <class B>
GradientReport check_block(B block, Position<double> position, Index width, Random& random,
                           Segment segment = {4, 3, true, 1}) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const Index T = segment.steps, lanes = segment.lanes, before = 2, slots = before + T;
  KeyValueCache<double> cache(position.head_size, position.heads, lanes, slots);
  fill_normal(cache.keys, 1, random);
  fill_normal(cache.values, 1, random);
  std::vector<Window> windows;
  for (Index t = 0; t < T; ++t) {
    for (Index b = 0; b < lanes; ++b) {
      const Index end = before + t, first = std::min(b == 0 ? 0 : before + b - 1, end);
      windows.push_back(Window{first, end - first}.newest(position.window));
    }
  }
  Matrix<double> x = random_matrix(width, segment.columns(), random);
  const Matrix<double> weights = random_matrix(width, segment.columns(), random);
  typename B::Trace trace;
  const auto view = [&](Index t) {
    const auto first = static_cast<std::size_t>(t * lanes), count = static_cast<std::size_t>(lanes);
    return typename B::View{nullptr, position, &cache, Windows(windows).subspan(first, count)};
  };
  const auto loss = [&] {
    Matrix<double> y = Matrix<double>::Constant(width, segment.columns(), nan);
    block.prepare(view(0), std::min(position.window, slots), trace, segment);
    for (Index t = 0; t < T; ++t) block.forward(step_columns(x, t, lanes), view(t), trace, t, step_columns(y, t, lanes));
    return y.cwiseProduct(weights).sum();
  };
  loss();
  Matrix<double> dx = Matrix<double>::Constant(width, segment.columns(), nan);
  KeyValueCache<double> dcache(position.head_size, position.heads, lanes, slots);
  B grad = zeros_like(block);
  Position<double> dposition = zeros_like(position);
  const auto back = [&](Index t) {
    block.backward(step_columns(weights, t, lanes), view(t), trace, t, step_columns(dx, t, lanes));
    Attention<double>::add_to_cache(
        1, [&](Index) -> auto& { return trace.attention; }, view(t).windows, t, dcache);
  };
  walk_back(T, back, [&](Index first, Index count) {
    block.accumulate(trace, first, count, grad);
    position.accumulate(trace.attention.position, first, count, dposition);
  });

  GradientReport report;
  compare(report, "input", loss, x, dx);
  compare(report, "keys", loss, cache.keys, dcache.keys);
  compare(report, "values", loss, cache.values, dcache.values);
  compare_parameters(report, loss, block, grad);
  compare_parameters(report, loss, position, dposition);
  return report;
}

/// Runs a core over a segment of random vectors, after one whose memory is carried on, and checks the gradient of every
/// input of the segment and of every parameter.
template <class Core>
GradientReport check_core(Core core, Random& random, Segment segment = {5, 2, true, 1}) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  constexpr Index carried_steps = 2;
  const Index width = core.config().width, lanes = segment.lanes;
  const Matrix<double> carried = random_matrix(width, carried_steps * lanes, random);
  Matrix<double> x = random_matrix(width, segment.columns(), random);
  const Matrix<double> weights = random_matrix(width, segment.columns(), random);
  typename Core::Trace trace;
  const auto read = [&](typename Core::Memory& memory, const Matrix<double>& vectors, const Segment& s) {
    Matrix<double> y = Matrix<double>::Constant(width, vectors.cols(), nan);
    core.prepare(trace, s, core.most_slots(memory, s.steps));
    for (Index t = 0; t < s.steps; ++t)
      core.forward(step_columns(vectors, t, lanes), memory, trace, t, step_columns(y, t, lanes));
    return y;
  };
  auto before = core.make_memory(lanes);
  read(before, carried, {carried_steps, lanes, false, 0});
  auto memory = before;
  const auto loss = [&] {
    memory = before;
    return read(memory, x, segment).cwiseProduct(weights).sum();
  };
  loss();
  Matrix<double> dx = Matrix<double>::Constant(width, segment.columns(), nan);
  Core grad = core;
  visit([](std::string_view, auto& tensor) { tensor.setOnes(); }, grad);
  walk_back(
      segment.steps,
      [&](Index t) { core.backward(step_columns(weights, t, lanes), memory, trace, t, step_columns(dx, t, lanes)); },
      [&](Index first, Index count) { core.accumulate(trace, first, count, grad); });
  visit([](std::string_view, auto& tensor) { tensor.array() -= 1; }, grad);

  GradientReport report;
  compare(report, "input", loss, x, dx);
  compare_parameters(report, loss, core, grad);
  return report;
}

}  // namespace fbt
