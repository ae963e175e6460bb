// LayerNorm: y = weight * (x - mean) / sqrt(variance + epsilon) + bias, over the rows of each column
// (Ba, Kiros, Hinton, 2016). Follows the contract of layer.hpp.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/kernels/columns.hpp"

namespace fbt {

template <class Scalar>
struct LayerNorm {
  Vector<Scalar> weight;  ///< (n), starts at 1
  Vector<Scalar> bias;    ///< (n), starts at 0
  double epsilon = 1e-5;

  struct Trace {
    Matrix<Scalar> normal;          // n = (x - mean) / deviation (n, T*B)
    Vector<Scalar> inverse;         // 1 / deviation (T*B)
    Vector<Scalar> dweight, dbias;  // (n): summed until accumulate()
    Index lanes = 0;
  };

  LayerNorm() = default;
  explicit LayerNorm(Index size, double epsilon_ = 1e-5)
      : weight(Vector<Scalar>::Ones(size)), bias(Vector<Scalar>::Zero(size)), epsilon(epsilon_) {
    check(static_cast<Scalar>(epsilon) > 0,
          "norm_epsilon: expected a number above 0, found {}, which is {} in the numbers of the layer", epsilon,
          static_cast<Scalar>(epsilon));
  }

  void prepare(Trace& trace, const Segment& segment) const {
    trace.lanes = segment.lanes;
    trace.normal.resize(weight.size(), segment.columns());
    trace.inverse.resize(segment.columns());
    trace.dweight.setZero(weight.size());
    trace.dbias.setZero(weight.size());
  }

  /// x, y (n, B).
  void forward(const In<Scalar>& x, Trace& trace, Index t, Out<Scalar> y) const {
    eigen_assert(x.rows() == weight.size() && y.rows() == x.rows() && x.cols() == trace.lanes && y.cols() == trace.lanes);
    for (Index b = 0; b < trace.lanes; ++b) {
      const Index column = t * trace.lanes + b;
      trace.inverse(column) = normalize(x.col(b).data(), weight.size(), static_cast<Scalar>(epsilon), weight.data(),
                                        bias.data(), trace.normal.col(column).data(), y.col(b).data());
    }
  }

  void backward(const In<Scalar>& dy, Trace& trace, Index t, Out<Scalar> dx) const {
    eigen_assert(dy.rows() == weight.size() && dx.rows() == dy.rows() && dy.cols() == trace.lanes &&
                 dx.cols() == trace.lanes);
    for (Index b = 0; b < trace.lanes; ++b) {
      const Index column = t * trace.lanes + b;
      normalize_backward(dy.col(b).data(), weight.size(), trace.inverse(column), weight.data(),
                         trace.normal.col(column).data(), trace.dweight.data(), trace.dbias.data(), dx.col(b).data());
    }
  }

  void accumulate(Trace& trace, Index, Index, LayerNorm& grad) const {
    grad.weight += trace.dweight;
    grad.bias += trace.dbias;
    trace.dweight.setZero();
    trace.dbias.setZero();
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
    f("bias", layers.bias...);
  }
};

}  // namespace fbt
