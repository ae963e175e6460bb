// The gradient check for layers that read a memory: Attention and Block.
#pragma once

#include "fbt/layers/key_value_cache.hpp"
#include "fbt/layers/position.hpp"
#include "fbt/testing/gradient_check.hpp"
#include "support/helpers.hpp"

#include <algorithm>
#include <limits>
#include <vector>

namespace fbt {

/// A cache full of random keys and values.
inline KeyValueCache<double> random_cache(Index head_size, Index heads, Index lanes, Index capacity, Random& random) {
  KeyValueCache<double> cache(head_size, heads, lanes, capacity);
  fill_normal(cache.keys, 1, random);
  fill_normal(cache.values, 1, random);
  return cache;
}

/// Which slots the lanes of a step see: those before `end`, at most `most` of them, none before the lane's own first one.
inline std::vector<Window> windows_before(Index end, Index most, const std::vector<Index>& begin) {
  std::vector<Window> windows;
  for (const Index first : begin) {
    const Index seen = std::clamp(end - first, Index{0}, most);
    windows.push_back({end - seen, seen});
  }
  return windows;
}

/// Runs a layer over a segment whose step t sees the slots before first_slot + t, at most the position term's window of them
/// and in lane b none before begin[b], and checks the gradient of the input, of every slot's keys and values, of every
/// parameter, and of the position term. The verbs of the layers differ in their arguments: Run has them, and the position
/// term's part of the layer's Trace.
template <class Run, class L>
GradientReport check_memory_layer(L layer, Position<double> position, KeyValueCache<double> cache, Index width,
                                  Index first_slot, const std::vector<Index>& begin, const Segment& segment,
                                  Random& random) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const Index lanes = segment.lanes;
  Matrix<double> x = random_matrix(width, segment.columns(), random);
  const Matrix<double> weights = random_matrix(width, segment.columns(), random);
  typename L::Trace trace;
  std::vector<std::vector<Window>> windows;
  for (Index t = 0; t < segment.steps; ++t) windows.push_back(windows_before(first_slot + t, position.window, begin));
  const auto seen = [&](Index t) -> Windows { return windows[static_cast<std::size_t>(t)]; };

  const auto loss = [&] {
    Matrix<double> y = Matrix<double>::Constant(width, segment.columns(), nan);
    Run::prepare(layer, position, trace, segment);
    for (Index t = 0; t < segment.steps; ++t)
      Run::forward(layer, step_columns(x, t, lanes), cache, seen(t), position, trace, t, step_columns(y, t, lanes));
    return y.cwiseProduct(weights).sum();
  };
  loss();
  Matrix<double> dx = Matrix<double>::Constant(width, segment.columns(), nan);
  KeyValueCache<double> dcache = cache;
  dcache.keys.setOnes();
  dcache.values.setOnes();
  L grad = ones_like(layer);
  Position<double> dposition = ones_like(position);
  const auto back = [&](Index t) {
    Run::backward(layer, step_columns(weights, t, lanes), cache, dcache, seen(t), position, trace, t,
                  step_columns(dx, t, lanes));
  };
  walk_back(segment.steps, back, [&](Index first, Index count) {
    layer.accumulate(trace, first, count, grad);
    position.accumulate(Run::position(trace), first, count, dposition);
  });
  dcache.keys.array() -= 1;
  dcache.values.array() -= 1;
  remove_ones(grad);
  remove_ones(dposition);

  GradientReport report;
  compare(report, "input", loss, x, dx);
  compare(report, "keys", loss, cache.keys, dcache.keys);
  compare(report, "values", loss, cache.values, dcache.values);
  compare_parameters(report, loss, layer, grad);
  compare_parameters(report, loss, position, dposition);
  return report;
}
/// The same where all lanes begin at slot 0.
template <class Run, class L>
GradientReport check_memory_layer(const L& layer, const Position<double>& position, const KeyValueCache<double>& cache,
                                  Index width, Index first_slot, const Segment& segment, Random& random) {
  const std::vector<Index> begin(static_cast<std::size_t>(segment.lanes), 0);
  return check_memory_layer<Run>(layer, position, cache, width, first_slot, begin, segment, random);
}

}  // namespace fbt
