// The inner loops of attention: products of a matrix and a vector over strided views of the memory, too small for a general
// product routine, and softmax. A is column-major; entry (i, j) is a[i + j * stride].
#pragma once

#include "fbt/core/types.hpp"
#include "fbt/kernels/columns.hpp"
#include "fbt/kernels/packed.hpp"
#include "fbt/kernels/simd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

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
    // R vectors of rows at a time, their columns summed in U interleaved chains to hide the latency of the multiply-adds.
    // Meanwhile fetches what lies some columns ahead: after the last ones that is often the matrix of the next call.
    const auto rows = [&]<int R, int U>(std::integral_constant<int, R>, std::integral_constant<int, U>, Index i) {
      constexpr Index ahead = 8, line = line_entries<Scalar>;
      constexpr int lines = static_cast<int>((R * width + line - 1) / line);
      Array<V, R * U> sum;
      unroll<R * U>([&](auto k) { sum[k] = k < R ? load(y + i + k % R * width) : V{}; });
      Index j = 0;
      for (; j + U <= n; j += U) {
        unroll<U * lines>([&](auto k) { FBT_PREFETCH(a + i + k / U * line + (j + k % U + ahead) * stride); });
        unroll<R * U>([&](auto k) { sum[k] += load(a + i + k % R * width + (j + k / R) * stride) * x[j + k / R]; });
      }
      for (; j < n; ++j) unroll<R>([&](auto r) { sum[r] += load(a + i + r * width + j * stride) * x[j]; });
      unroll<R*(U - 1)>([&](auto k) { sum[k % R] += sum[R + k]; });
      unroll<R>([&](auto r) { store(y + i + r * width, sum[r]); });
    };
    using std::integral_constant;
    Index i = 0;
    for (; i + 8 * width <= m; i += 8 * width) rows(integral_constant<int, 8>{}, integral_constant<int, 1>{}, i);
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
    Array<V, width> sums_of;
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

/// A (m, n) += sum of x_l y_l^T over the given pairs, x_l (m), y_l (n).
template <class Scalar>
void add_outer_products(Out<Scalar> A, std::span<const Scalar* const> x, std::span<const Scalar* const> y) {
  const Index m = A.rows(), n = A.cols(), stride = A.outerStride();
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    using V = SimdOf<Scalar>;
    constexpr Index width = simd_width<Scalar>;
    using std::integral_constant;
    // N pairs at a time, so that A is read and written once for all of them
    const auto pairs = [&]<int N>(integral_constant<int, N>, std::size_t l) {
      Array<const Scalar*, N> yl;
      unroll<N>([&](auto k) { yl[k] = y[l + k]; });
      const auto rows = [&]<int R>(integral_constant<int, R>, Index i, auto&& load_rows, auto&& store_rows) {
        Array<Array<V, R>, N> xi;
        unroll<N>([&](auto k) { unroll<R>([&](auto r) { xi[k][r] = load_rows(x[l + k] + i + r * width); }); });
        Scalar* to = A.data() + i;
        for (Index j = 0; j < n; ++j, to += stride) {
          Array<V, R> sum;
          unroll<R>([&](auto r) { sum[r] = load_rows(to + r * width); });
          unroll<N>([&](auto k) {
            const V factor = broadcast(yl[k][j]);
            unroll<R>([&](auto r) { sum[r] += xi[k][r] * factor; });
          });
          unroll<R>([&](auto r) { store_rows(to + r * width, sum[r]); });
        }
      };
      Index i = 0;
      for (; i + 2 * width <= m; i += 2 * width)
        rows(
            integral_constant<int, 2>{}, i, [](const Scalar* p) { return load(p); }, [](Scalar* p, V v) { store(p, v); });
      for (; i < m; i += width) {
        const Index used = std::min(width, m - i);
        if (used == width) {
          rows(
              integral_constant<int, 1>{}, i, [](const Scalar* p) { return load(p); }, [](Scalar* p, V v) { store(p, v); });
        } else {
          rows(
              integral_constant<int, 1>{}, i, [used](const Scalar* p) { return load_part(p, used); },
              [used](Scalar* p, V v) { store_part(p, v, used); });
        }
      }
    };
    std::size_t l = 0;
    for (; l + 4 <= x.size(); l += 4) pairs(integral_constant<int, 4>{}, l);
    for (; l + 2 <= x.size(); l += 2) pairs(integral_constant<int, 2>{}, l);
    for (; l < x.size(); ++l) pairs(integral_constant<int, 1>{}, l);
  } else {
    for (std::size_t l = 0; l < x.size(); ++l)
      A.noalias() += Eigen::Map<const Vector<Scalar>>(x[l], m) * Eigen::Map<const Vector<Scalar>>(y[l], n).transpose();
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
