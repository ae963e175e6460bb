// A seeded generator that gives the same numbers with every compiler: xoshiro256++ (Blackman and Vigna, 2019), seeded
// by repeated steps of splitmix64. The distributions of <random> are left to the implementation, so they are not used.
#pragma once

#include "fbt/core/types.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace fbt {

/// One step of splitmix64: turns related seeds into unrelated ones.
inline std::uint64_t mix_seed(std::uint64_t seed) {
  std::uint64_t z = seed + 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
/// The seed of the given child of a seed.
inline std::uint64_t mix_seed(std::uint64_t seed, std::uint64_t child) { return mix_seed(mix_seed(seed) ^ child); }

class Random {
 public:
  using State = std::array<std::uint64_t, 4>;

  /// For objects whose numbers come from elsewhere: what it is to fill is left as it is, and no memory of that is touched.
  static Random idle() {
    Random random(0);
    random.idle_ = true;
    return random;
  }
  bool is_idle() const { return idle_; }

  explicit Random(std::uint64_t seed) {
    for (auto& word : state_) {
      seed = mix_seed(seed);
      word = seed;
    }
  }

  /// 64 uniform bits.
  std::uint64_t bits() {
    const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

  /// Uniform in [0, n), n > 0; the bias of less than n / 2^53 is accepted.
  Index below(Index n) { return static_cast<Index>(uniform() * static_cast<double>(n)); }

  /// Standard normal, by the polar method (Marsaglia and Bray, 1964).
  double normal() {
    for (;;) {
      const double u = 2 * uniform() - 1;
      const double v = 2 * uniform() - 1;
      const double s = u * u + v * v;
      if (s > 0 && s < 1) return u * std::sqrt(-2 * std::log(s) / s);
    }
  }

  const State& state() const { return state_; }
  void set_state(const State& state) { state_ = state; }

 private:
  State state_;
  bool idle_ = false;
};

/// Fills a matrix or vector with uniform numbers in [-bound, bound).
template <class Derived>
void fill_uniform(Eigen::DenseBase<Derived>& m, double bound, Random& random) {
  if (random.is_idle()) return;
  for (Index j = 0; j < m.cols(); ++j)
    for (Index i = 0; i < m.rows(); ++i)
      m.derived()(i, j) = static_cast<typename Derived::Scalar>(bound * (2 * random.uniform() - 1));
}

/// Fills a matrix or vector with normal numbers of the given standard deviation.
template <class Derived>
void fill_normal(Eigen::DenseBase<Derived>& m, double deviation, Random& random) {
  if (random.is_idle()) return;
  for (Index j = 0; j < m.cols(); ++j)
    for (Index i = 0; i < m.rows(); ++i)
      m.derived()(i, j) = static_cast<typename Derived::Scalar>(deviation * random.normal());
}

}  // namespace fbt
