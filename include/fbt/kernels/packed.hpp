// Matrix products near the machine's peak for the shapes of step-by-step training.
//
// A general product routine rearranges its operands on every call. Here a weight matrix is rearranged once per segment and
// then multiplied with T thin right-hand sides. A Packed matrix is cut into panels of up to 3 vectors of rows; within a
// panel all rows of one column are adjacent. A tile of one panel times up to 8 columns lives in registers. The weights of
// all but small models come from beyond the cache at every step: all columns use a block of the panel, small enough for the
// innermost cache, while the next block is fetched into the second, evenly over the time that this takes.
//
// Without the vectors of kernels/simd.hpp the products are Eigen's.
#pragma once

#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/kernels/pages.hpp"
#include "fbt/kernels/simd.hpp"

#include <algorithm>
#include <memory>
#include <type_traits>
#include <vector>

namespace fbt {

/// What happens to a product on its way out: y = f(W x + bias + add), where f is the identity or max(0, .).
template <class Scalar>
struct Epilogue {
  const Scalar* bias = nullptr;  ///< (rows), or nothing
  const Scalar* add = nullptr;   ///< (rows, n), or nothing; may be y itself
  Index add_stride = 0;          ///< between the columns of add
  bool relu = false;             ///< f = max(0, .)

  /// What becomes of entries of the product that begin at a row of a column: V is a vector of rows or a single number, and
  /// load gives as many from a place.
  template <class V, class Load>
  FBT_ALWAYS_INLINE V apply(V v, Index row, Index column, Load&& load) const {
    if (bias) v += load(bias + row);
    if (add) v += load(add + row + column * add_stride);
    if (relu) v = v < V{} ? V{} : v;  // not a number stays so
    return v;
  }
  Scalar apply(Scalar v, Index row, Index column) const {
    return apply(v, row, column, [](const Scalar* from) { return *from; });
  }
  /// From here on for the rows and columns that begin at the given ones.
  Epilogue at(Index row, Index column) const {
    return {bias ? bias + row : nullptr, add ? add + row + column * add_stride : nullptr, add_stride, relu};
  }
};

namespace detail {

#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr bool many_registers = true;  // 32, else 16
#else
inline constexpr bool many_registers = false;
#endif
/// How many columns a tile of so many vectors has: with 3 vectors as many as the registers hold, else enough for 8 sums.
constexpr int tile_columns(int vectors) { return many_registers || vectors == 1 ? 8 : 4; }
/// The deepest block of a panel. A longer one has fewer ends of tiles, but leaves the innermost cache.
#if defined(__AVX512F__)
inline constexpr Index block_depth = 128;
#else
inline constexpr Index block_depth = 512;
#endif
inline constexpr int panel_vectors = 3;
inline constexpr int unrolled = 4;  // columns of a panel for each turn of a tile's loop

/// The right-hand side of a product by its strides: entry (k, c) is data[k * row_stride + c * column_stride].
template <class Scalar>
struct Strided {
  const Scalar* data;
  Index row_stride, column_stride;

