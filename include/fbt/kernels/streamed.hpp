// Products of a matrix and a single column: the matrix is read from memory once, so the way it is read decides the speed (decoding of
// one sequence). A is column-major; entry (i, j) is a[i + j * stride].
#pragma once

#include "fbt/kernels/packed.hpp"
#include "fbt/kernels/simd.hpp"

namespace fbt {

/// y (m) = epilogue of A x, A (m, n) contiguous, x (n): for a matrix that is read from memory once.
template <class Scalar>
void multiply_vector(const In<Scalar>& A, const Scalar* x, Scalar* y, const Epilogue<Scalar>& epilogue) {
  const Index m = A.rows(), n = A.cols(), stride = A.outerStride();
  if constexpr (detail::has_simd<Scalar>) {
    using namespace detail;
    using V = SimdOf<Scalar>;
    constexpr Index width = simd_width<Scalar>;
    for_each_vector<Scalar>(m, [&](Index i, auto&& load_rows, auto&& store_rows) {
      V start = epilogue.add ? load_rows(epilogue.add + i) : V{};
      if (epilogue.bias) start += load_rows(epilogue.bias + i);
      store_rows(y + i, start);
    });
    // C columns at a time that are far apart: C streams, which memory gives faster than one
    const auto columns = [&]<int C>(std::integral_constant<int, C>, Index j, Index apart) {
      const Scalar* const a = A.data() + j * stride;
      V xj[C];
      unroll<C>([&](auto c) { xj[c] = broadcast(x[j + c * apart]); });
      const auto add = [&](Index i, auto&& load_rows, auto&& store_rows) __attribute__((always_inline)) {
        V sum[2] = {load_rows(y + i), V{}};
        unroll<C>([&](auto c) { sum[c % 2] += load_rows(a + i + c * apart * stride) * xj[c]; });
        store_rows(y + i, sum[0] + sum[1]);
      };
      Index i = 0;
      for (; i + 2 * width <= m; i += 2 * width) {  // two vectors in flight
        unroll<2>([&](auto r) {
          add(
              i + r * width, [](const Scalar* p) { return load(p); }, [](Scalar* p, V v) { store(p, v); });
        });
      }
      for_each_vector<Scalar>(m - i,
                              [&](Index k, auto&& load_rows, auto&& store_rows) { add(i + k, load_rows, store_rows); });
    };
    constexpr Index streams = 4;
    const Index apart = n / streams;
    for (Index j = 0; j < apart; ++j) columns(std::integral_constant<int, streams>{}, j, apart);
    for (Index j = apart * streams; j < n; ++j) columns(std::integral_constant<int, 1>{}, j, 0);
    if (epilogue.relu) {
      for_each_vector<Scalar>(m, [&](Index i, auto&& load_rows, auto&& store_rows) {
        const V v = load_rows(y + i);
        store_rows(y + i, v < V{} ? V{} : v);
      });
    }
  } else {
    Vector<Scalar> product = A * Eigen::Map<const Vector<Scalar>>(x, n);
    if (epilogue.bias) product += Eigen::Map<const Vector<Scalar>>(epilogue.bias, m);
    if (epilogue.add) product += Eigen::Map<const Vector<Scalar>>(epilogue.add, m);
    if (epilogue.relu) product = product.unaryExpr([](Scalar v) { return v < 0 ? Scalar(0) : v; }).eval();
    Eigen::Map<Vector<Scalar>>(y, m) = product;
  }
}

/// y (m) = epilogue of the sum of the columns of parts (m, n).
template <class Scalar>
void add_parts(const In<Scalar>& parts, Scalar* y, const Epilogue<Scalar>& epilogue) {
  const Index m = parts.rows(), n = parts.cols(), stride = parts.outerStride();
  if constexpr (detail::has_simd<Scalar>) {
    using V = detail::SimdOf<Scalar>;
    detail::for_each_vector<Scalar>(m, [&](Index i, auto&& load_rows, auto&& store_rows) {
      V v = load_rows(parts.data() + i);
      for (Index j = 1; j < n; ++j) v += load_rows(parts.data() + i + j * stride);
      if (epilogue.bias) v += load_rows(epilogue.bias + i);
      if (epilogue.add) v += load_rows(epilogue.add + i);
      if (epilogue.relu) v = v < V{} ? V{} : v;
      store_rows(y + i, v);
    });
  } else {
    for (Index i = 0; i < m; ++i) {
      Scalar v = parts.row(i).sum();
      if (epilogue.bias) v += epilogue.bias[i];
      if (epilogue.add) v += epilogue.add[i];
      y[i] = epilogue.relu && v < 0 ? Scalar(0) : v;
    }
  }
}

}  // namespace fbt
