// Head: from the vectors of a core to outputs, y = W n(h) + b, with n a norm or nothing, and on demand their log softmax.
// Follows the contract of layer.hpp. Nothing later reads its outputs, so that a model runs it over all columns of a segment
// as one step.
#pragma once

#include "fbt/layers/layer_norm.hpp"
#include "fbt/layers/linear.hpp"

#include <cmath>

namespace fbt {

template <class Scalar, NormLayer<Scalar> Norm = LayerNorm<Scalar>>
struct Head {
  Norm norm;                ///< n, of size 0 where there is none
  Linear<Scalar> linear;    ///< W (rows, d), b (rows)
  bool normalizes = false;  ///< whether there is a norm
  bool log_probabilities = false;

  struct Trace {
    typename Norm::Trace norm;
    typename Linear<Scalar>::Trace linear;
    Matrix<Scalar> probabilities;  // (rows, T*B), if outputs are logarithms of them
    Matrix<Scalar> dnormed;        // (d, B)
    Index lanes = 0;
    bool train = false;
  };

  Head() = default;
  /// Of any config with a width d, a number of outputs, and whether a norm precedes them.
  template <class AnyConfig>
  Head(const AnyConfig& c, Random& random)
      : norm(c.norms_output() ? c.width : 0, c.norm_epsilon),
        linear(c.width, c.output_rows(), random),
        normalizes(c.norms_output()),
        log_probabilities(c.log_probabilities) {}

  Index outputs() const { return linear.outputs(); }
  /// As that of Linear.
  void check_weights(const Trace& trace) const { linear.check_weights(trace.linear); }

  void prepare(Trace& trace, const Segment& segment) const {
    trace.lanes = segment.lanes;
    trace.train = segment.train;
    norm.prepare(trace.norm, segment);
    linear.prepare(trace.linear, segment);
    trace.dnormed.resize(linear.inputs(), segment.train && normalizes ? segment.lanes : 0);
    trace.probabilities.resize(linear.outputs(), segment.train && log_probabilities ? segment.columns() : 0);
  }

  /// h (d, B), y (rows, B).
  void forward(const In<Scalar>& h, Trace& trace, Index t, Out<Scalar> y) const {
    auto input = trace.linear.input(t);
    if (normalizes) {
      norm.forward(h, trace.norm, t, input);
    } else {
      input = h;
    }
    linear.forward(input, trace.linear, t, y);
    if (!log_probabilities) return;
    for (Index b = 0; b < y.cols(); ++b) {
      auto z = y.col(b).array();
      const Scalar largest = z.maxCoeff();
      z -= largest;  // apart from the logarithm, which would be lost beside a large number
      z -= std::log(z.exp().sum());
    }
    if (trace.train) step_columns(trace.probabilities, t, trace.lanes) = y.array().exp();
  }

  void backward(const In<Scalar>& dy, Trace& trace, Index t, Out<Scalar> dh) const {
    auto dz = trace.linear.delta(t);
    dz = dy;
    if (log_probabilities) {  // y = z - log sum exp(z)  =>  dz = dy - exp(y) * sum(dy)
      const auto p = step_columns(trace.probabilities, t, trace.lanes);
      for (Index b = 0; b < dz.cols(); ++b) dz.col(b) -= p.col(b) * dy.col(b).sum();
    }
    if (normalizes) {
      linear.backward(dz, trace.linear, t, trace.dnormed);
      norm.backward(trace.dnormed, trace.norm, t, dh);
    } else {
      linear.backward(dz, trace.linear, t, dh);
    }
  }

  void accumulate(Trace& trace, Index first, Index count, Head& grad) const {
    if (normalizes) norm.accumulate(trace.norm, first, count, grad.norm);
    linear.accumulate(trace.linear, first, count, grad.linear);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... heads) {
    if ((heads.normalizes && ...)) visit_child("norm_out", f, heads.norm...);
    visit_child("head", f, heads.linear...);
  }
};

}  // namespace fbt
