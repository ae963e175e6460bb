// Products of a matrix and a single column: the matrix is read from memory once, so the way it is read decides the speed
// (decoding of one sequence). A is column-major; entry (i, j) is a[i + j * stride].
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
    Epilogue<Scalar> before = epilogue, after;  // bias and residual are where the sums begin
    before.relu = false;
    after.relu = epilogue.relu;
    for_each_vector<Scalar>(
        m, [&](Index i, auto&& load_rows, auto&& store_rows) { store_rows(y + i, before.apply(V{}, i, 0, load_rows)); });
    // C columns at a time that are far apart: C streams, which memory gives faster than one
    const auto columns = [&]<int C>(std::integral_constant<int, C>, Index j, Index apart) {
      const Scalar* const a = A.data() + j * stride;
      Array<V, C> xj;
      unroll<C>([&](auto c) { xj[c] = broadcast(x[j + c * apart]); });
      const auto add = [&](Index i, auto&& load_rows, auto&& store_rows) FBT_LAMBDA_ALWAYS_INLINE {
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
        store_rows(y + i, after.apply(load_rows(y + i), i, 0, load_rows));
      });
    }
  } else {
    const Vector<Scalar> product = A * Eigen::Map<const Vector<Scalar>>(x, n);
    for (Index i = 0; i < m; ++i) y[i] = epilogue.apply(product(i), i, 0);
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
      store_rows(y + i, epilogue.apply(v, i, 0, load_rows));
    });
  } else {
    for (Index i = 0; i < m; ++i) y[i] = epilogue.apply(parts.row(i).sum(), i, 0);
  }
}

}  // namespace fbt
