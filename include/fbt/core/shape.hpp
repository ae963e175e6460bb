// Shape: the size of a segment.
#pragma once

#include "fbt/core/parallel.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"

#include <type_traits>

namespace fbt {

/// How many parts share() may make.
inline Index parts_of(const Team* team) { return team ? team->threads() : 1; }

/// Calls f(first, count) or f(first, count, number) for parts of [0, total), together the whole: one part for each thread of the
/// team if the work is worth it, else one part in all. The parts begin at multiples of `unit`; work is about the number of
/// multiply-adds. Within f nothing may be shared again: parts of parts would have the same numbers.
template <class F>
void share(Team* team, Index total, Index unit, Index work, F&& f) {
  const auto call = [&f](Index first, Index count, Index number) {
    if constexpr (std::is_invocable_v<F, Index, Index, Index>) {
      f(first, count, number);
    } else {
      f(first, count);
    }
  };
  constexpr Index worthwhile = 1 << 16;
  if (parts_of(team) == 1 || work < worthwhile) return call(0, total, 0);
  const Index units = (total + unit - 1) / unit, parts = team->threads();
  team->run([&](Index i) {
    const Index first = units * i / parts * unit, end = std::min(total, units * (i + 1) / parts * unit);
    if (first < end) call(first, end - first, i);
  });
}

/// What a Trace is prepared for: T steps of B lanes, to be differentiated (train) or not (evaluate: no dropout).
struct Shape {
  Index steps = 1;
  Index lanes = 1;
  bool train = false;
  std::uint64_t seed = 0;  ///< of the dropout masks; every layer of a model derives its own from it
  /// Shares the work of a step, where that pays; the result is the same to the last bit. Has to live until accumulate().
  Team* team = nullptr;

  Index columns() const { return steps * lanes; }
  /// The same segment with the seed of the given child.
  Shape child(std::uint64_t number) const { return {steps, lanes, train, mix_seed(seed, number), team}; }
};

}  // namespace fbt