  Strided at(Index row, Index column) const {
    return {data + row * row_stride + column * column_stride, row_stride, column_stride};
  }
};

/// sum[r] += w[r] * *x for R vectors.
template <int R, class Scalar>
FBT_ALWAYS_INLINE void add_multiple(SimdOf<Scalar>* sum, const SimdOf<Scalar>* w, const Scalar* x) {
  using V = SimdOf<Scalar>;
#if defined(__x86_64__) && (FBT_VECTOR_BYTES == 32 && defined(__FMA__) || FBT_VECTOR_BYTES == 64 && defined(__clang__))
  // Of 16 registers 3 * 4 sums, 3 vectors and a factor fill all, of 32 those of 8 columns 28. Left to themselves, g++ 12 and
  // clang 14 load factors early or move sums between registers, and keep some in memory; but with 32 g++ does better alone.
  // (A broadcast from memory needs AVX alone.) Operands are ordered as -masm=att or -masm=intel wants them.
  if constexpr (R == 3) {
    V factor, s0 = sum[0], s1 = sum[1], s2 = sum[2];
    if constexpr (std::is_same_v<Scalar, float>) {
      asm("vbroadcastss {%4, %3|%3, %4}\n\tvfmadd231ps {%3, %5, %0|%0, %5, %3}\n\t"
          "vfmadd231ps {%3, %6, %1|%1, %6, %3}\n\tvfmadd231ps {%3, %7, %2|%2, %7, %3}"
          : "+&v"(s0), "+&v"(s1), "+&v"(s2), "=&v"(factor)
          : "m"(*x), "v"(w[0]), "v"(w[1]), "v"(w[2]));
    } else {
      asm("vbroadcastsd {%4, %3|%3, %4}\n\tvfmadd231pd {%3, %5, %0|%0, %5, %3}\n\t"
          "vfmadd231pd {%3, %6, %1|%1, %6, %3}\n\tvfmadd231pd {%3, %7, %2|%2, %7, %3}"
          : "+&v"(s0), "+&v"(s1), "+&v"(s2), "=&v"(factor)
          : "m"(*x), "v"(w[0]), "v"(w[1]), "v"(w[2]));
    }
    sum[0] = s0, sum[1] = s1, sum[2] = s2;
    return;
  }
#endif
  const V factor = broadcast(*x);
  unroll<R>([&](auto r) FBT_LAMBDA_ALWAYS_INLINE { sum[r] += w[r] * factor; });
}

/// y(rows, C) = epilogue of panel(R vectors, depth) x(depth, C). Meanwhile fetches so many lines from the given place for
/// every `unrolled` columns of the panel.
template <int R, int C, class Scalar>
FBT_ALWAYS_INLINE void tile(const Scalar* panel, Index depth, Strided<Scalar> x, Scalar* y, Index y_stride, Index rows,
                            const Epilogue<Scalar>& epilogue, const Scalar* fetch, int lines) {
  using V = SimdOf<Scalar>;
  constexpr Index width = simd_width<Scalar>;
  Array<Array<V, R>, C> sum;
  unroll<C>([&](auto c) FBT_LAMBDA_ALWAYS_INLINE { unroll<R>([&](auto r) FBT_LAMBDA_ALWAYS_INLINE { sum[c][r] = V{}; }); });
  if (epilogue.add)
    unroll<C>([&](auto c) FBT_LAMBDA_ALWAYS_INLINE {
      unroll<R>([&](auto r) FBT_LAMBDA_ALWAYS_INLINE { FBT_PREFETCH(epilogue.add + c * epilogue.add_stride + r * width); });
    });
  const Scalar* xk = x.data;
  const auto advance = [&](auto) FBT_LAMBDA_ALWAYS_INLINE {
    Array<V, R> w;
    unroll<R>([&](auto r) FBT_LAMBDA_ALWAYS_INLINE { w[r] = load(panel + r * width); });
    panel += R * width;
    unroll<C>([&](auto c) FBT_LAMBDA_ALWAYS_INLINE { add_multiple<R>(sum[c], w, xk + c * x.column_stride); });
    xk += x.row_stride;
  };
  Index k = 0;
  for (; k + unrolled <= depth; k += unrolled) {
    for (int i = 0; i < lines; ++i, fetch += line_entries<Scalar>) FBT_PREFETCH_L2(fetch);
    unroll<unrolled>(advance);
  }
  for (; k < depth; ++k) advance(0);
  const auto write = [&](auto c, auto r, auto&& load_rows, auto&& store_rows) FBT_LAMBDA_ALWAYS_INLINE {
    V v = sum[c][r];  // written out: with apply() here g++ 12 keeps all sums in memory
    if (epilogue.bias) v += load_rows(epilogue.bias + r * width);
    if (epilogue.add) v += load_rows(epilogue.add + c * epilogue.add_stride + r * width);
    if (epilogue.relu) v = v < V{} ? V{} : v;
    store_rows(y + c * y_stride + r * width, v);
  };
  const auto load_all = [](const Scalar* p) FBT_LAMBDA_ALWAYS_INLINE { return load(p); };
  const auto store_all = [](Scalar* p, V v) FBT_LAMBDA_ALWAYS_INLINE { store(p, v); };
  if (rows == R * width) {
    unroll<C>([&](auto c) FBT_LAMBDA_ALWAYS_INLINE {
      unroll<R>([&](auto r) FBT_LAMBDA_ALWAYS_INLINE { write(c, r, load_all, store_all); });
    });
    return;
  }
  const Index last = rows - (R - 1) * width;  // rows in the last vector
  unroll<C>([&](auto c) FBT_LAMBDA_ALWAYS_INLINE {
    unroll<R - 1>([&](auto r) FBT_LAMBDA_ALWAYS_INLINE { write(c, r, load_all, store_all); });
    write(
        c, std::integral_constant<int, R - 1>{},
        [&](const Scalar* p) FBT_LAMBDA_ALWAYS_INLINE { return load_part(p, last); },
        [&](Scalar* p, V v) FBT_LAMBDA_ALWAYS_INLINE { store_part(p, v, last); });
  });
}

/// y (rows, columns) = epilogue of panel(R vectors, depth) x(depth, columns). Meanwhile fetches about as much from the given
/// place as the panel holds, if there is one. Not inlined: within some callers g++ 12 keeps the sums of a tile in memory.
template <int R, class Scalar>
FBT_NEVER_INLINE void block_product(const Scalar* panel, Index depth, Strided<Scalar> x, Index columns, Scalar* y,
                                    Index y_stride, Index rows, const Epilogue<Scalar>& epilogue, const Scalar* fetch) {
  constexpr int most = tile_columns(R), all_lines = R * unrolled * simd_width<Scalar> / line_entries<Scalar>;
  const int tiles = fetch ? static_cast<int>((columns + most - 1) / most) : 0;
  Index c = 0;
  int number = 0;
  const auto run_tiles = [&]<int C>(std::integral_constant<int, C>) {
    for (; c + C <= columns; c += C, ++number) {
      const int lines = number < tiles ? all_lines * (number + 1) / tiles - all_lines * number / tiles : 0;
      tile<R, C>(panel, depth, x.at(0, c), y + c * y_stride, y_stride, rows, epilogue.at(0, c), fetch, lines);
      fetch += depth / unrolled * lines * line_entries<Scalar>;
    }
  };
  run_tiles(std::integral_constant<int, most>{});
  if constexpr (most > 4) run_tiles(std::integral_constant<int, 4>{});
  run_tiles(std::integral_constant<int, 2>{});
  run_tiles(std::integral_constant<int, 1>{});
}

/// The same in blocks of about equal depth, each of which fetches the next one, or the first of the next panel.
template <int R, class Scalar>
void panel_product(const Scalar* panel, Index depth, Strided<Scalar> x, Index columns, Scalar* y, Index y_stride, Index rows,
                   const Epilogue<Scalar>& epilogue) {
  const Index blocks = std::max<Index>(1, (depth + block_depth - 1) / block_depth);
  for (Index i = 0, k0 = 0, deep = 0; i < blocks; ++i, k0 += deep) {
    deep = (depth - k0) / (blocks - i);
    if (i + 1 < blocks) deep = (deep + unrolled - 1) / unrolled * unrolled;
    const Scalar* const next = panel + deep * R * simd_width<Scalar>;
    Epilogue<Scalar> part = k0 == 0 ? epilogue : Epilogue<Scalar>{nullptr, y, y_stride};
    part.relu = epilogue.relu && k0 + deep == depth;
    block_product<R>(panel, deep, x.at(k0, 0), columns, y, y_stride, rows, part, next);
    panel = next;
  }
}

/// Calls f with the constant R in 1 .. 3 that is the number of vectors.
template <class F>
void with_vectors(Index vectors, F&& f) {
  if (vectors == 3) f(std::integral_constant<int, 3>{});
  if (vectors == 2) f(std::integral_constant<int, 2>{});
  if (vectors == 1) f(std::integral_constant<int, 1>{});
}

/// Rows of a whole panel. Threads share a product by whole panels, so that a row is computed the same with any number of
/// them; Eigen's products, too, which depend on where among others a row stands.
template <class Scalar>
inline constexpr Index panel_rows = has_simd<Scalar> ? panel_vectors* simd_width<Scalar> : 48;

/// How many vectors hold so many rows.
template <class Scalar>
constexpr Index vectors_of(Index rows) {
  return (rows + simd_width<Scalar> - 1) / simd_width<Scalar>;
}

/// Arranges one panel: `to` (depth, padded rows) = w (rows, depth), entry (i, k) of which is w[i * row_stride + k *
/// column_stride].
template <class Scalar>
void arrange_panel(const Scalar* w, Index rows, Index depth, Index row_stride, Index column_stride, Scalar* to) {
  const Index padded = vectors_of<Scalar>(rows) * simd_width<Scalar>;
  if (row_stride == 1) {
    for (Index k = 0; k < depth; ++k) {
      for_each_vector<Scalar>(rows, [&](Index i, auto&& load_rows, auto&&) {
        FBT_PREFETCH(w + (k + 16) * column_stride + i);
        store(to + k * padded + i, load_rows(w + k * column_stride + i));
      });
    }
    return;
  }
  for (Index k0 = 0; k0 < depth; k0 += 16) {  // 16 columns at a time, so that the strided stores stay in the cache
    const Index k1 = std::min(depth, k0 + 16);
    for (Index i = 0; i < rows; ++i)
      for (Index k = k0; k < k1; ++k) to[k * padded + i] = w[i * row_stride + k * column_stride];
    for (Index i = rows; i < padded; ++i)
      for (Index k = k0; k < k1; ++k) to[k * padded + i] = Scalar(0);
  }
}

}  // namespace detail

/// A matrix W (rows, depth) arranged for products with many right-hand sides. Reuses its storage when packed again.
template <class Scalar>
class Packed {
 public:
  /// W = w (rows, depth).
  void pack(const In<Scalar>& w, Team* team = nullptr) { arrange(w.data(), w.rows(), w.cols(), 1, w.outerStride(), team); }
  /// W = w^T, w (depth, rows).
  void pack_transposed(const In<Scalar>& w, Team* team = nullptr) {
    arrange(w.data(), w.cols(), w.rows(), w.outerStride(), 1, team);
  }

