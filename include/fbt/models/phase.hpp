// Phase: what the State of a model has been through, and so which call may come next; and whose State it is.
#pragma once

#include "fbt/core/check.hpp"

#include <string_view>

namespace fbt {

enum class Phase {
  unprepared,  ///< a memory and nothing else
  stepping,    ///< made by start(): step() may come
  read,        ///< a segment that forward() has read without segment.train
  trained,     ///< one that it has read with segment.train: backward() may come
  reversed,    ///< one that backward() has gone through: accumulate() may come
};

// Each throws std::invalid_argument when its call may not come.

inline void check_may_step(std::string_view call, Phase phase) {
  check(phase == Phase::stepping, "{}: expected a state made by start(), found one {}", call,
        phase == Phase::unprepared ? "with nothing but a memory" : "that forward() has read a segment with");
}
inline void check_may_go_back(Phase phase) {
  check(phase == Phase::trained,
        "backward: expected a segment that forward() has read with segment.train, once each, found none");
}
inline void check_may_accumulate(Phase phase) {
  check(phase == Phase::reversed, "accumulate: expected a segment that backward() has gone through, found none");
}

// Each throws std::invalid_argument when the configs differ.

template <class AnyConfig>
void check_own_state(std::string_view call, const AnyConfig& own, const AnyConfig& of_state) {
  check(of_state == own, "{}: the state was made by a model of another config; use start()", call);
}
template <class AnyConfig>
void check_own_gradient(const AnyConfig& own, const AnyConfig& of_gradient) {
  check(of_gradient == own, "accumulate: expected a gradient made by zeros_like(model), found one of another config");
}

}  // namespace fbt
