// Products with weights of 16, 8 and 4 bits, for steps of few columns, whose time is that of reading the weights.
//
// Rows are cut into panels of 16, columns into blocks of 32. A block of a panel stands together in memory, in vectors of 64
// bytes:
//   bf16   16 vectors; the entry of 32 bits for a row holds two columns, the first in its lower half
//   int8   the 16 scales, 8 vectors; 4 bytes for a row hold 4 columns, each q + 128:   w = scale * q
//   int4   the 16 scales, 4 vectors; 4 bytes for a row hold 4 columns in their lower halves, each q + 8, and the columns 16
//          further on in the upper ones
// With int8 and int4 the columns x are rounded to 8 bits, too, with a scale for each block, and a block's sum of products is
// one of whole numbers: exact, and so the same with every processor's instructions.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/core/types.hpp"
#include "fbt/kernels/packed.hpp"
#include "fbt/kernels/pages.hpp"
#include "fbt/kernels/simd.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace fbt {

namespace detail {

inline constexpr Index compact_rows = 16, compact_depth = 32, compact_vector = 64;  // of a panel, of a block, bytes

/// Bytes of a block of a panel.
constexpr Index block_bytes(WeightFormat format) {
  return format == WeightFormat::bf16   ? 16 * compact_vector
         : format == WeightFormat::int8 ? 9 * compact_vector
                                        : 5 * compact_vector;
}

/// Where entry (r, k) of a block of bf16 stands.
constexpr Index half_place(Index r, Index k) {
  return compact_vector * (k / 2) + 4 * r + 2 * (std::endian::native == std::endian::little ? k % 2 : 1 - k % 2);
}

/// 32 entries of a column, rounded to whole numbers from -127 to 127: x = scale * q.
struct CompactColumn {
  std::int8_t q[compact_depth];
  float scale;
  std::int32_t sum;  ///< of q
};

/// 32 entries of a row of a matrix.
struct CompactRow {
  float scale = 0;                                    ///< of int8 and int4: w = scale * entry
  std::array<std::int16_t, compact_depth> entries{};  ///< of bf16 their bits
};

inline std::uint32_t float_bits(float x) { return std::bit_cast<std::uint32_t>(x); }

/// The upper half of a float's bits, rounded to the nearest, of two that are as near to the even one.
inline std::uint16_t to_bf16(float x) {
  if (is_nan(static_cast<double>(x))) return 0x7fc0;
  return static_cast<std::uint16_t>((float_bits(x) + 0x7fff + (float_bits(x) >> 16 & 1)) >> 16);
}

/// The entry of the greatest magnitude; NaN where one of the 32 is not finite.
inline float greatest_entry(const float* entries) {
  float result = 0;
  for (Index k = 0; k < compact_depth; ++k) {
    if (!is_finite(static_cast<double>(entries[k]))) return std::numeric_limits<float>::quiet_NaN();
    if (std::abs(entries[k]) > std::abs(result)) result = entries[k];
  }
  return result;
}
/// w / scale to the nearest whole number from least to most; 0 where there is no such scale.
inline int rounded_quotient(float w, float scale, int least, int most) {
  if (!is_finite(static_cast<double>(scale)) || std::abs(scale) < std::numeric_limits<float>::min()) return 0;
  return static_cast<int>(std::clamp(std::nearbyint(w / scale), static_cast<float>(least), static_cast<float>(most)));
}

/// Rounds 32 entries of a row.
inline CompactRow rounded_row(const float* w, WeightFormat format) {
  CompactRow result;
  if (format == WeightFormat::bf16) {
    for (Index k = 0; k < compact_depth; ++k)
      result.entries[static_cast<std::size_t>(k)] = std::bit_cast<std::int16_t>(to_bf16(w[k]));
    return result;
  }
  const bool bytes = format == WeightFormat::int8;
  // of 4 bits there are -8 to 7: the greatest becomes -8
  result.scale = bytes ? std::abs(greatest_entry(w)) / 127 : greatest_entry(w) / -8;
  for (Index k = 0; k < compact_depth; ++k)
    result.entries[static_cast<std::size_t>(k)] =
        static_cast<std::int16_t>(rounded_quotient(w[k], result.scale, bytes ? -127 : -8, bytes ? 127 : 7));
  return result;
}

/// Rounds a column of 32 entries of x.
inline CompactColumn compact_column(const float* x) {
  FBT_STRICT_ARITHMETIC
  CompactColumn result;
  float largest = 0;
  std::uint32_t magnitude = 0;  // of bits: that of what is not finite is beyond all others
  for (Index k = 0; k < compact_depth; ++k) {
    largest = std::max(largest, std::abs(x[k]));
    magnitude = std::max(magnitude, float_bits(x[k]) & 0x7fff'ffff);
  }
  const float factor = largest > std::numeric_limits<float>::min() * 127 ? 127 / largest : 0;
  constexpr float shift = 0x1.8p23f;  // adding it rounds to a whole number, which is then in the last bits
  result.sum = 0;
  for (Index k = 0; k < compact_depth; ++k) {
    result.q[k] = static_cast<std::int8_t>(float_bits(x[k] * factor + shift) & 0xff);
    result.sum += result.q[k];
  }
  const bool finite = magnitude < float_bits(std::numeric_limits<float>::infinity());
  result.scale = !finite ? std::numeric_limits<float>::quiet_NaN() : factor > 0 ? 1 / factor : 0;
  return result;
}

#if FBT_VECTOR_BYTES > 0

using CompactInts = std::int32_t __attribute__((vector_size(vector_bytes)));
inline constexpr int compact_parts = compact_vector / vector_bytes;  // vectors of a panel's rows

FBT_ALWAYS_INLINE CompactInts load_ints(const std::byte* from) {
  typedef std::int32_t unaligned __attribute__((vector_size(vector_bytes), aligned(4), may_alias));
  return *reinterpret_cast<const unaligned*>(from);
}
FBT_ALWAYS_INLINE std::int32_t load_int(const std::int8_t* from) {
  std::int32_t four;
  std::memcpy(&four, from, sizeof(four));
  return four;
}

// sum + w x: for every entry of 32 bits the four products of its bytes, those of w from 0 to 255 (or 15), those of x from
// -127 to 127. What is added beside that for each x of the sum, w_offset<format> times its sum, is taken off at the end.
#if defined(__AVX512VNNI__) || (defined(__AVXVNNI__) && FBT_VECTOR_BYTES == 32)
template <WeightFormat format>
inline constexpr std::int32_t w_offset = format == WeightFormat::int8 ? 128 : 8;
template <WeightFormat>
FBT_ALWAYS_INLINE CompactInts add_products(CompactInts sum, CompactInts w, CompactInts x) {
#if FBT_VECTOR_BYTES == 64
  return reinterpret_cast<CompactInts>(
      _mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(w), reinterpret_cast<__m512i>(x)));
#else
  return reinterpret_cast<CompactInts>(
      _mm256_dpbusd_avx_epi32(reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(w), reinterpret_cast<__m256i>(x)));
#endif
}
#elif defined(__AVX2__) && FBT_VECTOR_BYTES == 32
template <WeightFormat format>
inline constexpr std::int32_t w_offset = format == WeightFormat::int8 ? 0 : 8;
template <WeightFormat format>
FBT_ALWAYS_INLINE CompactInts add_products(CompactInts sum, CompactInts w, CompactInts x) {
  auto left = reinterpret_cast<__m256i>(w), right = reinterpret_cast<__m256i>(x);
  if constexpr (format == WeightFormat::int8) {  // |q| times x with the sign of q: pairs of products stay below 2^15
    const __m256i q = _mm256_xor_si256(left, _mm256_set1_epi8(-128));
    left = _mm256_abs_epi8(q);
    right = _mm256_sign_epi8(right, q);
  }
  return sum + reinterpret_cast<CompactInts>(_mm256_madd_epi16(_mm256_maddubs_epi16(left, right), _mm256_set1_epi16(1)));
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
template <WeightFormat format>
inline constexpr std::int32_t w_offset = format == WeightFormat::int8 ? 0 : 8;
template <WeightFormat format>
FBT_ALWAYS_INLINE CompactInts add_products(CompactInts sum, CompactInts w, CompactInts x) {
  auto q = reinterpret_cast<int8x16_t>(w);
  if constexpr (format == WeightFormat::int8) q = veorq_s8(q, vdupq_n_s8(-128));
  return reinterpret_cast<CompactInts>(vdotq_s32(reinterpret_cast<int32x4_t>(sum), q, reinterpret_cast<int8x16_t>(x)));
}
#else
template <WeightFormat format>
inline constexpr std::int32_t w_offset = format == WeightFormat::int8 ? 128 : 8;
template <WeightFormat>
FBT_ALWAYS_INLINE CompactInts add_products(CompactInts sum, CompactInts w, CompactInts x) {
  unroll<4>([&](auto i) { sum += (w << (24 - 8 * i) >> 24 & 0xff) * (x << (24 - 8 * i) >> 24); });
  return sum;
}
#endif

/// sum[r][c] (vectors of rows) = the product of the rows at w[r] with column c, all blocks one after the other.
template <WeightFormat format, int R, int C>
FBT_ALWAYS_INLINE void compact_tile(const std::byte** w, Index blocks, const float* x, Index x_stride,
                                    const CompactColumn* columns, Index column_stride,
                                    Array<Array<SimdOf<float>, C>, R>& sum) {
  using V = SimdOf<float>;
  unroll<R>([&](auto r) { unroll<C>([&](auto c) { sum[r][c] = V{}; }); });
  for (Index b = 0; b < blocks; ++b) {
    if constexpr (format == WeightFormat::bf16) {
      unroll<16>([&](auto j) FBT_LAMBDA_ALWAYS_INLINE {
        unroll<R>([&](auto r) FBT_LAMBDA_ALWAYS_INLINE {
          const auto both = std::bit_cast<typename Simd<float>::integers>(load_ints(w[r] + compact_vector * j));
          const V first = std::bit_cast<V>(both << 16), second = std::bit_cast<V>(both & 0xffff0000u);
          unroll<C>([&](auto c) FBT_LAMBDA_ALWAYS_INLINE {
            const float* const from = x + compact_depth * b + 2 * j + c * x_stride;
            sum[r][c] += first * broadcast(from[0]);
            sum[r][c] += second * broadcast(from[1]);
          });
        });
      });
    } else {
      unroll<R>([&](auto r) FBT_LAMBDA_ALWAYS_INLINE {
        Array<CompactInts, C> ints;
        unroll<C>([&](auto c) { ints[c] = CompactInts{}; });
        const auto multiply = [&](auto j, CompactInts v) FBT_LAMBDA_ALWAYS_INLINE {
          unroll<C>([&](auto c) FBT_LAMBDA_ALWAYS_INLINE {
            ints[c] = add_products<format>(ints[c], v, load_int(columns[b + c * column_stride].q + 4 * j) - CompactInts{});
          });
        };
        if constexpr (format == WeightFormat::int8) {
          unroll<8>([&](auto j) FBT_LAMBDA_ALWAYS_INLINE { multiply(j, load_ints(w[r] + compact_vector * (1 + j))); });
        } else {
          unroll<4>([&](auto j) FBT_LAMBDA_ALWAYS_INLINE {
            const CompactInts both = load_ints(w[r] + compact_vector * (1 + j));
            multiply(std::integral_constant<int, j>{}, both & 0x0f0f0f0f);
            multiply(std::integral_constant<int, j + 4>{}, both >> 4 & 0x0f0f0f0f);
          });
        }
        const V scale = load(reinterpret_cast<const float*>(w[r]));
        unroll<C>([&](auto c) FBT_LAMBDA_ALWAYS_INLINE {
          const CompactColumn& column = columns[b + c * column_stride];
          sum[r][c] += __builtin_convertvector(ints[c] - w_offset<format> * column.sum, V) * (scale * column.scale);
        });
      });
    }
    unroll<R>([&](auto r) { w[r] += block_bytes(format); });
  }
}

#endif

}  // namespace detail

/// Columns x (depth, n) as the products with a CompactMatrix read them.
class CompactColumns {
 public:
  /// Room for so many columns, of a matrix of any depth.
  void resize(Index depth, Index columns, WeightFormat format) {
    blocks_ = (depth + detail::compact_depth - 1) / detail::compact_depth;
    padded_.setZero(blocks_ * detail::compact_depth, columns);
    columns_.resize(static_cast<std::size_t>(format == WeightFormat::bf16 ? 0 : blocks_ * columns));
  }
  /// Takes x (depth, n).
  void take(const In<float>& x) {
    padded_.topRows(x.rows()) = x;
    if (columns_.empty()) return;
    for (Index c = 0; c < x.cols(); ++c)
      for (Index b = 0; b < blocks_; ++b)
        columns_[static_cast<std::size_t>(c * blocks_ + b)] =
            detail::compact_column(padded_.data() + c * padded_.rows() + b * detail::compact_depth);
  }

