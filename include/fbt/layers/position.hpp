// Position terms: what is added to the attention scores, before the 1/sqrt(e) scale, for the age of a slot.
//   relative key   score of slot i += q . weight.row(i), where i counts from the oldest of S slots (the newest, of age 1, is
//                  row S - 1); one table for all heads and layers (Shaw et al., 2018; the paper's code)
//   none           0
// For all heads and lanes at once this is one product, so a relative key is a Linear (S, e) without bias: its input is the
// queries (e, H*B), its output the scores (S, H*B). Follows the contract of linear.hpp.
#pragma once

#include "fbt/layers/linear.hpp"

namespace fbt {

enum class PositionTerm { none, relative_key };

template <class Scalar>
struct Position {
  PositionTerm term = PositionTerm::none;
  Index head_size = 0;    ///< e
  Index window = 0;       ///< S
  Linear<Scalar> linear;  ///< relative key: weight (S, e)

  using Trace = typename Linear<Scalar>::Trace;

  Position() = default;
  Position(PositionTerm term_, Index head_size_, Index window_, Random& random)
      : term(term_), head_size(head_size_), window(window_) {
    if (has_table()) linear = Linear<Scalar>(head_size, window, random, false);
  }

  bool has_table() const { return term == PositionTerm::relative_key; }

  /// shape.lanes is H*B: every head of every lane is a column.
  void prepare(Trace& trace, const Shape& shape) const {
    if (has_table()) return linear.prepare(trace, shape);
    trace.lanes = shape.lanes;
    trace.x.resize(head_size, shape.columns());
    trace.dy.resize(window, shape.columns());
  }

  /// queries (e, H*B), scores (S, H*B).
  void forward(const In<Scalar>& queries, Trace& trace, Index t, Out<Scalar> scores) const {
    if (has_table()) return linear.forward(queries, trace, t, scores);
    scores.setZero();
  }
  void backward(const In<Scalar>& dscores, Trace& trace, Index t, Out<Scalar> dqueries) const {
    if (has_table()) return linear.backward(dscores, trace, t, dqueries);
    dqueries.setZero();
  }
  void accumulate(Trace& trace, Position& grad) const {
    if (has_table()) linear.accumulate(trace, grad.linear);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    if ((layers.has_table() && ...)) Linear<Scalar>::visit(f, layers.linear...);
  }
};

}  // namespace fbt
