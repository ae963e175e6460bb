// CrossAttention: a decoder's attention to its source, with norm and residual:
//   y = x + dropout(attention(norm(x), keys and values of the source))
// without a position term. A lane without a source passes: y = x. Follows the contract of layer.hpp, with the source as a
// further argument.
//
// A source may be many times as long as a window, and weights for every step, head and position would take several times the
// memory of a block's other activations. So only x is kept of a segment; all else is kept for a group of steps, and computed
// again on the way back (gradient checkpointing; Chen et al., 2016).
#pragma once

#include "fbt/layers/attention.hpp"
#include "fbt/layers/layer_norm.hpp"
#include "fbt/layers/source.hpp"

#include <algorithm>
#include <cstdint>

namespace fbt {

template <class Scalar, class Norm = LayerNorm<Scalar>>
struct CrossAttention {
  Norm norm;
  Attention<Scalar> attention;
  Dropout<Scalar> dropout;    ///< on the residual branch
  Position<Scalar> position;  ///< none

  struct Trace {
    Segment segment;
    Matrix<Scalar> x;  // (d, T*B), if there are several groups to walk back through
    Index group = 0;   // whose steps the following hold, step t at place(t)
    typename Norm::Trace norm;
    typename Attention<Scalar>::Trace attention;
    typename Dropout<Scalar>::Trace dropout;
    Matrix<Scalar> branch, dnormed;  // (d, B)

    bool has_groups() const { return segment.steps > group_steps; }
  };

  /// A group are the steps that accumulate() takes together.
  static constexpr Index group_steps = delta_steps;
  /// Where the Trace holds step t, while it holds the step's group.
  static constexpr Index place(Index t) { return delta_index(t); }

  CrossAttention() = default;
  CrossAttention(Index width, Index heads, Index head_size, bool output_bias, double dropout_rate, double epsilon,
                 Random& random)
      : norm(width, epsilon),
        attention(width, heads, head_size, output_bias, dropout_rate, random),
        dropout{width, dropout_rate},
        position(PositionTerm::none, head_size, heads, 1, random) {}

  void prepare(Trace& trace, const Segment& segment) const {
    trace.segment = segment;
    trace.group = 0;
    norm.prepare(trace.norm, group_segment(trace));
    // as many rows as before, until prepare_source() tells
    attention.prepare(position, std::max<Index>(trace.attention.position.rows, 1), trace.attention,
                      group_segment(trace).child(0));
    dropout.prepare(trace.dropout, group_segment(trace).child(1));
    trace.branch.resize(dropout.rows, segment.lanes);
    trace.dnormed.resize(dropout.rows, segment.lanes);
    if (trace.has_groups() && segment.train) trace.x.resize(dropout.rows, segment.columns());
  }
  /// Before step 0: room for the weights of sources of up to so many positions.
  void prepare_source(Index longest, Trace& trace) const {
    if (const Index rows = std::max<Index>(longest, 1); rows != trace.attention.position.rows)
      attention.prepare_rows(position, rows, trace.attention, group_segment(trace).child(0));
  }

  /// x, y (d, B).
  void forward(const In<Scalar>& x, const SourceView<Scalar>& source, Trace& trace, Index t, Out<Scalar> y) const {
    const Index k = place(t);
    if (!any_slot(source.windows)) {
      norm.forward(x, trace.norm, k, trace.branch);  // its gradient is to be that of this step
      attention.skip(trace.attention, k);
      y = x;
      return;
    }
    if (trace.has_groups()) {
      if (trace.segment.train) step_columns(trace.x, t, trace.segment.lanes) = x;
      if (trace.group != t / group_steps) begin_group(t / group_steps, trace);
    }
    auto normed = trace.attention.query.input(k);
    norm.forward(x, trace.norm, k, normed);
    attention.forward(normed, *source.cache, source.windows, position, trace.attention, k, trace.branch);
    dropout.forward(trace.branch, trace.dropout, k, trace.branch);
    y = x + trace.branch;
    for_each_empty(source.windows, [&](Index b) { y.col(b) = x.col(b); });
  }

  /// dy, dx (d, B). The gradient of the source is left for Attention::add_to_cache() of step place(t).
  void backward(const In<Scalar>& dy, const SourceView<Scalar>& source, Trace& trace, Index t, Out<Scalar> dx) const {
    const Index k = place(t);
    if (!any_slot(source.windows)) {
      attention.skip(trace.attention, k);
      trace.dnormed.setZero();
      norm.backward(trace.dnormed, trace.norm, k, dx);
      dx = dy;
      return;
    }
    if (trace.has_groups() && trace.group != t / group_steps) run_again(t / group_steps, source, trace);
    // y = x + dropout(attention(norm(x)))  =>  dx = dy + the way back through all three
    auto dbranch = trace.attention.output.delta(k);
    dropout.backward(dy, trace.dropout, k, dbranch);
    for_each_empty(source.windows, [&](Index b) { dbranch.col(b).setZero(); });
    attention.backward(dbranch, *source.cache, source.windows, position, trace.attention, k, trace.dnormed);
    norm.backward(trace.dnormed, trace.norm, k, dx);
    dx += dy;
  }

  void accumulate(Trace& trace, Index first, Index count, CrossAttention& grad) const {
    norm.accumulate(trace.norm, place(first), count, grad.norm);
    attention.accumulate(trace.attention, place(first), count, grad.attention);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    visit_child("norm", f, layers.norm...);
    visit_child("attention", f, layers.attention...);
  }

 private:
  static Segment group_segment(const Trace& trace) { return trace.segment.group(trace.segment.first_group + trace.group); }
  void begin_group(Index group, Trace& trace) const {
    trace.group = group;
    const Segment segment = group_segment(trace);
    norm.prepare(trace.norm, segment);
    attention.prepare_rows(position, trace.attention.position.rows, trace.attention, segment.child(0));
    dropout.prepare(trace.dropout, segment.child(1));
  }
  void run_again(Index group, const SourceView<Scalar>& source, Trace& trace) const {
    begin_group(group, trace);
    const Index first = group * group_steps, end = std::min(first + group_steps, trace.segment.steps);
    for (Index t = first; t < end; ++t) {
      auto normed = trace.attention.query.input(place(t));
      norm.forward(step_columns(trace.x, t, trace.segment.lanes), trace.norm, place(t), normed);
      attention.attend(normed, *source.cache, source.windows, position, trace.attention, place(t));
    }
  }
};

}  // namespace fbt
