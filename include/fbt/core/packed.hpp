// Matrix products near the machine's peak for the shapes of step-by-step training.
//
// A general product routine rearranges its operands on every call. Here a weight matrix is rearranged once per segment and
// then multiplied with T thin right-hand sides. A Packed matrix is cut into panels of up to 3 vectors of rows; within a
// panel all rows of one column are adjacent. A tile of one panel times up to 8 columns lives in registers.
//
// Without the vectors of core/simd.hpp the products are Eigen's.
#pragma once

#include "fbt/core/simd.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <type_traits>

namespace fbt {

/// What a product starts from: y = W x, y = W x + bias, or y = y + W x.
enum class Start { zero, bias, add };

namespace detail {

#if defined(__AVX__) && !defined(__AVX512F__)
inline constexpr int tile_columns = 4;  // 3 * 4 sums, 3 panel vectors and a factor fill 16 registers
#else
inline constexpr int tile_columns = 8;  // 3 * 8 sums, 3 panel vectors and a factor fit 32 registers
#endif
inline constexpr int panel_vectors = 3;

/// The right-hand side of a product by its strides: entry (k, c) is data[k * row_stride + c * column_stride].
template <class Scalar>
struct Strided {
  const Scalar* data;
  Index row_stride, column_stride;
};

/// y(rows, C) = panel(R vectors, depth) x(depth, C), started from zero, from the bias, or from y itself.
template <int R, int C, class Scalar>
[[gnu::always_inline]] inline void tile(const Scalar* panel, Index depth, Strided<Scalar> x, Scalar* y, Index y_stride,
                                        Index rows, const Scalar* bias, Start start) {
  using V = SimdOf<Scalar>;
  constexpr Index width = simd_width<Scalar>;
  V sum[C][R];
  unroll<C>([&](auto c) { unroll<R>([&](auto r) { sum[c][r] = V{}; }); });
  for (Index k = 0; k < depth; ++k) {
    V w[R];
    unroll<R>([&](auto r) { w[r] = load(panel + (k * R + r) * width); });
    const Scalar* const xk = x.data + k * x.row_stride;
    unroll<C>([&](auto c) {
      const V value = V{} + xk[c * x.column_stride];
      unroll<R>([&](auto r) { sum[c][r] += w[r] * value; });
    });
  }
  const auto finish = [&](auto c, auto r, auto&& load_rows, auto&& store_rows) {
    Scalar* const to = y + c * y_stride + r * width;
    if (start == Start::bias) sum[c][r] += load_rows(bias + r * width);
    if (start == Start::add) sum[c][r] += load_rows(to);
    store_rows(to, sum[c][r]);
  };
  const auto load_all = [](const Scalar* p) { return load(p); };
  const auto store_all = [](Scalar* p, V v) { store(p, v); };
  if (rows == R * width) {
    unroll<C>([&](auto c) { unroll<R>([&](auto r) { finish(c, r, load_all, store_all); }); });
    return;
  }
  const Index last = rows - (R - 1) * width;  // rows in the last vector
  unroll<C>([&](auto c) {
    unroll<R - 1>([&](auto r) { finish(c, r, load_all, store_all); });
    finish(
        c, std::integral_constant<int, R - 1>{}, [&](const Scalar* p) { return load_part(p, last); },
        [&](Scalar* p, V v) { store_part(p, v, last); });
  });
}

template <int R, class Scalar>
void panel_product(const Scalar* panel, Index depth, Strided<Scalar> x, Index columns, Scalar* y, Index y_stride, Index rows,
                   const Scalar* bias, Start start) {
  const auto tiles = [&]<int C>(std::integral_constant<int, C>) {
    for (; columns >= C; columns -= C) {
      tile<R, C>(panel, depth, x, y, y_stride, rows, bias, start);
      x.data += C * x.column_stride;
      y += C * y_stride;
    }
  };
  tiles(std::integral_constant<int, tile_columns>{});
  tiles(std::integral_constant<int, 4>{});
  tiles(std::integral_constant<int, 2>{});
  tiles(std::integral_constant<int, 1>{});
}

}  // namespace detail

/// A matrix W (rows, depth) arranged for products with many right-hand sides. Reuses its storage when packed again.
template <class Scalar>
class Packed {
 public:
  /// W = w (rows, depth).
  void pack(const In<Scalar>& w) { arrange(w.data(), w.rows(), w.cols(), 1, w.outerStride()); }
  /// W = w^T, w (depth, rows).
  void pack_transposed(const In<Scalar>& w) { arrange(w.data(), w.cols(), w.rows(), w.outerStride(), 1); }

  Index rows() const { return rows_; }
  Index depth() const { return depth_; }

