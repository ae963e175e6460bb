// LayerMix, the feedback aggregator: m = sum over l = 0..L of softmax(weight)_l h^l (section 3 of the paper), or with given
// weights in place of the learned softmax(weight).
// The input is the stack [h^0; ...; h^L] of all layer outputs of a step. Follows the contract of layer.hpp.
#pragma once

#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/kernels/columns.hpp"

namespace fbt {

template <class Scalar>
struct LayerMix {
  Vector<Scalar> weight;  ///< (L+1), starts equal; empty if the weights are given
  Vector<Scalar> given;   ///< (L+1), or empty if they are learned; no parameter
  Index width = 0;        ///< d

  struct Trace {
    Matrix<Scalar> x;             // the stacks ((L+1) d, T*B)
    Matrix<Scalar> dy;            // (d, delta_columns())
    Vector<Scalar> mix_weights;   // (L+1)
    Vector<Scalar> dmix_weights;  // (L+1)
    Index lanes = 0;

    auto input(Index t) { return step_columns(x, t, lanes); }
    auto delta(Index t) { return step_columns(dy, delta_index(t), lanes); }
  };

  LayerMix() = default;
  /// Learned weights of layers 0 .. L.
  LayerMix(Index layers, Index width_) : weight(Vector<Scalar>::Zero(layers + 1)), width(width_) {}
  /// Given weights (L+1).
  LayerMix(const Vector<Scalar>& mix_weights, Index width_) : given(mix_weights), width(width_) {}

  /// How much of each layer the memory holds (L+1).
  Vector<Scalar> mix_weights() const {
    Vector<Scalar> result;
    write_mix_weights(result);
    return result;
  }

  void prepare(Trace& trace, const Segment& segment) const {
    trace.lanes = segment.lanes;
    write_mix_weights(trace.mix_weights);
    trace.x.resize(trace.mix_weights.size() * width, segment.columns());
    trace.dy.resize(width, segment.delta_columns());
  }

  /// x ((L+1) d, B), y (d, B).
  void forward(const In<Scalar>& x, Trace& trace, Index t, Out<Scalar> y) const {
    if (auto own = trace.input(t); own.data() != x.data()) own = x;
    y = trace.mix_weights(0) * x.topRows(width);
    for (Index l = 1; l < trace.mix_weights.size(); ++l) y += trace.mix_weights(l) * x.middleRows(l * width, width);
  }

  void backward(const In<Scalar>& dy, Trace& trace, Index t, Out<Scalar> dx) const {
    if (auto own = trace.delta(t); own.data() != dy.data()) own = dy;
    // m = sum_l p_l h^l  =>  dh^l = p_l dm
    for (Index l = 0; l < trace.mix_weights.size(); ++l) dx.middleRows(l * width, width) = trace.mix_weights(l) * dy;
  }

  void accumulate(Trace& trace, Index first, Index count, LayerMix& grad) const {
    if (weight.size() == 0) return;
    const auto x = step_columns(trace.x, first, trace.lanes, count);
    const auto dy = step_columns(trace.dy, delta_index(first), trace.lanes, count);
    // m = sum_l p_l h^l  =>  dp_l = <dm, h^l>;  p = softmax(w)  =>  dw = p * (dp - <p, dp>)
    auto& dmix = trace.dmix_weights;
    dmix.resize(weight.size());
    for (Index l = 0; l < weight.size(); ++l) dmix(l) = dy.cwiseProduct(x.middleRows(l * width, width)).sum();
    grad.weight.array() += trace.mix_weights.array() * (dmix.array() - trace.mix_weights.dot(dmix));
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    if (((layers.weight.size() > 0) && ...)) f("weight", layers.weight...);
  }

 private:
  void write_mix_weights(Vector<Scalar>& to) const {
    to = weight.size() > 0 ? weight : given;
    if (weight.size() > 0) softmax(to);
  }
};

}  // namespace fbt
