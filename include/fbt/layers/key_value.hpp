// KeyValue: the projection of a memory vector m to the key and value of one slot, for all layers that share it:
//   key = W_k n(m),   value = W_v n(m) + b_v,   n an own norm or nothing (section 3 of the paper)
// Follows the contract of layer.hpp.
#pragma once

#include "fbt/core/types.hpp"
#include "fbt/layers/layer_norm.hpp"
#include "fbt/layers/linear.hpp"

#include <optional>

namespace fbt {

/// Projects a memory vector to the key and value of one slot, for all layers that share it.
template <class Scalar, class Norm = LayerNorm<Scalar>>
struct KeyValue {
  std::optional<Norm> norm;  ///< n, or nothing
  Linear<Scalar> key;        ///< W_k (H*e, d)
  Linear<Scalar> value;      ///< W_v (H*e, d), b_v (H*e) or nothing

  struct Trace {
    typename Norm::Trace norm;
    typename Linear<Scalar>::Trace key, value;
    Matrix<Scalar> dn, dx;  // (d, B)

    // (H*e, B): the key and the value, until those of a later step or their gradients take their places
    auto k(Index t) { return key.delta(t); }
    auto v(Index t) { return value.delta(t); }
  };

  KeyValue() = default;
  KeyValue(Index width, Index heads, Index head_size, bool with_norm, bool value_bias, double epsilon, Random& random)
      : key(width, heads * head_size, random, false), value(width, heads * head_size, random, value_bias) {
    if (with_norm) norm.emplace(width, epsilon);
  }

  void prepare(Trace& trace, const Segment& segment) const {
    if (norm) norm->prepare(trace.norm, segment);
    key.prepare(trace.key, segment);
    value.prepare(trace.value, segment);
    trace.dn.resize(key.inputs(), segment.lanes);
    trace.dx.resize(key.inputs(), segment.lanes);
  }

  /// Leaves key and value of the memory vectors m (d, B) in trace.k(t) and trace.v(t).
  void forward(const In<Scalar>& m, Trace& trace, Index t) const {
    auto n = trace.key.input(t);
    if (norm) {
      norm->forward(m, trace.norm, t, n);
    } else {
      n = m;
    }
    key.forward(n, trace.key, t, trace.k(t));
    value.forward(n, trace.value, t, trace.v(t));
  }

  /// From dk in trace.k(t) and dv in trace.v(t) to dm (d, B).
  void backward(Trace& trace, Index t, Out<Scalar> dm) const {
    // k = W_k n,  v = W_v n + b  =>  dn = W_k^T dk + W_v^T dv
    key.backward(trace.k(t), trace.key, t, trace.dn);
    value.backward(trace.v(t), trace.value, t, trace.dx);
    trace.dn += trace.dx;
    if (norm) {
      norm->backward(trace.dn, trace.norm, t, dm);
    } else {
      dm = trace.dn;
    }
  }

  void accumulate(Trace& trace, Index first, Index count, KeyValue& grad) const {
    if (norm) norm->accumulate(trace.norm, first, count, *grad.norm);
    key.accumulate(trace.key, first, count, grad.key);
    value.accumulate(trace.value, first, count, grad.value);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    if ((layers.norm.has_value() && ...)) visit_child("norm", f, *layers.norm...);
    visit_child("key", f, layers.key...);
    visit_child("value", f, layers.value...);
  }
};

}  // namespace fbt
