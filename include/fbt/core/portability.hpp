// What depends on the compiler, its flags and the machine, in one place: the macros of the library, flags that it refuses,
// and Eigen as it needs it.
#pragma once

// Flags that let a compiler reckon as if numbers were exact and finite. Of some no macro tells: under these the results are
// right, by FBT_STRICT_ARITHMETIC and by is_finite() of check.hpp.
#if defined(__FAST_MATH__)
#error "fbt: -ffast-math, which -Ofast and -ffp-model=fast include, makes its results wrong: add -fno-fast-math"
#elif defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#error "fbt: -ffinite-math-only removes its checks for numbers that are not finite: add -fno-finite-math-only"
#elif defined(__ASSOCIATIVE_MATH__)
#error \
    "fbt: -fassociative-math, which -funsafe-math-optimizations includes, makes its results wrong: add -fno-associative-math"
#elif defined(_M_FP_FAST)
#error "fbt: /fp:fast makes its results wrong: compile with /fp:precise"
#endif

#include <Eigen/Core>

#include <cstddef>
#include <type_traits>

static_assert(EIGEN_VERSION_AT_LEAST(3, 4, 0), "fbt needs Eigen 3.4 or newer");
static_assert(std::is_same_v<Eigen::Index, std::ptrdiff_t>,
              "fbt needs EIGEN_DEFAULT_DENSE_INDEX_TYPE to be std::ptrdiff_t, as it is when nobody defines it");

// FBT_VECTOR_BYTES: the size of the vectors that the kernels are written with, which g++ and clang share: as wide as the
// target's registers. 0 elsewhere, and with FBT_NO_VECTORS.
#if defined(FBT_NO_VECTORS) || !defined(__GNUC__) || !defined(__has_builtin)
#define FBT_VECTOR_BYTES 0
#elif !__has_builtin(__builtin_shufflevector) || (defined(__i386__) && !defined(__SSE2__))
#define FBT_VECTOR_BYTES 0
#elif defined(__AVX512F__)
#define FBT_VECTOR_BYTES 64
#elif defined(__AVX__)
#define FBT_VECTOR_BYTES 32
#else
#define FBT_VECTOR_BYTES 16
#endif

// FBT_STRICT_ARITHMETIC: the first line of a function whose result depends on the order of its operations.
#if defined(__clang__)
#define FBT_STRICT_ARITHMETIC _Pragma("clang fp reassociate(off)")
#else
#define FBT_STRICT_ARITHMETIC
#endif

// FBT_PREFETCH: fetches the line of the cache that holds a place, which may be any, also beyond an array.
#if defined(__GNUC__)
#define FBT_PREFETCH(place) __builtin_prefetch(place)
#define FBT_ALWAYS_INLINE [[gnu::always_inline]] inline
#define FBT_LAMBDA_ALWAYS_INLINE __attribute__((always_inline))
#define FBT_NEVER_INLINE [[gnu::noinline]]
#elif defined(_M_X64)
#include <intrin.h>
#define FBT_PREFETCH(place) _mm_prefetch(reinterpret_cast<const char*>(place), _MM_HINT_T0)
#define FBT_ALWAYS_INLINE __forceinline
#define FBT_LAMBDA_ALWAYS_INLINE
#define FBT_NEVER_INLINE __declspec(noinline)
#else
#define FBT_PREFETCH(place) static_cast<void>(place)
#define FBT_ALWAYS_INLINE inline
#define FBT_LAMBDA_ALWAYS_INLINE
#define FBT_NEVER_INLINE
#endif

namespace fbt::detail {

/// Tells the processor that this is a loop that waits.
FBT_ALWAYS_INLINE void pause() {
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
  __builtin_ia32_pause();
#elif defined(__GNUC__) && defined(__aarch64__)
  asm volatile("yield");
#elif defined(_M_X64)
  _mm_pause();
#endif
}

}  // namespace fbt::detail