  const float* x(Index column) const { return padded_.data() + column * padded_.rows(); }
  const detail::CompactColumn* blocks(Index column) const {
    return columns_.empty() ? nullptr : columns_.data() + column * blocks_;
  }
  Index depth() const { return padded_.rows(); }  ///< a multiple of 32
  Index count() const { return padded_.cols(); }

 private:
  Matrix<float> padded_;  // (depth, n)
  std::vector<detail::CompactColumn> columns_;
  Index blocks_ = 0;
};

/// A matrix W (rows, depth) of 16, 8 or 4 bits an entry.
class CompactMatrix {
 public:
  /// W = w (rows, depth), rounded. An entry that is not finite makes its row's products so.
  void pack(const In<float>& w, WeightFormat format, Team* team = nullptr) {
    pack(w.rows(), w.cols(), format, team, [&](Index row, Index block) {
      float entries[detail::compact_depth]{};
      const Index first = block * detail::compact_depth, count = std::min(detail::compact_depth, w.cols() - first);
      for (Index k = 0; k < count; ++k) entries[k] = w(row, first + k);
      return detail::rounded_row(entries, format);
    });
  }
  /// From numbers that are rounded already: row_of(row, block) gives the CompactRow of 32 columns, zero beyond the depth.
  template <class RowOf>
  void pack(Index rows, Index depth, WeightFormat format, Team* team, RowOf&& row_of) {
    eigen_assert(format != WeightFormat::full);
    rows_ = rows;
    depth_ = depth;
    format_ = format;
    const Index panels = (rows + detail::compact_rows - 1) / detail::compact_rows;
    detail::resize_exactly(data_, panels * panel_bytes());
    split_work(team, panels, 1, rows * depth, [&](Index first, Index count) {
      for (Index panel = first; panel < first + count; ++panel) {
        for (Index b = 0; b < blocks(); ++b) {
          std::byte* const block = data_.data() + panel * panel_bytes() + b * detail::block_bytes(format);
          std::memset(block, 0, static_cast<std::size_t>(detail::block_bytes(format)));
          for (Index r = 0; r < detail::compact_rows; ++r) {
            const Index row = panel * detail::compact_rows + r;
            place(block, r, row < rows ? row_of(row, b) : detail::CompactRow{});
          }
        }
      }
    });
  }

