// The vectors that the kernels of this folder are written with: those that g++ and clang share, as wide as the target's
// registers. Elsewhere, with FBT_NO_VECTORS, and for scalars other than float and double, has_simd is false and the kernels
// use Eigen.
#pragma once

#include "fbt/core/types.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace fbt::detail {

/// Entries in a line of the cache, which is what a prefetch fetches. A prefetch may name any place, also beyond an array.
template <class Scalar>
inline constexpr Index line_entries = 64 / Index{sizeof(Scalar)};

/// An array of N entries, where N is signed as sizes are here.
template <class T, auto N>
using Array = T[static_cast<std::size_t>(N)];

#if FBT_VECTOR_BYTES > 0
inline constexpr int vector_bytes = FBT_VECTOR_BYTES;

template <class Scalar>
struct Simd;
template <>
struct Simd<float> {
  typedef float type __attribute__((vector_size(vector_bytes)));
  typedef float unaligned __attribute__((vector_size(vector_bytes), aligned(4), may_alias));
  typedef std::uint32_t integers __attribute__((vector_size(vector_bytes)));
  static constexpr int mantissa_bits = 23, exponent_bias = 127, exp_degree = 7;
  static constexpr float exp_lowest = -87;
};
template <>
struct Simd<double> {
  typedef double type __attribute__((vector_size(vector_bytes)));
  typedef double unaligned __attribute__((vector_size(vector_bytes), aligned(8), may_alias));
  typedef std::uint64_t integers __attribute__((vector_size(vector_bytes)));
  static constexpr int mantissa_bits = 52, exponent_bias = 1023, exp_degree = 13;
  static constexpr double exp_lowest = -708;
};

template <class Scalar>
inline constexpr bool has_simd = std::is_same_v<Scalar, float> || std::is_same_v<Scalar, double>;
template <class Scalar>
inline constexpr int simd_width = vector_bytes / int{sizeof(Scalar)};
template <class Scalar>
using SimdOf = typename Simd<Scalar>::type;

/// Calls f with the constants 0 .. N - 1, so that arrays indexed by them can live in registers.
template <int N, class F>
FBT_ALWAYS_INLINE void unroll(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) FBT_LAMBDA_ALWAYS_INLINE { (f(std::integral_constant<int, i>{}), ...); }
  (std::make_integer_sequence<int, N>{});
}

/// All entries x. Subtracting zero, unlike adding it, changes no number, so that compilers leave a plain broadcast.
template <class Scalar>
FBT_ALWAYS_INLINE SimdOf<Scalar> broadcast(Scalar x) {
  return x - SimdOf<Scalar>{};
}

template <class Scalar>
FBT_ALWAYS_INLINE SimdOf<Scalar> load(const Scalar* from) {
  return *reinterpret_cast<const typename Simd<Scalar>::unaligned*>(from);
}
template <class Scalar>
FBT_ALWAYS_INLINE void store(Scalar* to, SimdOf<Scalar> v) {
  *reinterpret_cast<typename Simd<Scalar>::unaligned*>(to) = v;
}

/// The first n < simd_width entries; the others are 0.
template <class Scalar>
FBT_ALWAYS_INLINE SimdOf<Scalar> load_part(const Scalar* from, Index n) {
#if defined(__AVX512F__)
  const unsigned mask = (1u << n) - 1;
  if constexpr (std::is_same_v<Scalar, float>) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from);
  } else {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), from);
  }
#elif defined(__AVX2__)
  // the last n of the ones, in front of zeros
  alignas(64) static constexpr std::int32_t ones_and_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  if constexpr (std::is_same_v<Scalar, float>) {
    return _mm256_maskload_ps(from, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ones_and_zeros + 8 - n)));
  } else {
    return _mm256_maskload_pd(from, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ones_and_zeros + 8 - 2 * n)));
  }
#else
  std::array<Scalar, simd_width<Scalar>> buffer{};
  for (Index i = 0; i < n; ++i) buffer[static_cast<std::size_t>(i)] = from[i];
  return load(buffer.data());
#endif
}
template <class Scalar>
FBT_ALWAYS_INLINE void store_part(Scalar* to, SimdOf<Scalar> v, Index n) {
#if defined(__AVX512F__)
  const unsigned mask = (1u << n) - 1;
  if constexpr (std::is_same_v<Scalar, float>) {
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>(mask), v);
  } else {
    _mm512_mask_storeu_pd(to, static_cast<__mmask8>(mask), v);
  }
#else
  // a half, a quarter, ... of a vector: few stores
  std::array<Scalar, simd_width<Scalar>> buffer;
  store(buffer.data(), v);
  const Scalar* from = buffer.data();
  unroll<4>([&](auto k) FBT_LAMBDA_ALWAYS_INLINE {
    constexpr int part = simd_width<Scalar> / (2 << k);
    if (part > 0 && (n & part) != 0) {
      std::memcpy(to, from, part * sizeof(Scalar));
      to += part;
      from += part;
    }
  });
#endif
}

