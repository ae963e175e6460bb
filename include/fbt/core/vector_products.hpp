// Products of a small matrix with a vector, and the softmax between them: the inner loops of attention, where matrices are
// strided views of the memory, too small for a general product routine. A is column-major; entry (i, j) is a[i + j * stride].
#pragma once

#include "fbt/core/math.hpp"
#include "fbt/core/simd.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <limits>

namespace fbt {

/// y (m) += A x, A (m, n), x (n).
template <class Scalar>
void add_product(const In<Scalar>& A, const Scalar* x, Scalar* y) {
  const Index m = A.rows(), n = A.cols(), stride = A.outerStride();
  const Scalar* const a = A.data();
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    using V = SimdOf<Scalar>;
    constexpr Index width = simd_width<Scalar>;
    // R vectors of rows at a time, their columns summed in U interleaved chains to hide the latency of the multiply-adds
    const auto rows = [&]<int R, int U>(std::integral_constant<int, R>, std::integral_constant<int, U>, Index i) {
      V sum[R * U];
      unroll<R * U>([&](auto k) { sum[k] = k < R ? load(y + i + k % R * width) : V{}; });
      Index j = 0;
      for (; j + U <= n; j += U)
        unroll<R * U>([&](auto k) { sum[k] += load(a + i + k % R * width + (j + k / R) * stride) * x[j + k / R]; });
      for (; j < n; ++j) unroll<R>([&](auto r) { sum[r] += load(a + i + r * width + j * stride) * x[j]; });
      unroll<R*(U - 1)>([&](auto k) { sum[k % R] += sum[R + k]; });
      unroll<R>([&](auto r) { store(y + i + r * width, sum[r]); });
    };
    using std::integral_constant;
    Index i = 0;
    for (; i + 4 * width <= m; i += 4 * width) rows(integral_constant<int, 4>{}, integral_constant<int, 2>{}, i);
    for (; i + 2 * width <= m; i += 2 * width) rows(integral_constant<int, 2>{}, integral_constant<int, 4>{}, i);
    for (; i + width <= m; i += width) rows(integral_constant<int, 1>{}, integral_constant<int, 4>{}, i);
    if (const Index rest = m - i; rest > 0) {
      V sum[2] = {load_part(y + i, rest), V{}};
      Index j = 0;
      for (; j + 2 <= n; j += 2) unroll<2>([&](auto k) { sum[k] += load_part(a + i + (j + k) * stride, rest) * x[j + k]; });
      if (j < n) sum[0] += load_part(a + i + j * stride, rest) * x[j];
      store_part(y + i, sum[0] + sum[1], rest);
    }
  } else {
    Eigen::Map<Vector<Scalar>>(y, m).noalias() += A * Eigen::Map<const Vector<Scalar>>(x, n);
  }
}

/// y (n) += A^T x, A (m, n), x (m).
template <class Scalar>
void add_transposed_product(const In<Scalar>& A, const Scalar* x, Scalar* y) {
  const Index m = A.rows(), n = A.cols(), stride = A.outerStride();
  const Scalar* const a = A.data();
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    using V = SimdOf<Scalar>;
    constexpr Index width = simd_width<Scalar>;
    // as many columns as a vector has entries, so that their sums are one vector
    const auto columns = [&]<int C>(std::integral_constant<int, C>, Index j, V* sum) {
      unroll<C>([&](auto c) { sum[c] = V{}; });
      for_each_vector<Scalar>(m, [&](Index i, auto&& load_rows, auto&&) {
        const V xi = load_rows(x + i);
        unroll<C>([&](auto c) { sum[c] += load_rows(a + i + (j + c) * stride) * xi; });
      });
    };
    Index j = 0;
    V sums_of[width];
    for (; j + width <= n; j += width) {
      columns(std::integral_constant<int, width>{}, j, sums_of);
      store(y + j, load(y + j) + sums<Scalar>(sums_of));
    }
    if (const Index rest = n - j; rest > 0) {
      unroll<width>([&](auto c) { sums_of[c] = V{}; });
      for (Index c = 0; c < rest; ++c) columns(std::integral_constant<int, 1>{}, j + c, sums_of + c);
      store_part(y + j, load_part(y + j, rest) + sums<Scalar>(sums_of), rest);
    }
  } else {
    Eigen::Map<Vector<Scalar>>(y, n).noalias() += A.transpose() * Eigen::Map<const Vector<Scalar>>(x, m);
  }
}