  Index rows() const { return rows_; }
  Index depth() const { return depth_; }

  /// y (rows, n) = epilogue of W x. x (depth, n).
  void multiply(const In<Scalar>& x, Out<Scalar> y, const Epilogue<Scalar>& epilogue = {}) const {
    multiply_rows(0, rows_, x, y, epilogue);
  }
  /// Only the given rows of y, from a multiple of detail::panel_rows on, up to another or the last.
  void multiply_rows(Index first, Index count, const In<Scalar>& x, Out<Scalar> y, const Epilogue<Scalar>& epilogue) const {
    eigen_assert(x.rows() == depth_ && y.rows() == rows_ && y.cols() == x.cols() && first + count <= rows_);
    if constexpr (detail::has_simd<Scalar>) {
      eigen_assert(first % detail::panel_rows<Scalar> == 0);
      const Scalar* panel = data_.data() + first * depth_;
      for (const Index end = first + count; first < end; first += detail::panel_rows<Scalar>) {
        const Index used = std::min(detail::panel_rows<Scalar>, end - first);
        const Index vectors = detail::vectors_of<Scalar>(used);
        detail::with_vectors(vectors, [&]<int R>(std::integral_constant<int, R>) {
          detail::panel_product<R>(panel, depth_, detail::Strided<Scalar>{x.data(), 1, x.outerStride()}, x.cols(),
                                   y.data() + first, y.outerStride(), used, epilogue.at(first, 0));
        });
        panel += vectors * detail::simd_width<Scalar> * depth_;
      }
    } else {
      const Eigen::Map<const Matrix<Scalar>> w(data_.data(), rows_, depth_);
      for (const Index end = first + count; first < end; first += detail::panel_rows<Scalar>) {
        const Index used = std::min(detail::panel_rows<Scalar>, end - first);
        for (Index c = 0; c < x.cols(); ++c) {  // one by one: what stands in other columns is not to matter
          const Vector<Scalar> product = w.middleRows(first, used) * x.col(c);
          for (Index i = 0; i < used; ++i) y(first + i, c) = epilogue.apply(product(i), first + i, c);
        }
      }
    }
  }

