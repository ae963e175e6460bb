// Softmax, the activations and their derivatives.
#pragma once

#include "fbt/core/simd.hpp"
#include "fbt/core/types.hpp"

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

}  // namespace fbt
