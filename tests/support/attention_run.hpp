// How checks of layers that read a memory (memory_layer_check.hpp) run an Attention.
#pragma once

#include "fbt/layers/attention.hpp"

namespace fbt {

struct AttentionRun {
  using Trace = Attention<double>::Trace;
  static void prepare(const Attention<double>& layer, const Position<double>& p, Trace& trace, const Segment& segment) {
    layer.prepare(p, p.window, trace, segment);
  }
  static void forward(const Attention<double>& layer, In<double> x, const KeyValueCache<double>& cache, Windows windows,
                      const Position<double>& p, Trace& trace, Index t, Out<double> y) {
    layer.forward(x, cache, windows, p, trace, t, y);
  }
  static void backward(const Attention<double>& layer, In<double> dy, const KeyValueCache<double>& cache,
                       KeyValueCache<double>& dcache, Windows windows, const Position<double>& p, Trace& trace, Index t,
                       Out<double> dx) {
    layer.backward(dy, cache, windows, p, trace, t, dx);
    layer.add_to_cache(
        1, [&](Index) -> Trace& { return trace; }, windows, t, dcache);
  }
  static auto& position(Trace& trace) { return trace.position; }
};

}  // namespace fbt
