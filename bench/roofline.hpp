// Roofline: what this machine can do at most, measured as simply as possible: multiply-adds in registers, and reading
// memory.
#pragma once

#include "support/stopwatch.hpp"

#include "fbt/core/check.hpp"
#include "fbt/core/parallel.hpp"
#include "fbt/kernels/simd.hpp"

#include <algorithm>
#include <array>
#include <barrier>
#include <cstddef>
#include <vector>

namespace bench {

namespace detail {

static_assert(fbt::detail::has_simd<float>, "the roofline is measured with the vectors of kernels/simd.hpp");
using Vector = fbt::detail::SimdOf<float>;
inline constexpr fbt::Index vector_floats = fbt::detail::simd_width<float>;

/// Makes the compiler believe that the value is needed.
inline void keep(float value) {
  volatile float sink = value;
  static_cast<void>(sink);
}

/// Runs f() on several threads that start together, some times over. Returns the seconds of the slowest thread in the best
/// round.
template <class F>
double best_seconds(fbt::Index threads, F&& f) {
  constexpr int rounds = 8;
  std::barrier start(threads);
  std::vector<std::vector<double>> seconds(static_cast<std::size_t>(threads), std::vector<double>(rounds));
  const auto work = [&](fbt::Index thread) {
    auto run = f(thread);  // allocates, and touches its memory first
    for (double& round : seconds[static_cast<std::size_t>(thread)]) {
      start.arrive_and_wait();
      const example::Stopwatch clock;
      keep(run());
      round = clock.seconds();
    }
  };
  fbt::parallel_for(threads, threads, work);
  double best = 0;
  for (std::size_t i = 0; i < rounds; ++i) {
    double slowest = 0;
    for (const auto& thread : seconds) slowest = std::max(slowest, thread[i]);
    best = i == 0 ? slowest : std::min(best, slowest);
  }
  return best;
}

}  // namespace detail

namespace detail {

inline constexpr int chains = 12;  // more than latency times units of any processor so far, and few enough for 16 registers

/// So many steps of x = x * factor + term of every chain, chain i from the vector of i on. What the compiler knew of factor
/// and term it could leave out: they come at run time.
inline std::array<Vector, chains> run_chains(fbt::Index steps, float factor, float term) {
  const Vector factors = Vector{} + factor, terms = Vector{} + term;
  Vector x[chains];
  fbt::detail::unroll<chains>([&](auto i) { x[i] = Vector{} + static_cast<float>(i); });
  for (fbt::Index step = 0; step < steps; ++step)
    fbt::detail::unroll<chains>([&](auto i) { x[i] = x[i] * factors + terms; });
  std::array<Vector, chains> result;
  fbt::detail::unroll<chains>([&](auto i) { result[static_cast<std::size_t>(i)] = x[i]; });
  return result;
}

/// Throws unless every chain has taken every step: factor 1 and term 1 count them.
inline void check_chains() {
  volatile float one = 1;
  const fbt::Index steps = 1000;
  const auto found = run_chains(steps, one, one);
  for (std::size_t i = 0; i < chains; ++i)
    for (fbt::Index k = 0; k < vector_floats; ++k)
      fbt::ensure(found[i][k] == static_cast<float>(i) + static_cast<float>(steps),
                  "chain {} of multiply-adds has taken {} steps, expected {}", i, found[i][k] - static_cast<float>(i),
                  steps);
}

}  // namespace detail

/// FLOP/s of float multiply-adds (2 FLOP each) on the given number of threads together.
inline double multiply_add_peak(fbt::Index threads) {
  detail::check_chains();
  constexpr fbt::Index steps = 1'000'000;
  const auto make = [](fbt::Index) {
    return [] {
      volatile float factor = 0.999f, term = 0.001f;
      detail::Vector sum{};
      for (const detail::Vector& x : detail::run_chains(steps, factor, term)) sum += x;
      return fbt::detail::sum<float>(sum);
    };
  };
  const double seconds = detail::best_seconds(threads, make);
  return 2.0 * detail::chains * steps * static_cast<double>(detail::vector_floats * threads) / seconds;
}

namespace detail {

/// Bytes per second of threads that each read their equal part of the working set again and again, from so many places at
/// once.
template <int streams>
double read_streams(double working_set, fbt::Index threads) {
  constexpr int sums = 8, sums_each = sums / streams;
  constexpr fbt::Index stride = sums_each * vector_floats;
  const auto floats_each = static_cast<fbt::Index>(working_set / sizeof(float)) / (threads * streams);
  const fbt::Index length = std::max<fbt::Index>(1, floats_each / stride) * stride;  // of a stream
  const fbt::Index passes = std::max<fbt::Index>(2, (fbt::Index{1} << 27) / (length * streams));
  const auto make = [=](fbt::Index) {
    return [=, data = fbt::Vector<float>(fbt::Vector<float>::Ones(length * streams))] {
      Vector sum[sums]{};
      for (fbt::Index pass = 0; pass < passes; ++pass) {
        for (fbt::Index i = 0; i < length; i += stride) {
          fbt::detail::unroll<sums>([&](auto k) {
            sum[k] += fbt::detail::load(data.data() + k / sums_each * length + i + k % sums_each * vector_floats);
          });
        }
      }
      Vector total{};
      fbt::detail::unroll<sums>([&](auto k) { total += sum[k]; });
      return fbt::detail::sum<float>(total);
    };
  };
  return static_cast<double>(passes * length * streams * threads) * sizeof(float) / best_seconds(threads, make);
}

}  // namespace detail

/// Bytes per second that the given number of threads read together when each reads its equal part of the working set again
/// and again.
inline double read_bandwidth(double working_set, fbt::Index threads) {
  // outside the caches several streams at once are faster, within them often one
  return std::max({detail::read_streams<1>(working_set, threads), detail::read_streams<4>(working_set, threads),
                   detail::read_streams<8>(working_set, threads)});
}

}  // namespace bench