  Index rows() const { return rows_; }
  Index depth() const { return depth_; }
  WeightFormat format() const { return format_; }
  Index bytes() const { return static_cast<Index>(data_.size()); }
  Index blocks() const { return (depth_ + detail::compact_depth - 1) / detail::compact_depth; }  ///< of 32 columns

  /// Only the given rows of y = epilogue of W x, from a multiple of detail::compact_rows on, up to another or the last. A
  /// column's result does not depend on the columns beside it.
  void multiply_rows(Index first, Index count, const CompactColumns& x, Out<float> y,
                     const Epilogue<float>& epilogue) const {
    eigen_assert(first % detail::compact_rows == 0 && y.rows() == rows_ && y.cols() == x.count());
    switch (format_) {
      case WeightFormat::full: break;
      case WeightFormat::bf16: return multiply<WeightFormat::bf16>(first, count, x, y, epilogue);
      case WeightFormat::int8: return multiply<WeightFormat::int8>(first, count, x, y, epilogue);
      case WeightFormat::int4: return multiply<WeightFormat::int4>(first, count, x, y, epilogue);
    }
  }

  /// The given 32 columns of a row, as they were rounded.
  detail::CompactRow row(Index row, Index block) const {
    const std::byte* const from =
        data_.data() + row / detail::compact_rows * panel_bytes() + block * detail::block_bytes(format_);
    const Index r = row % detail::compact_rows;
    detail::CompactRow result;
    if (format_ != WeightFormat::bf16) result.scale = scale(from, r);
    for (Index k = 0; k < detail::compact_depth; ++k)
      result.entries[static_cast<std::size_t>(k)] = static_cast<std::int16_t>(
          format_ == WeightFormat::int8   ? whole<WeightFormat::int8>(from, r, k)
          : format_ == WeightFormat::int4 ? whole<WeightFormat::int4>(from, r, k)
                                          : int{std::bit_cast<std::int16_t>(half_bits(from, r, k))});
    return result;
  }
  /// The entry as it was rounded.
  float operator()(Index row_, Index column) const {
    const detail::CompactRow entries = row(row_, column / detail::compact_depth);
    const std::int16_t entry = entries.entries[static_cast<std::size_t>(column % detail::compact_depth)];
    if (format_ != WeightFormat::bf16) return entries.scale * static_cast<float>(entry);
    return std::bit_cast<float>(std::uint32_t{std::bit_cast<std::uint16_t>(entry)} << 16);
  }

