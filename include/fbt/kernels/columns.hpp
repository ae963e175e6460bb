// Functions of whole columns: softmax, sums, normalisation, the activations, and their derivatives.
#pragma once

#include "fbt/core/types.hpp"
#include "fbt/kernels/simd.hpp"

#include <cmath>
#include <numbers>

namespace fbt {

/// In place: column <- softmax(column). The largest entry is subtracted first, so no finite input overflows.
template <class Derived>
void softmax(Eigen::DenseBase<Derived>& column) {
  auto x = column.derived().array();
  x = (x - x.maxCoeff()).exp();
  x *= typename Derived::Scalar(1) / x.sum();
}
template <class Derived>
void softmax(Eigen::DenseBase<Derived>&& column) {
  softmax(column);
}

/// da (n) overwrites dy (n) of y = max(0, a): da = dy where y > 0, else 0.
template <class Scalar>
void relu_backward(const Scalar* y, Scalar* dy, Index n) {
  if constexpr (detail::has_simd<Scalar>) {  // neither compiler vectorises the loop below, or Eigen's select, every time
    detail::for_each_vector<Scalar>(n, [&](Index i, auto&& load, auto&& store) {
      const detail::SimdOf<Scalar> v = load(y + i), zero{};
      store(dy + i, v > zero ? load(dy + i) : zero);
    });
  } else {
    for (Index i = 0; i < n; ++i) dy[i] = y[i] > 0 ? dy[i] : Scalar(0);
  }
}

/// Gaussian error linear unit: x Phi(x), with the exact normal distribution function (Hendrycks and Gimpel, 2016).
template <class Scalar>
Scalar gelu(Scalar x) {
  return x * Scalar(0.5) * (1 + std::erf(x * Scalar(std::numbers::sqrt2 / 2)));
}
/// d gelu / dx = Phi(x) + x phi(x).
template <class Scalar>
Scalar gelu_derivative(Scalar x) {
  const Scalar distribution = Scalar(0.5) * (1 + std::erf(x * Scalar(std::numbers::sqrt2 / 2)));
  const Scalar density = std::exp(Scalar(-0.5) * x * x) * Scalar(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
  return distribution + x * density;
}

/// sum (m) += the sum of A's columns, A (m, n).
template <class Scalar>
void add_columns(const In<Scalar>& A, Scalar* sum) {
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    for_each_vector<Scalar>(A.rows(), [&](Index i, auto&& load_rows, auto&& store_rows) {
      SimdOf<Scalar> total[4] = {load_rows(sum + i), {}, {}, {}};
      Index j = 0;
      for (; j + 4 <= A.cols(); j += 4)
        unroll<4>([&](auto k) { total[k] += load_rows(A.data() + i + (j + k) * A.outerStride()); });
      for (; j < A.cols(); ++j) total[0] += load_rows(A.data() + i + j * A.outerStride());
      store_rows(sum + i, (total[0] + total[1]) + (total[2] + total[3]));
    });
  } else {
    Eigen::Map<Vector<Scalar>>(sum, A.rows()) += A.rowwise().sum();
  }
}

/// normal (n) = (x - mean) / sqrt(variance + epsilon), y (n) = weight * normal + bias. Returns 1 / sqrt(variance + epsilon).
template <class Scalar>
Scalar normalize(const Scalar* x, Index n, Scalar epsilon, const Scalar* weight, const Scalar* bias, Scalar* normal,
                 Scalar* y) {
  const auto size = static_cast<Scalar>(n);
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    using V = SimdOf<Scalar>;
    V total = V{}, squares = V{};
    for_each_vector<Scalar>(n, [&](Index i, auto&& load_some, auto&&) { total += load_some(x + i); });
    const Scalar mean = sum<Scalar>(total) / size;
    for_each_vector<Scalar>(n, [&](Index i, auto&& load_some, auto&& store_some) {
      store_some(normal + i, load_some(x + i) - mean);
      const V centred = load_some(normal + i);
      squares += centred * centred;
    });
    const Scalar inverse = 1 / std::sqrt(sum<Scalar>(squares) / size + epsilon);
    for_each_vector<Scalar>(n, [&](Index i, auto&& load_some, auto&& store_some) {
      const V v = load_some(normal + i) * inverse;
      store_some(normal + i, v);
      store_some(y + i, v * load_some(weight + i) + load_some(bias + i));
    });
    return inverse;
  } else {
    using Column = Eigen::Map<const Vector<Scalar>>;
    Eigen::Map<Vector<Scalar>> centred(normal, n);
    centred = Column(x, n).array() - Column(x, n).mean();
    const Scalar inverse = 1 / std::sqrt(centred.squaredNorm() / size + epsilon);
    centred *= inverse;
    Eigen::Map<Vector<Scalar>>(y, n) = centred.cwiseProduct(Column(weight, n)) + Column(bias, n);
    return inverse;
  }
}

/// The way back of normalize(): dx (n) overwritten, from dy (n); ADDS to dweight and dbias (n). dx may be dy.
template <class Scalar>
void normalize_backward(const Scalar* dy, Index n, Scalar inverse, const Scalar* weight, const Scalar* normal,
                        Scalar* dweight, Scalar* dbias, Scalar* dx) {
  // y = weight * normal + bias  =>  dn = weight * dy;  normal = (x - mean) / deviation  =>
  // dx = (dn - mean(dn) - normal * mean(dn * normal)) / deviation
  const auto size = static_cast<Scalar>(n);
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    using V = SimdOf<Scalar>;
    V total = V{}, along = V{};
    for_each_vector<Scalar>(n, [&](Index i, auto&& load_some, auto&& store_some) {
      const V d = load_some(dy + i), v = load_some(normal + i), dn = d * load_some(weight + i);
      total += dn;
      along += dn * v;
      store_some(dweight + i, load_some(dweight + i) + d * v);
      store_some(dbias + i, load_some(dbias + i) + d);
    });
    const Scalar mean = sum<Scalar>(total) / size, projection = sum<Scalar>(along) / size;
    for_each_vector<Scalar>(n, [&](Index i, auto&& load_some, auto&& store_some) {
      const V dn = load_some(dy + i) * load_some(weight + i);
      store_some(dx + i, (dn - mean - load_some(normal + i) * projection) * inverse);
    });
  } else {
    using Column = Eigen::Map<const Vector<Scalar>>;
    const Column d(dy, n), v(normal, n);
    Eigen::Map<Vector<Scalar>>(dweight, n) += d.cwiseProduct(v);
    Eigen::Map<Vector<Scalar>>(dbias, n) += d;
    const Vector<Scalar> dn = d.cwiseProduct(Column(weight, n));
    Eigen::Map<Vector<Scalar>>(dx, n) = ((dn - v * (dn.dot(v) / size)).array() - dn.mean()) * inverse;
  }
}

}  // namespace fbt
