// SelfAttention: every position of a sequence attends to all positions of it, itself included, as in an encoder (Vaswani et
// al., 2017), with relative positions to both sides (Shaw et al., 2018). For each head, with q, k, v = W_q x, W_k x, W_v x,
//   s_ij = q_i . (k_j + r(j - i)) / sqrt(e),   p_i = softmax(s_i),   o_i = sum_j dropout(p_i)_j v_j,   y_i = W_o o_i + b_o
// where r(n) is a row of a table, the same beyond R positions. Follows the contract of layer.hpp, with a whole segment as
// one step, and the lengths of the sequences as a further argument.
#pragma once

#include "fbt/core/parallel.hpp"
#include "fbt/kernels/attention_products.hpp"
#include "fbt/layers/dropout.hpp"
#include "fbt/layers/linear.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

namespace fbt {

/// How many positions each of B sequences has (B); what follows in a lane is padding.
using Lengths = std::span<const Index>;

template <class Scalar>
struct SelfAttention {
  Index heads = 0, head_size = 0;    ///< H, e
  Linear<Scalar> query, key, value;  ///< W_q, W_k, W_v (H*e, d)
  Linear<Scalar> output;             ///< W_o (d, H*e), b_o (d)
  Matrix<Scalar> relative;           ///< r (2R+1, e): row R + n is r(n), for all heads
  double dropout_rate = 0;           ///< of the attention weights

  struct Trace {
    typename Linear<Scalar>::Trace query, key, value, output;
    typename Dropout<Scalar>::Trace dropout;
    Matrix<Scalar> weights;    // p (T, T*H*B): query i of head j in lane b is column (b*H + j)*T + i
    Matrix<Scalar> drelative;  // (2R+1, e*H*B): of every head of every lane, which are added in their order
    Matrix<Scalar> dheads;     // (H*e, T*B)
    Matrix<Scalar> dpart;      // (d, T*B)
    Index lanes = 0, steps = 0;
    Team* team = nullptr;
  };

  SelfAttention() = default;
  /// reach: R.
  SelfAttention(Index width, Index heads_, Index head_size_, Index reach, double dropout_rate_, Random& random)
      : heads(heads_),
        head_size(head_size_),
        query(width, heads_ * head_size_, random, false),
        key(width, heads_ * head_size_, random, false),
        value(width, heads_ * head_size_, random, false),
        output(heads_ * head_size_, width, random),
        relative(2 * reach + 1, head_size_),
        dropout_rate(dropout_rate_) {
    fill_uniform(relative, 1 / std::sqrt(static_cast<double>(head_size)), random);
  }

  /// The columns of the T steps of B lanes: position i of lane b is column i*B + b.
  void prepare(Trace& trace, const Segment& segment) const {
    Segment all = segment;
    all.steps = 1;
    all.lanes = segment.columns();
    for (auto [layer, part] : {std::pair{&query, &trace.query}, {&key, &trace.key}, {&value, &trace.value}})
      layer->prepare(*part, all);
    output.prepare(trace.output, all);
    trace.lanes = segment.lanes;
    trace.steps = segment.steps;
    trace.team = segment.team;
    const Index columns = segment.columns() * heads;
    Segment per_head = segment;
    per_head.lanes *= heads;
    Dropout<Scalar>{segment.steps, dropout_rate}.prepare(trace.dropout, per_head);
    trace.weights.resize(segment.steps, columns);
    trace.drelative.resize(relative.rows(), segment.train ? head_size * per_head.lanes : 0);
    trace.dheads.resize(output.inputs(), segment.train ? all.lanes : 0);
    trace.dpart.resize(query.inputs(), segment.train ? all.lanes : 0);
  }

  /// x, y (d, T*B); lengths (B), each from 0 to T. What y holds of the padding is W_o 0 + b_o.
  void forward(const In<Scalar>& x, Lengths lengths, Trace& trace, Out<Scalar> y) const {
    query.forward(x, trace.query, 0, trace.query.delta(0));
    key.forward(x, trace.key, 0, trace.key.delta(0));
    value.forward(x, trace.value, 0, trace.value.delta(0));
    trace.output.x.setZero();
    for_each_head(lengths, trace, [&](Index b, Index j, Index length) {
      const auto q = head(trace.query.dy, trace, b, j, length), k = head(trace.key.dy, trace, b, j, length);
      auto p = scores(trace.weights, trace, b, j, length);
      const Matrix<Scalar> terms = relative * q;  // (2R+1, length)
      p.noalias() = k.transpose() * q;
      for (Index i = 0; i < length; ++i) {
        for (Index n = 0; n < length; ++n) p(n, i) += terms(row_of(n - i), i);
        scaled_softmax(p.col(i).data(), length, scale());
      }
      head(trace.output.x, trace, b, j, length).noalias() =
          head(trace.value.dy, trace, b, j, length) * kept(trace, b, j, length);
    });
    output.forward(trace.output.input(0), trace.output, 0, y);
  }

