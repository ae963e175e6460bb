// What the tests of the kernels share: exact products to compare with, and matrices that show when a kernel strays outside.
#pragma once

#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"

#include <cmath>
#include <limits>

namespace fbt::kernels {

using Exact = Matrix<long double>;
inline constexpr long double infinity = std::numeric_limits<long double>::infinity();

template <class M>
Exact exact(const M& m) {
  return m.template cast<long double>();
}
inline Exact times(const Exact& a, const Exact& b) { return a.lazyProduct(b); }
/// The largest magnitude; infinite when an entry is not finite.
inline long double largest(const Exact& a) {
  const long double most = a.cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
  return std::isfinite(most) ? most : infinity;
}

/// The largest error of y, in units of the rounding error that is granted to a sum of this depth.
inline long double error_of(const Exact& y, const Exact& expected, const Exact& left, const Exact& right,
                            long double epsilon) {
  const long double granted =
      epsilon * static_cast<long double>(left.cols() + 2) * (1 + largest(times(left.cwiseAbs(), right.cwiseAbs())));
  return largest(y - expected) / granted;
}

/// A matrix inside a larger one whose other entries are not numbers: reading outside shows in the result.
template <class Scalar>
struct Framed {
  static constexpr Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();
  Matrix<Scalar> all;

  explicit Framed(const Matrix<Scalar>& inside) : all(Matrix<Scalar>::Constant(inside.rows() + 5, inside.cols() + 2, nan)) {
    view() = inside;
  }
  Out<Scalar> view() { return all.block(3, 1, all.rows() - 5, all.cols() - 2); }
  /// Whether the frame is as it was: writing outside shows here.
  bool intact() {
    Matrix<Scalar> copy = all;
    copy.block(3, 1, all.rows() - 5, all.cols() - 2).setConstant(nan);
    return copy.array().isNaN().all();
  }
};

template <class Scalar>
Matrix<Scalar> random_matrix(Index rows, Index columns, Random& random) {
  Matrix<Scalar> m(rows, columns);
  fill_normal(m, 1, random);
  return m;
}

}  // namespace fbt::kernels