/// A (m, n) += x y^T, x (m), y (n).
template <class Scalar>
void add_outer_product(Out<Scalar> A, const Scalar* x, const Scalar* y) {
  const Index m = A.rows(), n = A.cols(), stride = A.outerStride();
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    using V = SimdOf<Scalar>;
    constexpr Index width = simd_width<Scalar>;
    Scalar* const a = A.data();
    const auto rows = [&]<int R>(std::integral_constant<int, R>, Index i) {
      V xi[R];
      unroll<R>([&](auto r) { xi[r] = load(x + i + r * width); });
      for (Index j = 0; j < n; ++j)
        unroll<R>([&](auto r) {
          Scalar* const to = a + i + r * width + j * stride;
          store(to, load(to) + xi[r] * y[j]);
        });
    };
    Index i = 0;
    for (; i + 4 * width <= m; i += 4 * width) rows(std::integral_constant<int, 4>{}, i);
    for (; i + width <= m; i += width) rows(std::integral_constant<int, 1>{}, i);
    if (const Index rest = m - i; rest > 0) {
      const V xi = load_part(x + i, rest);
      for (Index j = 0; j < n; ++j) {
        Scalar* const to = a + i + j * stride;
        store_part(to, load_part(to, rest) + xi * y[j], rest);
      }
    }
  } else {
    A.noalias() += Eigen::Map<const Vector<Scalar>>(x, m) * Eigen::Map<const Vector<Scalar>>(y, n).transpose();
  }
}

/// x (n) <- softmax(scale * x), scale > 0.
template <class Scalar>
void scaled_softmax(Scalar* x, Index n, Scalar scale) {
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    using V = SimdOf<Scalar>;
    constexpr Index width = simd_width<Scalar>;
    const Index whole = n / width * width, rest = n - whole;
    V most = V{} - std::numeric_limits<Scalar>::max();
    for (Index i = 0; i < whole; i += width) {
      const V v = load(x + i);
      most = v > most ? v : most;
    }
    Scalar top = largest<Scalar>(most);
    for (Index i = whole; i < n; ++i) top = std::max(top, x[i]);
    V total = V{};
    for (Index i = 0; i < whole; i += width) {
      const V e = exp_negative<Scalar>((load(x + i) - top) * scale);
      store(x + i, e);
      total += e;
    }
    if (rest > 0) {
      store_part(x + whole, exp_negative<Scalar>((load_part(x + whole, rest) - top) * scale), rest);
      total += load_part(x + whole, rest);
    }
    const Scalar factor = 1 / sum<Scalar>(total);
    for_each_vector<Scalar>(
        n, [&](Index i, auto&& load_some, auto&& store_some) { store_some(x + i, load_some(x + i) * factor); });
  } else {
    Eigen::Map<Vector<Scalar>> column(x, n);
    column *= scale;
    softmax(column);
  }
}

/// dx (n) overwrites p (n) = softmax(scale * x), given dp (n): dx = scale * p * (dp - <p, dp>).
template <class Scalar>
void scaled_softmax_backward(Scalar* p, const Scalar* dp, Index n, Scalar scale) {
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    using V = SimdOf<Scalar>;
    V total = V{};
    for_each_vector<Scalar>(n, [&](Index i, auto&& load_some, auto&&) { total += load_some(p + i) * load_some(dp + i); });
    const Scalar mean = sum<Scalar>(total);
    for_each_vector<Scalar>(n, [&](Index i, auto&& load_some, auto&& store_some) {
      store_some(p + i, load_some(p + i) * (load_some(dp + i) - mean) * scale);
    });
  } else {
    Eigen::Map<Vector<Scalar>> column(p, n);
    const Eigen::Map<const Vector<Scalar>> d(dp, n);
    column.array() *= (d.array() - column.dot(d)) * scale;
  }
}

}  // namespace fbt