  /// dy, dx (d, T*B). Overwrites dx. Deltas of the padding have to be zero.
  void backward(const In<Scalar>& dy, Lengths lengths, Trace& trace, Out<Scalar> dx) const {
    output.backward(dy, trace.output, 0, trace.dheads);
    trace.drelative.setZero();
    for_each_head(lengths, trace, [&](Index b, Index j, Index length) {
      auto q = head(trace.query.dy, trace, b, j, length), k = head(trace.key.dy, trace, b, j, length);
      auto v = head(trace.value.dy, trace, b, j, length);
      const auto dout = head(trace.dheads, trace, b, j, length);
      auto ds = scores(trace.weights, trace, b, j, length);  // p, to be replaced by ds
      // o_i = sum_n kept_ni v_n,  kept = p * mask  =>  dv_n = sum_i kept_ni do_i,  dp = (v^T do) * mask
      const Matrix<Scalar> dv = dout * kept(trace, b, j, length).transpose();
      Matrix<Scalar> dp = v.transpose() * dout, dterms = Matrix<Scalar>::Zero(relative.rows(), length);
      if (trace.dropout.active()) dp.array() *= scores(trace.dropout.mask, trace, b, j, length).array();
      for (Index i = 0; i < length; ++i) {
        scaled_softmax_backward(ds.col(i).data(), dp.col(i).data(), length, scale());
        for (Index n = 0; n < length; ++n) dterms(row_of(n - i), i) += ds(n, i);
      }
      // s_ni = q_i . (k_n + r(n - i))  =>  dq_i = sum_n ds_ni (k_n + r(n - i)),  dk_n = sum_i ds_ni q_i,  dr likewise
      const Matrix<Scalar> dq = k * ds + relative.transpose() * dterms, dk = q * ds.transpose();
      trace.drelative.middleCols((b * heads + j) * head_size, head_size).noalias() += dterms * q.transpose();
      q = dq;
      k = dk;
      v = dv;
    });
    for (Index b = 0; b < trace.lanes; ++b) {
      for (Index i = lengths[static_cast<std::size_t>(b)]; i < trace.steps; ++i)
        for (auto* layer : {&trace.query, &trace.key, &trace.value}) layer->dy.col(i * trace.lanes + b).setZero();
    }
    query.backward(trace.query.delta(0), trace.query, 0, dx);
    for (auto [layer, part] : {std::pair{&key, &trace.key}, {&value, &trace.value}}) {
      layer->backward(part->delta(0), *part, 0, trace.dpart);
      dx += trace.dpart;
    }
  }

  void accumulate(Trace& trace, SelfAttention& grad) const {
    query.accumulate(trace.query, 0, 1, grad.query);
    key.accumulate(trace.key, 0, 1, grad.key);
    value.accumulate(trace.value, 0, 1, grad.value);
    output.accumulate(trace.output, 0, 1, grad.output);
    for (Index i = 0; i < heads * trace.lanes; ++i) grad.relative += trace.drelative.middleCols(i * head_size, head_size);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    visit_child("query", f, layers.query...);
    visit_child("key", f, layers.key...);
    visit_child("value", f, layers.value...);
    visit_child("output", f, layers.output...);
    f("relative", layers.relative...);
  }

 private:
  using Strided = Eigen::Map<Matrix<Scalar>, 0, Eigen::OuterStride<>>;

  Scalar scale() const { return Scalar(1) / std::sqrt(static_cast<Scalar>(head_size)); }
  /// The row of r(n).
  Index row_of(Index n) const {
    const Index reach = relative.rows() / 2;
    return reach + std::clamp(n, -reach, reach);
  }

  /// Calls f(b, j, length) for every lane that is not empty and every head; threads take some.
  template <class F>
  void for_each_head(Lengths lengths, const Trace& trace, F&& f) const {
    const Index work = trace.steps * trace.steps * head_size * heads * trace.lanes;
    split_work(trace.team, heads * trace.lanes, 1, work, [&](Index first, Index count) {
      for (Index i = first; i < first + count; ++i)
        if (const Index length = lengths[static_cast<std::size_t>(i / heads)]; length > 0) f(i / heads, i % heads, length);
    });
  }
  /// What head j holds of the positions of lane b (e, length), in a matrix (H*e, T*B).
  Strided head(Matrix<Scalar>& m, const Trace& trace, Index b, Index j, Index length) const {
    return {m.data() + b * m.rows() + j * head_size, head_size, length, {m.rows() * trace.lanes}};
  }
  /// The scores of head j in lane b (length, length), a query a column, in a matrix (T, T*H*B).
  Strided scores(Matrix<Scalar>& m, const Trace& trace, Index b, Index j, Index length) const {
    return {m.data() + (b * heads + j) * trace.steps * m.rows(), length, length, {m.rows()}};
  }
  Matrix<Scalar> kept(Trace& trace, Index b, Index j, Index length) const {
    Matrix<Scalar> p = scores(trace.weights, trace, b, j, length);
    if (trace.dropout.active()) p.array() *= scores(trace.dropout.mask, trace, b, j, length).array();
    return p;
  }
};

}  // namespace fbt