  /// y (rows, n) = W x, or y += W x. x (depth, n).
  void multiply(const In<Scalar>& x, Out<Scalar> y, Start start = Start::zero) const {
    eigen_assert(start != Start::bias);
    product(x.data(), x.rows(), x.cols(), 1, x.outerStride(), y, nullptr, start);
  }
  /// y (rows, n) = W x + bias (rows).
  void multiply(const In<Scalar>& x, const Eigen::Ref<const Vector<Scalar>>& bias, Out<Scalar> y) const {
    eigen_assert(bias.size() == rows_);
    product(x.data(), x.rows(), x.cols(), 1, x.outerStride(), y, bias.data(), Start::bias);
  }
  /// y (rows, n) += W x^T. x (n, depth).
  void add_transposed(const In<Scalar>& x, Out<Scalar> y) const {
    product(x.data(), x.cols(), x.rows(), x.outerStride(), 1, y, nullptr, Start::add);
  }

 private:
  static constexpr Index panel_rows() {
    if constexpr (detail::has_simd<Scalar>) {
      return detail::panel_vectors * detail::simd_width<Scalar>;
    } else {
      return 1;
    }
  }

  // Entry (i, k) of W is w[i * row_stride + k * column_stride].
  void arrange(const Scalar* w, Index rows, Index depth, Index row_stride, Index column_stride) {
    rows_ = rows;
    depth_ = depth;
    if constexpr (detail::has_simd<Scalar>) {
      constexpr Index width = detail::simd_width<Scalar>;
      data_.resize((rows + width - 1) / width * width * depth);
      Scalar* to = data_.data();
      for (Index first = 0; first < rows; first += panel_rows()) {
        const Index used = std::min(panel_rows(), rows - first);
        const Index padded = (used + width - 1) / width * width;
        const Scalar* const from = w + first * row_stride;
        if (row_stride == 1) {
          for (Index k = 0; k < depth; ++k) {
            detail::for_each_vector<Scalar>(used, [&](Index i, auto&& load_rows, auto&&) {
              detail::store(to + k * padded + i, load_rows(from + k * column_stride + i));
            });
          }
        } else {  // 16 columns at a time, so that the strided stores stay in the cache
          for (Index k0 = 0; k0 < depth; k0 += 16) {
            const Index k1 = std::min(depth, k0 + 16);
            for (Index i = 0; i < used; ++i)
              for (Index k = k0; k < k1; ++k) to[k * padded + i] = from[i * row_stride + k * column_stride];
            for (Index i = used; i < padded; ++i)
              for (Index k = k0; k < k1; ++k) to[k * padded + i] = Scalar(0);
          }
        }
        to += padded * depth;
      }
    } else {
      data_.resize(rows * depth);
      using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
      Eigen::Map<Matrix<Scalar>>(data_.data(), rows, depth) =
          Eigen::Map<const Matrix<Scalar>, 0, Strides>(w, rows, depth, Strides(column_stride, row_stride));
    }
  }

  void product(const Scalar* x, Index x_rows, Index columns, Index row_stride, Index column_stride, Out<Scalar> y,
               const Scalar* bias, Start start) const {
    eigen_assert(x_rows == depth_ && y.rows() == rows_ && y.cols() == columns);
    static_cast<void>(x_rows);
    if constexpr (detail::has_simd<Scalar>) {
      constexpr Index width = detail::simd_width<Scalar>;
      const Scalar* panel = data_.data();
      for (Index first = 0; first < rows_; first += panel_rows()) {
        const Index used = std::min(panel_rows(), rows_ - first);
        const Index vectors = (used + width - 1) / width;
        const auto run = [&]<int R>(std::integral_constant<int, R>) {
          detail::panel_product<R>(panel, depth_, detail::Strided<Scalar>{x, row_stride, column_stride}, columns,
                                   y.data() + first, y.outerStride(), used, bias ? bias + first : nullptr, start);
        };
        if (vectors == 3) run(std::integral_constant<int, 3>{});
        if (vectors == 2) run(std::integral_constant<int, 2>{});
        if (vectors == 1) run(std::integral_constant<int, 1>{});
        panel += vectors * width * depth_;
      }
    } else {
      using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
      const Eigen::Map<const Matrix<Scalar>> w(data_.data(), rows_, depth_);
      const Eigen::Map<const Matrix<Scalar>, 0, Strides> right(x, depth_, columns, Strides(column_stride, row_stride));
      if (start == Start::zero) y.setZero();
      if (start == Start::bias) y.colwise() = Eigen::Map<const Vector<Scalar>>(bias, rows_);
      y.noalias() += w * right;
    }
  }

  Index rows_ = 0, depth_ = 0;
  Vector<Scalar> data_;  // panel after panel, each (depth, padded rows) with the rows adjacent
};

/// sum (m, k) += a (m, n) b (k, n)^T: the deferred gradient of a weight matrix. The depth n is worked through in pieces
/// that fit the cache; scratch holds one piece of a.
template <class Scalar>
void add_outer(const In<Scalar>& a, const In<Scalar>& b, Out<Scalar> sum, Packed<Scalar>& scratch) {
  constexpr Index piece = 256;
  for (Index first = 0; first < a.cols(); first += piece) {
    const Index n = std::min(piece, a.cols() - first);
    scratch.pack(a.middleCols(first, n));
    scratch.add_transposed(b.middleCols(first, n), sum);
  }
}

}  // namespace fbt