 private:
  Index panel_bytes() const { return blocks() * detail::block_bytes(format_); }

  // of entry (r, k) of a block
  static std::uint16_t half_bits(const std::byte* block, Index r, Index k) {
    std::uint16_t bits;
    std::memcpy(&bits, block + detail::half_place(r, k), sizeof(bits));
    return bits;
  }
  static float half(const std::byte* block, Index r, Index k) {
    return std::bit_cast<float>(std::uint32_t{half_bits(block, r, k)} << 16);
  }
  static float scale(const std::byte* block, Index r) {
    float result;
    std::memcpy(&result, block + 4 * r, sizeof(result));
    return result;
  }
  template <WeightFormat format>
  static int whole(const std::byte* block, Index r, Index k) {
    const std::byte* const from = block + detail::compact_vector + 4 * r;
    if constexpr (format == WeightFormat::int8)
      return static_cast<int>(from[detail::compact_vector * (k / 4) + k % 4]) - 128;
    const std::byte both = from[detail::compact_vector * (k % 16 / 4) + k % 4];
    return static_cast<int>(k < 16 ? both & std::byte{15} : both >> 4) - 8;
  }

  /// Writes row r of a block, which is zero.
  void place(std::byte* block, Index r, const detail::CompactRow& row) const {
    std::byte* const entries = block + detail::compact_vector;
    if (format_ != WeightFormat::bf16) std::memcpy(block + 4 * r, &row.scale, sizeof(row.scale));
    for (Index k = 0; k < detail::compact_depth; ++k) {
      const std::int16_t entry = row.entries[static_cast<std::size_t>(k)];
      switch (format_) {
        case WeightFormat::int8:
          entries[4 * r + detail::compact_vector * (k / 4) + k % 4] = static_cast<std::byte>(entry + 128);
          break;
        case WeightFormat::int4:
          entries[4 * r + detail::compact_vector * (k % 16 / 4) + k % 4] |=
              static_cast<std::byte>((entry + 8) << (k < 16 ? 0 : 4));
          break;
        default: std::memcpy(block + detail::half_place(r, k), &entry, sizeof(entry));
      }
    }
  }

