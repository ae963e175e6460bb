// The layer contract, which every header in this folder follows, and the concepts that check it.
//
// The contract
//   - A layer is its hyper-parameters and parameters, nothing else. Gradient and optimiser moments are further
//     objects of the same class (core/visit.hpp).
//   - All state of a run is in a Trace, which belongs to the caller: one per thread. A const layer serves many threads.
//   - prepare(trace, segment)
//       sizes the Trace for a segment of T steps and B lanes and packs the weights: once per segment, since parameters may
//       have changed. It does not allocate again for the same shape.
//   - forward(x, trace, t, y)
//       step t, from the segment's first to its last. Overwrites y (rows, B).
//   - backward(dy, trace, t, dx)
//       step t, from the last to the first, of a segment prepared with segment.train. Overwrites dx, keeps dy. Once for each
//       forward(): a second walk back needs prepare() and forward() again.
//   - accumulate(trace, first, count, grad)
//       ADDS the parameter gradients of count steps, from the given one on, that backward() has gone through since the last
//       accumulate(): one deep product per matrix instead of thin ones.
//   - visit(f, layers...)
//       names the parameters.
// A Trace keeps the inputs of all T * B columns, but output deltas of delta_steps steps only: whoever walks back calls
// accumulate() before others take their places, as walk_back() does (core/segment.hpp). A caller may write a layer's input
// straight into trace.input(t), and an output delta into trace.delta(t), and pass that block: then nothing is copied. A
// layer need not have these two. What is read and what is written do not overlap, unless a layer allows it (Dropout does).
// A layer that reads something else besides x (a memory, tokens) takes it as a further argument of the same verbs.
#pragma once

#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"

#include <concepts>
#include <string_view>

namespace fbt {

// A compiler that refuses a class for one of these concepts names the line that the class does not have.

/// What every layer has: a Trace, prepare, accumulate and visit. Attention and a whole block are no layers by this: what
/// they are prepared for includes how many slots there will be to look at.
template <class L>
concept Layer = std::copyable<L> && std::default_initializable<typename L::Trace> &&
    requires(const L layer, L grad, typename L::Trace trace, Segment segment) {
  layer.prepare(trace, segment);
  layer.accumulate(trace, Index{}, Index{}, grad);
  L::visit([](std::string_view, auto&...) {}, grad, layer);
};

/// A layer that maps columns to columns and nothing else; testing/gradient_check.hpp checks any of them.
template <class L, class Scalar>
concept ColumnLayer = Layer<L> && requires(const L layer, typename L::Trace trace, In<Scalar> x, Out<Scalar> y) {
  layer.forward(x, trace, Index{}, y);
  layer.backward(x, trace, Index{}, y);
};

/// A ColumnLayer of one size, made from it and the epsilon beneath its root: LayerNorm, or another in its place. Where a
/// model has no such norm one of size 0 stands, which is never run.
template <class N, class Scalar>
concept NormLayer = ColumnLayer<N, Scalar> && std::constructible_from<N, Index, double>;

/// Where a composite writes the input of step t of a layer: into its Trace, if that has the place, so that nothing is
/// copied; else into `other` (rows, B).
template <class Trace, class Scalar>
Out<Scalar> input_place(Trace& trace, Index t, Matrix<Scalar>& other) {
  if constexpr (requires { trace.input(t); }) {
    return trace.input(t);
  } else {
    return other;
  }
}
/// The same for the output delta of step t.
template <class Trace, class Scalar>
Out<Scalar> delta_place(Trace& trace, Index t, Matrix<Scalar>& other) {
  if constexpr (requires { trace.delta(t); }) {
    return trace.delta(t);
  } else {
    return other;
  }
}

}  // namespace fbt