 private:
  // Entry (i, k) of W is w[i * row_stride + k * column_stride].
  void arrange(const Scalar* w, Index rows, Index depth, Index row_stride, Index column_stride, Team* team) {
    rows_ = rows;
    depth_ = depth;
    if constexpr (detail::has_simd<Scalar>) {
      constexpr Index width = detail::simd_width<Scalar>;
      detail::resize_exactly(data_, detail::vectors_of<Scalar>(rows) * width * depth);
      split_work(team, rows, detail::panel_rows<Scalar>, rows * depth, [&](Index first, Index count) {
        for (const Index end = first + count; first < end; first += detail::panel_rows<Scalar>) {
          const Index used = std::min(detail::panel_rows<Scalar>, end - first);
          detail::arrange_panel(w + first * row_stride, used, depth, row_stride, column_stride,
                                data_.data() + first * depth);
        }
      });
    } else {
      detail::resize_exactly(data_, rows * depth);
      using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
      Eigen::Map<Matrix<Scalar>>(data_.data(), rows, depth) =
          Eigen::Map<const Matrix<Scalar>, 0, Strides>(w, rows, depth, Strides(column_stride, row_stride));
    }
  }

  Index rows_ = 0, depth_ = 0;
  // panel after panel, each (depth, padded rows) with the rows adjacent
  detail::PageVector<Scalar> data_;
};

/// A Packed or CompactMatrix that copies of a Trace share, until one of them packs other weights.
template <class Matrix>
class SharedPack {
 public:
  bool has() const { return packed_ != nullptr; }
  const Matrix& operator*() const { return *packed_; }
  const Matrix* operator->() const { return packed_.get(); }
  /// To be packed: its storage again, or a new one where others use that.
  Matrix& own() {
    if (packed_.use_count() != 1) packed_ = std::make_shared<Matrix>();
    return *packed_;
  }

