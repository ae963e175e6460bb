// The gradient check for layers that read a memory: Attention and Block.
#pragma once

#include "fbt/layers/memory.hpp"
#include "fbt/layers/position.hpp"
#include "fbt/testing/gradient_check.hpp"
#include "support/helpers.hpp"

namespace fbt {

/// Slots full of random keys and values.
inline Slots<double> random_slots(Index head_size, Index heads, Index lanes, Index capacity, Random& random) {
  Slots<double> slots(head_size, heads, lanes, capacity);
  fill_normal(slots.keys, 1, random);
  fill_normal(slots.values, 1, random);
  return slots;
}

/// Runs a layer over a segment whose step t sees the slots before first_slot + t, at most the position term's window of them,
/// and checks the gradient of the input, of every slot's keys and values, of every parameter, and of the position term.
/// The verbs of the two differ in their arguments: Run has them, and the position term's part of the layer's Trace.
template <class Run, class L>
GradientReport check_memory_layer(L layer, Position<double> position, Slots<double> memory, Index width, Index first_slot,
                                  const Segment& segment, Random& random) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const Index lanes = segment.lanes;
  Matrix<double> x = random_matrix(width, segment.columns(), random);
  const Matrix<double> weights = random_matrix(width, segment.columns(), random);
  typename L::Trace trace;
  const auto window = [&](Index t) {
    const Index count = std::min(position.window, first_slot + t);
    return Window{first_slot + t - count, count};
  };

  const auto loss = [&] {
    Matrix<double> y = Matrix<double>::Constant(width, segment.columns(), nan);
    Run::prepare(layer, position, trace, segment);
    for (Index t = 0; t < segment.steps; ++t)
      Run::forward(layer, step_columns(x, t, lanes), memory, window(t), position, trace, t, step_columns(y, t, lanes));
    return y.cwiseProduct(weights).sum();
  };
  loss();
  Matrix<double> dx = Matrix<double>::Constant(width, segment.columns(), nan);
  Slots<double> dmemory = memory;
  dmemory.keys.setOnes();
  dmemory.values.setOnes();
  for (Index t = segment.steps - 1; t >= 0; --t)
    Run::backward(layer, step_columns(weights, t, lanes), memory, dmemory, window(t), position, trace, t,
                  step_columns(dx, t, lanes));
  dmemory.keys.array() -= 1;
  dmemory.values.array() -= 1;
  L grad = ones_like(layer);
  Position<double> dposition = ones_like(position);
  layer.accumulate(trace, grad);
  position.accumulate(Run::position(trace), dposition);
  remove_ones(grad);
  remove_ones(dposition);

  GradientReport report;
  compare(report, "input", loss, x, dx);
  compare(report, "keys", loss, memory.keys, dmemory.keys);
  compare(report, "values", loss, memory.values, dmemory.values);
  compare_parameters(report, loss, layer, grad);
  compare_parameters(report, loss, position, dposition);
  return report;
}

}  // namespace fbt
