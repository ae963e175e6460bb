// CrossAttention: a decoder's attention to its source, with norm and residual:
//   y = x + dropout(attention(norm(x), keys and values of the source))
// without a position term. A lane without a source passes: y = x. Follows the contract of layer.hpp, with the source as a
// further argument.
#pragma once

#include "fbt/layers/attention.hpp"
#include "fbt/layers/layer_norm.hpp"
#include "fbt/layers/source.hpp"

#include <algorithm>

namespace fbt {

template <class Scalar, class Norm = LayerNorm<Scalar>>
struct CrossAttention {
  Norm norm;
  Attention<Scalar> attention;
  Dropout<Scalar> dropout;    ///< on the residual branch
  Position<Scalar> position;  ///< none

  struct Trace {
    typename Norm::Trace norm;
    typename Attention<Scalar>::Trace attention;
    typename Dropout<Scalar>::Trace dropout;
    Segment segment;
    Matrix<Scalar> branch, dnormed;  // (d, B)
  };

  CrossAttention() = default;
  CrossAttention(Index width, Index heads, Index head_size, bool output_bias, double dropout_rate, double epsilon,
                 Random& random)
      : norm(width, epsilon),
        attention(width, heads, head_size, output_bias, dropout_rate, random),
        dropout{width, dropout_rate},
        position(PositionTerm::none, head_size, heads, 1, random) {}

  void prepare(Trace& trace, const Segment& segment) const {
    trace.segment = segment;
    norm.prepare(trace.norm, segment);
    // as many rows as before, until prepare_source() tells
    attention.prepare(position, std::max<Index>(trace.attention.position.rows, 1), trace.attention, segment.child(0));
    dropout.prepare(trace.dropout, segment.child(1));
    trace.branch.resize(dropout.rows, segment.lanes);
    trace.dnormed.resize(dropout.rows, segment.lanes);
  }
  /// Before step 0: room for the weights of sources of up to so many positions.
  void prepare_source(Index longest, Trace& trace) const {
    if (const Index rows = std::max<Index>(longest, 1); rows != trace.attention.position.rows)
      attention.prepare_rows(position, rows, trace.attention, trace.segment.child(0));
  }

  /// x, y (d, B).
  void forward(const In<Scalar>& x, const SourceView<Scalar>& source, Trace& trace, Index t, Out<Scalar> y) const {
    if (!any_slot(source.windows)) {
      attention.skip(trace.attention, t);
      y = x;
      return;
    }
    auto normed = trace.attention.query.input(t);
    norm.forward(x, trace.norm, t, normed);
    attention.forward(normed, *source.cache, source.windows, position, trace.attention, t, trace.branch);
    dropout.forward(trace.branch, trace.dropout, t, trace.branch);
    y = x + trace.branch;
    for_each_empty(source.windows, [&](Index b) { y.col(b) = x.col(b); });
  }

  /// dy, dx (d, B). The gradient of the source is left for Attention::add_to_cache().
  void backward(const In<Scalar>& dy, const SourceView<Scalar>& source, Trace& trace, Index t, Out<Scalar> dx) const {
    if (!any_slot(source.windows)) {
      dx = dy;
      return;
    }
    // y = x + dropout(attention(norm(x)))  =>  dx = dy + the way back through all three
    auto dbranch = trace.attention.output.delta(t);
    dropout.backward(dy, trace.dropout, t, dbranch);
    for_each_empty(source.windows, [&](Index b) { dbranch.col(b).setZero(); });
    attention.backward(dbranch, *source.cache, source.windows, position, trace.attention, t, trace.dnormed);
    norm.backward(trace.dnormed, trace.norm, t, dx);
    dx += dy;
  }

  void accumulate(Trace& trace, CrossAttention& grad) const {
    norm.accumulate(trace.norm, grad.norm);
    attention.accumulate(trace.attention, grad.attention);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    visit_child("norm", f, layers.norm...);
    visit_child("attention", f, layers.attention...);
  }
};

}  // namespace fbt
