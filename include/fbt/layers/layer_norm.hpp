// LayerNorm: y = weight * (x - mean) / sqrt(variance + epsilon) + bias, over the rows of each column
// (Ba, Kiros, Hinton, 2016). Follows the contract of linear.hpp.
#pragma once

#include "fbt/core/shape.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"

#include <cmath>

namespace fbt {

template <class Scalar>
struct LayerNorm {
  Vector<Scalar> weight;  ///< (n), starts at 1
  Vector<Scalar> bias;    ///< (n), starts at 0
  double epsilon = 1e-5;

  struct Trace {
    Matrix<Scalar> normal;          // n = (x - mean) / deviation (n, T*B)
    Vector<Scalar> inverse;         // 1 / deviation (T*B)
    Vector<Scalar> dweight, dbias;  // (n): summed over the segment as it is walked back
    Index lanes = 0;
  };

  LayerNorm() = default;
  explicit LayerNorm(Index size, double epsilon_ = 1e-5)
      : weight(Vector<Scalar>::Ones(size)), bias(Vector<Scalar>::Zero(size)), epsilon(epsilon_) {}

  void prepare(Trace& trace, const Shape& shape) const {
    trace.lanes = shape.lanes;
    trace.normal.resize(weight.size(), shape.columns());
    trace.inverse.resize(shape.columns());
    trace.dweight.setZero(weight.size());
    trace.dbias.setZero(weight.size());
  }

  /// x, y (n, B).
  void forward(const In<Scalar>& x, Trace& trace, Index t, Out<Scalar> y) const {
    for (Index b = 0; b < trace.lanes; ++b) {
      const Index column = t * trace.lanes + b;
      auto normal = trace.normal.col(column);
      // n = (x - mean) / sqrt(variance + epsilon),  y = weight * n + bias
      normal = x.col(b).array() - x.col(b).mean();
      const Scalar variance = normal.squaredNorm() / static_cast<Scalar>(normal.size());
      trace.inverse(column) = 1 / std::sqrt(variance + static_cast<Scalar>(epsilon));
      normal *= trace.inverse(column);
      y.col(b) = normal.cwiseProduct(weight) + bias;
    }
  }

  void backward(const In<Scalar>& dy, Trace& trace, Index t, Out<Scalar> dx) const {
    for (Index b = 0; b < trace.lanes; ++b) {
      const Index column = t * trace.lanes + b;
      const auto normal = trace.normal.col(column);
      trace.dweight += dy.col(b).cwiseProduct(normal);
      trace.dbias += dy.col(b);
      // y = weight * n + bias  =>  dn = weight * dy;  n = (x - mean) / deviation  =>
      // dx = (dn - mean(dn) - n * mean(dn * n)) / deviation
      auto d = dx.col(b);
      d = dy.col(b).cwiseProduct(weight);
      const Scalar mean = d.mean();
      const Scalar projection = d.dot(normal) / static_cast<Scalar>(d.size());
      d = ((d - normal * projection).array() - mean) * trace.inverse(column);
    }
  }

  void accumulate(Trace& trace, LayerNorm& grad) const {
    grad.weight += trace.dweight;
    grad.bias += trace.dbias;
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
    f("bias", layers.bias...);
  }
};

}  // namespace fbt