  template <WeightFormat format>
  void multiply(Index first, Index count, const CompactColumns& x, Out<float> y, const Epilogue<float>& epilogue) const {
#if FBT_VECTOR_BYTES > 0
    constexpr Index streams = 4;  // panels far apart, which memory gives faster together
    const Index panels = (count + detail::compact_rows - 1) / detail::compact_rows, from = first / detail::compact_rows,
                apart = panels / streams;
    Index c = 0;
    const auto run = [&]<int C>(std::integral_constant<int, C>) {
      for (; c + C <= x.count(); c += C) {
        if constexpr (C == 1) {
          for (Index i = 0; i < apart; ++i) tile<format, streams, 1>(from + i, apart, c, x, y, epilogue);
          for (Index i = apart * streams; i < panels; ++i) tile<format, 1, 1>(from + i, 0, c, x, y, epilogue);
        } else {
          for (Index i = 0; i < panels; ++i) tile<format, 1, C>(from + i, 0, c, x, y, epilogue);
        }
      }
    };
    if constexpr (detail::many_registers) run(std::integral_constant<int, 8>{});
    run(std::integral_constant<int, 4>{});
    run(std::integral_constant<int, 2>{});
    run(std::integral_constant<int, 1>{});
#else
    for (Index c = 0; c < x.count(); ++c)
      for (Index i = first; i < first + count; ++i) y(i, c) = epilogue.apply(plain_product<format>(i, x, c), i, c);
#endif
  }