/// Runs f(offset, load, store) over n entries, a vector at a time: load(pointer) and store(pointer, v) touch only entries
/// below n.
template <class Scalar, class F>
FBT_ALWAYS_INLINE void for_each_vector(Index n, F&& f) {
  constexpr Index width = simd_width<Scalar>;
  Index i = 0;
  for (; i + width <= n; i += width)
    f(
        i, [](const Scalar* p) { return load(p); }, [](Scalar* p, SimdOf<Scalar> v) { store(p, v); });
  if (const Index rest = n - i; rest > 0)
    f(
        i, [rest](const Scalar* p) { return load_part(p, rest); },
        [rest](Scalar* p, SimdOf<Scalar> v) { store_part(p, v, rest); });
}

/// The sums of the N = simd_width vectors v[0] .. v[N - 1], as the entries of one vector. Destroys v.
template <class Scalar>
FBT_ALWAYS_INLINE SimdOf<Scalar> sums(SimdOf<Scalar>* v) {
  constexpr int width = simd_width<Scalar>;
  // In the round of stride s, vectors c and c + s are folded into one: entries whose bit s is clear belong to c.
  const auto fold = [&]<int s, int... i>(std::integral_constant<int, s>, std::integer_sequence<int, i...>)
      FBT_LAMBDA_ALWAYS_INLINE {
    unroll<width / (2 * s)>([&](auto c) FBT_LAMBDA_ALWAYS_INLINE {
      const auto a = v[2 * s * c], b = v[2 * s * c + s];
      v[2 * s * c] = __builtin_shufflevector(a, b, (i & s ? width + i : i)...) +
                     __builtin_shufflevector(a, b, (i & s ? width + i - s : i + s)...);
    });
  };
  unroll<8>([&](auto round) FBT_LAMBDA_ALWAYS_INLINE {
    constexpr int s = 1 << round;
    if constexpr (s < width) fold(std::integral_constant<int, s>{}, std::make_integer_sequence<int, width>{});
  });
  return v[0];
}
/// op over all entries of one vector; op takes and gives vectors.
template <class Scalar, class Op>
FBT_ALWAYS_INLINE Scalar reduce(SimdOf<Scalar> v, Op&& op) {
  const auto fold = [&]<int s, int... i>(std::integral_constant<int, s>, std::integer_sequence<int, i...>)
      FBT_LAMBDA_ALWAYS_INLINE {
    v = op(v, __builtin_shufflevector(v, v, (i ^ s)...));
  };
  unroll<8>([&](auto round) FBT_LAMBDA_ALWAYS_INLINE {
    constexpr int s = 1 << round;
    if constexpr (s < simd_width<Scalar>)
      fold(std::integral_constant<int, s>{}, std::make_integer_sequence<int, simd_width<Scalar>>{});
  });
  return v[0];
}
template <class Scalar>
FBT_ALWAYS_INLINE Scalar sum(SimdOf<Scalar> v) {
  return reduce<Scalar>(v, [](auto a, auto b) { return a + b; });
}
template <class Scalar>
FBT_ALWAYS_INLINE Scalar largest(SimdOf<Scalar> v) {
  return reduce<Scalar>(v, [](auto a, auto b) { return a > b ? a : b; });
}

/// exp(x) for x <= 0 and not much below the smallest normal result: x = n log 2 + r, exp(x) = 2^n * (Taylor series of
/// exp(r)). The series ends where its rest, for |r| <= log(2) / 2, is a tenth of the last place.
template <class Scalar>
FBT_ALWAYS_INLINE SimdOf<Scalar> exp_negative(SimdOf<Scalar> x) {
  FBT_STRICT_ARITHMETIC
  using T = Simd<Scalar>;
  using V = SimdOf<Scalar>;
  using I = typename T::integers;
  constexpr Scalar shift =
      Scalar(3) * Scalar(std::uint64_t{1} << (T::mantissa_bits - 1));  // adding it rounds to a whole number
  constexpr Scalar log2_high = std::is_same_v<Scalar, float> ? Scalar(0x1.62ep-1) : Scalar(0x1.62e42feep-1);
  constexpr Scalar log2_low = std::is_same_v<Scalar, float> ? Scalar(0x1.0bfbe8e7bcd5ep-15) : Scalar(0x1.a39ef35793c76p-33);
  const V lowest = broadcast(T::exp_lowest);
  x = x < lowest ? lowest : x;
  const V shifted = x * Scalar(1.4426950408889634074) + shift;
  const V n = shifted - shift;
  const V r = (x - n * log2_high) - n * log2_low;
  V series = broadcast(Scalar(1));
  unroll<T::exp_degree>([&](auto i) FBT_LAMBDA_ALWAYS_INLINE {
    series = series * r * (Scalar(1) / Scalar(T::exp_degree - i)) + Scalar(1);  // Horner: 1 + r/k * (...)
  });
  const I power = (std::bit_cast<I>(shifted) + T::exponent_bias) << T::mantissa_bits;  // 2^n
  return series * std::bit_cast<V>(power);
}

#else
template <class Scalar>
inline constexpr bool has_simd = false;
template <class Scalar>
inline constexpr int simd_width = 1;
template <class Scalar>
using SimdOf = Scalar;
template <class Scalar, class F>
void for_each_vector(Index n, F&& f);  // never called, but has to be declared where kernels name it
#endif

}  // namespace fbt::detail
