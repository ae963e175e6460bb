// Segment: how many steps of how many lanes a Trace is prepared for.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/core/parallel.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <cstdint>
#include <span>

namespace fbt {

/// How many steps' deltas a Trace keeps on the way back, until accumulate() has made parameter gradients of them.
constexpr Index delta_steps = 16;
/// Where the deltas of step t stand meanwhile.
constexpr Index delta_index(Index t) { return t % delta_steps; }

/// The way back through a segment: back(t) from its last step to its first, and accumulate(first, count) of the steps whose
/// deltas are kept before others take their places.
template <class Back, class Accumulate>
void walk_back(Index steps, Back&& back, Accumulate&& accumulate) {
  for (Index t = steps - 1; t >= 0; --t) {
    back(t);
    if (delta_index(t) == 0) accumulate(t, std::min(delta_steps, steps - t));
  }
}

/// What a Trace is prepared for: T steps of B lanes, to be differentiated (train) or not (evaluate: no dropout).
struct Segment {
  Index steps = 1;
  Index lanes = 1;
  bool train = false;
  std::uint64_t seed = 0;  ///< of the dropout masks; every layer of a model derives its own from it
  /// Shares the work of a step, where that pays; the result is the same to the last bit. Has to live until the last
  /// accumulate().
  Team* team = nullptr;
  /// (T*B), or empty: not 0 where a lane begins anew with this step, with nothing remembered. Gradients stop there. Has to
  /// live as long as the team.
  std::span<const std::uint8_t> starts = {};
  /// Weights that a Trace has packed already, and that have not changed since, are not packed again: for Traces that share
  /// them.
  bool keep_packed = false;
  WeightFormat weights = WeightFormat::full;  ///< others need a segment that is not to be differentiated
  /// Keeps less: a FeedbackCore's blocks keep what they need of delta_steps steps only, and go through these steps once more
  /// on the way back (gradient checkpointing; Chen et al., 2016). The result is the same to the last bit. Weights that have
  /// changed since are refused when they are needed again, in the middle of the walk back.
  bool recompute = false;
  /// Of a part that is prepared for another group() of a segment's steps: weights that have changed since are refused.
  bool again = false;
  Index first_group = 0;  ///< of group(): how many groups come before, since dropout masks are drawn group by group

  Index columns() const { return steps * lanes; }
  /// Of the deltas that are kept: those of delta_steps steps at most.
  Index delta_columns() const { return std::min(steps, delta_steps) * lanes; }
  /// Steps g * delta_steps and on, at most so many: what a part of a model is prepared for that keeps no more of a segment.
  Segment group(Index g) const {
    Segment result = *this;
    result.steps = std::min(steps, delta_steps);
    result.first_group = g;
    return result;
  }
  /// Whether parts that are prepared for a group() of steps have to be prepared for several, one after the other.
  bool in_groups() const { return recompute && steps > delta_steps; }
  /// The same segment with the seed of the given child.
  Segment child(std::uint64_t number) const {
    Segment result = *this;
    result.seed = mix_seed(seed, number);
    return result;
  }
  /// Whether a lane begins anew with step t.
  bool starts_at(Index t, Index lane) const {
    return !starts.empty() && starts[static_cast<std::size_t>(t * lanes + lane)] != 0;
  }
  /// Throws std::invalid_argument unless there is a start for every step and lane, or none at all.
  void check_starts() const {
    check(starts.empty() || static_cast<Index>(starts.size()) == columns(),
          "expected {} starts ({} steps of {} lanes), found {}", columns(), steps, lanes, starts.size());
  }
};

/// Keeps the verbs of a segment in their order: forward() from step 0 to T - 1, backward() from T - 1 to 0, and accumulate()
/// of the steps since the last one, as walk_back() calls them. Each throws std::invalid_argument when its call may not come.
class StepOrder {
 public:
  void prepare(const Segment& segment) { *this = StepOrder(segment.steps, segment.train); }

  /// Whether prepare() has been called.
  void check_prepared() const {
    check(steps_ > 0, "forward: expected a Trace that prepare() has sized, found one that it has not");
  }
  /// Step 0 may come again until a walk back has begun: it begins the segment anew.
  void forward(Index t) {
    check_forward(t);
    done_ = t + 1;
    left_ = train_ && done_ == steps_ ? steps_ : -1;
  }
  void check_forward(Index t) const {
    check_prepared();
    check(left_ < 0 || left_ == steps_, "forward: expected prepare() after a walk back, before the next segment is read");
    check(t >= 0 && t < steps_ && (t == 0 || t == done_), "forward: expected step {} of a segment of {}, found {}", done_,
          steps_, t);
  }
  /// How many steps forward() has read.
  Index steps_read() const { return done_; }
  /// Whether a walk back may begin.
  void check_read() const {
    check(left_ == steps_ && steps_ > 0,
          "backward: expected a segment that forward() has read with segment.train, once each, found none");
  }
  void backward(Index t) {
    check_backward(t);
    --left_;
    ++kept_;
  }
  void check_backward(Index t) const {
    if (left_ < 1) check_read();
    check(t == left_ - 1, "backward: expected step {}, found {}", left_ - 1, t);
    check(kept_ == 0 || delta_index(t) != delta_steps - 1,
          "backward: expected accumulate() of steps {} to {} before step {}", left_, left_ + kept_ - 1, t);
  }
  void accumulate(Index first, Index count) {
    check(kept_ > 0, "accumulate: expected steps that backward() has gone through since the last time, found none");
    check(first == left_ && count == kept_, "accumulate: expected the {} steps from {} on, found {} from {} on", kept_,
          left_, count, first);
    kept_ = 0;
  }

  StepOrder() = default;

 private:
  StepOrder(Index steps, bool train) : steps_(steps), train_(train) {}

  Index steps_ = 0;
  Index done_ = 0;   // steps that forward() has read
  Index left_ = -1;  // steps that backward() has yet to walk; negative: it may not begin
  Index kept_ = 0;   // steps that it has walked since the last accumulate()
  bool train_ = false;
};

}  // namespace fbt
