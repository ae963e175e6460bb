// Segment: how many steps of how many lanes a Trace is prepared for.
#pragma once

#include "fbt/core/parallel.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"

namespace fbt {

/// What a Trace is prepared for: T steps of B lanes, to be differentiated (train) or not (evaluate: no dropout).
struct Segment {
  Index steps = 1;
  Index lanes = 1;
  bool train = false;
  std::uint64_t seed = 0;  ///< of the dropout masks; every layer of a model derives its own from it
  /// Shares the work of a step, where that pays; the result is the same to the last bit. Has to live until accumulate().
  Team* team = nullptr;

  Index columns() const { return steps * lanes; }
  /// The same segment with the seed of the given child.
  Segment child(std::uint64_t number) const { return {steps, lanes, train, mix_seed(seed, number), team}; }
};

}  // namespace fbt