  /// A row's product with a column, in the order of the vectors.
  template <WeightFormat format>
  float plain_product(Index row, const CompactColumns& x, Index c) const {
    using namespace detail;
    const std::byte* block = data_.data() + row / compact_rows * panel_bytes();
    const Index r = row % compact_rows;
    float sum = 0;
    for (Index b = 0; b < blocks(); ++b, block += block_bytes(format)) {
      if constexpr (format == WeightFormat::bf16) {
        for (Index k = 0; k < compact_depth; ++k) sum += half(block, r, k) * x.x(c)[b * compact_depth + k];
      } else {
        const CompactColumn& column = x.blocks(c)[b];
        int products = 0;
        for (Index k = 0; k < compact_depth; ++k) products += whole<format>(block, r, k) * column.q[k];
        sum += static_cast<float>(products) * (scale(block, r) * column.scale);
      }
    }
    return sum;
  }

#if FBT_VECTOR_BYTES > 0
  /// N panels, `apart` from one another, times C columns.
  template <WeightFormat format, Index N, int C>
  FBT_NEVER_INLINE void tile(Index panel, Index apart, Index c, const CompactColumns& x, Out<float> y,
                             const Epilogue<float>& epilogue) const {
    using namespace detail;
    constexpr int parts = compact_parts, R = C > 1 ? 1 : static_cast<int>(N) * parts;
    constexpr Index width = simd_width<float>;
    const auto run = [&](int part) FBT_LAMBDA_ALWAYS_INLINE {  // of a panel's rows; all of them at once for a single column
      Array<const std::byte*, R> w;
      for (int r = 0; r < R; ++r)
        w[r] = data_.data() + (panel + r / parts * apart) * panel_bytes() + (part + r % parts) * vector_bytes;
      Array<Array<SimdOf<float>, C>, R> sum;
      compact_tile<format, R, C>(w, blocks(), x.x(c), x.depth(), x.blocks(c), blocks(), sum);
      for (int r = 0; r < R; ++r) {
        const Index row = (panel + r / parts * apart) * compact_rows + (part + r % parts) * width;
        const Index used = std::min(width, rows_ - row);
        if (used <= 0) continue;
        unroll<C>([&](auto k) {
          for_each_vector<float>(used, [&](Index i, auto&& load_rows, auto&& store_rows) {
            static_cast<void>(i);
            store_rows(y.data() + row + (c + k) * y.outerStride(), epilogue.apply(sum[r][k], row, c + k, load_rows));
          });
        });
      }
    };
    if constexpr (C > 1) {
      for (int part = 0; part < parts; ++part) run(part);
    } else {
      run(0);
    }
  }
#endif

  Index rows_ = 0, depth_ = 0;
  WeightFormat format_ = WeightFormat::bf16;
  detail::PageVector<std::byte> data_;  // panel after panel, each block after block
};

}  // namespace fbt
