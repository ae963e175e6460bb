// How checks of layers that read a memory (memory_layer_check.hpp) run an Attention.
#pragma once

#include "fbt/layers/attention.hpp"

namespace fbt {

struct AttentionRun {
  using Trace = Attention<double>::Trace;
  static void prepare(const Attention<double>& layer, const Position<double>& p, Trace& trace, const Segment& segment) {
    layer.prepare(p, p.window, trace, segment);
  }
  static void forward(const Attention<double>& layer, In<double> x, const Slots<double>& memory, Window window,
                      const Position<double>& p, Trace& trace, Index t, Out<double> y) {
    layer.forward(x, memory, window, p, trace, t, y);
  }
  static void backward(const Attention<double>& layer, In<double> dy, const Slots<double>& memory, Slots<double>& dmemory,
                       Window window, const Position<double>& p, Trace& trace, Index t, Out<double> dx) {
    layer.backward(dy, memory, window, p, trace, t, dx);
    Trace* const reader = &trace;
    layer.add_to_slots({&reader, 1}, window, t, dmemory);
  }
  static auto& position(Trace& trace) { return trace.position; }
};

}  // namespace fbt
