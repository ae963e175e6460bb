// What depends on the compiler, its flags and the machine, in one place: the macros of the library, flags that it refuses,
// Eigen as it needs it, and the link error for files that are compiled for different vectors.
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

// g++ 12 takes the AVX-512 intrinsics that Eigen is written with for reads of what is not initialised (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <Eigen/Core>
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#pragma GCC diagnostic pop
#endif

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
// FBT_PREFETCH_L2 leaves the innermost cache as it is.
#if defined(__GNUC__)
#define FBT_PREFETCH(place) __builtin_prefetch(place)
#define FBT_PREFETCH_L2(place) __builtin_prefetch(place, 0, 2)
#define FBT_ALWAYS_INLINE [[gnu::always_inline]] inline
#define FBT_LAMBDA_ALWAYS_INLINE __attribute__((always_inline))
#define FBT_NEVER_INLINE [[gnu::noinline]]
#elif defined(_M_X64)
#include <intrin.h>
#define FBT_PREFETCH(place) _mm_prefetch(reinterpret_cast<const char*>(place), _MM_HINT_T0)
#define FBT_PREFETCH_L2(place) _mm_prefetch(reinterpret_cast<const char*>(place), _MM_HINT_T1)
#define FBT_ALWAYS_INLINE __forceinline
#define FBT_LAMBDA_ALWAYS_INLINE
#define FBT_NEVER_INLINE __declspec(noinline)
#else
#define FBT_PREFETCH(place) static_cast<void>(place)
#define FBT_PREFETCH_L2(place) static_cast<void>(place)
#define FBT_ALWAYS_INLINE inline
#define FBT_LAMBDA_ALWAYS_INLINE
#define FBT_NEVER_INLINE
#endif

// Files of one program that are compiled for different vectors disagree on what Eigen's inline functions and these do, of
// which a linker keeps one. So they do not link: each has a section named after its flags in one group of sections, of which
// the linker keeps that of the first file; and, in a group per flags, a reference to it. Link-time optimisation, which joins
// the files before that, is stopped by the assembler.
#if defined(__ELF__) && defined(__GNUC__)
#if !defined(EIGEN_VECTORIZE)
#define FBT_INSTRUCTIONS eigen_without
#elif defined(__AVX512F__)
#define FBT_INSTRUCTIONS avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define FBT_INSTRUCTIONS avx2_fma
#elif defined(__AVX2__)
#define FBT_INSTRUCTIONS avx2
#elif defined(__AVX__)
#define FBT_INSTRUCTIONS avx
#elif defined(__SSE4_1__)
#define FBT_INSTRUCTIONS sse4
#else
#define FBT_INSTRUCTIONS base
#endif
#define FBT_TEXT_OF(instructions, bytes, alignment) \
  "fbt_needs_the_same_vector_flags_in_all_files_" #instructions "_" #bytes "_" #alignment
#define FBT_TEXT(instructions, bytes, alignment) FBT_TEXT_OF(instructions, bytes, alignment)
#define FBT_VECTOR_FLAGS FBT_TEXT(FBT_INSTRUCTIONS, FBT_VECTOR_BYTES, EIGEN_MAX_ALIGN_BYTES)
// clang-format off
asm(".ifndef .Lfbt_vector_flags\n"
    ".set .L" FBT_VECTOR_FLAGS ", 0\n"
    ".pushsection " FBT_VECTOR_FLAGS ", \"aG\", %progbits, fbt_vector_flags, comdat\n"
    ".Lfbt_vector_flags: .byte 0\n"
    ".popsection\n"
    ".pushsection .fbt_vector_flags, \"aGR\", %progbits, " FBT_VECTOR_FLAGS ".user, comdat\n"
    ".long .Lfbt_vector_flags - .\n"
    ".popsection\n"
    ".endif\n"
    ".ifndef .L" FBT_VECTOR_FLAGS "\n"
    ".error \"" FBT_VECTOR_FLAGS "\"\n"
    ".endif");
// clang-format on
#endif

namespace fbt::detail {

// Eigen 3.4 writes multiply-adds for clang in assembly of the order of -masm=att. No macro tells of -masm=intel, but under it
// the assembler reads what stands behind the bar.
#if defined(__clang__) && defined(EIGEN_VECTORIZE_FMA) && (defined(__x86_64__) || defined(__i386__))
[[gnu::used]] inline void refuse_intel_order() {
  asm volatile("{|.error \"fbt: clang's -masm=intel makes the results of Eigen wrong: add -masm=att\"}" : : "i"(0));
}
#endif

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