 private:
  std::shared_ptr<Matrix> packed_;
};

/// sum (m, k) += a (m, n) b (k, n)^T: the deferred gradient of a weight matrix, in pieces that fit the cache. A panel of a's
/// rows is rearranged in `panel`, which a caller keeps for further calls; b is read as it stands.
template <class Scalar>
void add_outer(const In<Scalar>& a, const In<Scalar>& b, Out<Scalar> sum, Vector<Scalar>& panel) {
  eigen_assert(a.cols() == b.cols() && sum.rows() == a.rows() && sum.cols() == b.rows());
  if constexpr (detail::has_simd<Scalar>) {
    constexpr Index deepest = 512, widest = 256;
    const Index needed = detail::panel_rows<Scalar> * std::min(deepest, a.cols());
    if (panel.size() < needed) panel.resize(needed);
    for (Index n0 = 0; n0 < a.cols(); n0 += deepest) {
      const Index depth = std::min(deepest, a.cols() - n0);
      for (Index k0 = 0; k0 < b.rows(); k0 += widest) {
        const Index columns = std::min(widest, b.rows() - k0);
        const detail::Strided<Scalar> x{b.data() + k0 + n0 * b.outerStride(), b.outerStride(), 1};
        for (Index first = 0; first < a.rows(); first += detail::panel_rows<Scalar>) {
          const Index used = std::min(detail::panel_rows<Scalar>, a.rows() - first);
          detail::arrange_panel(a.data() + first + n0 * a.outerStride(), used, depth, 1, a.outerStride(), panel.data());
          Scalar* const y = sum.data() + first + k0 * sum.outerStride();
          detail::with_vectors(detail::vectors_of<Scalar>(used), [&]<int R>(std::integral_constant<int, R>) {
            detail::block_product<R>(panel.data(), depth, x, columns, y, sum.outerStride(), used,
                                     Epilogue<Scalar>{nullptr, y, sum.outerStride()}, static_cast<const Scalar*>(nullptr));
          });
        }
      }
    }
  } else {
    sum.noalias() += a * b.transpose();
  }
}

}  // namespace fbt
