// Budget: how far a training is within its limits, and when to evaluate.
#pragma once

#include "support/stopwatch.hpp"

#include "fbt/core/check.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

namespace example {

/// Of a whole training, all its runs together. 0: none.
struct Limits {
  std::int64_t updates = 0;
  double seconds = 0;
};

/// The limits of a training that goes on: those given for this run (updates of the whole training, seconds more; 0: not
/// given), or those that it had. Throws std::invalid_argument when it has reached its end; folder is for the message.
inline Limits go_on(const Limits& given, const Limits& before, double elapsed, bool ended, const std::string& folder) {
  const bool any = given.updates > 0 || given.seconds > 0;
  fbt::check(any || !ended, "the training in {} has reached its end; give --updates (in all) or --seconds (more) to go on",
             folder);
  return any ? Limits{given.updates, given.seconds > 0 ? elapsed + given.seconds : 0} : before;
}

class Budget {
 public:
  /// before: seconds of earlier runs. clock: of this run. evaluate_every: updates, 0: automatic.
  Budget(const Limits& limits, double before, const Stopwatch& clock, std::int64_t evaluate_every)
      : limits_(limits), before_(before), clock_(clock), evaluate_every_(evaluate_every) {}

  /// Seconds of training so far, pauses between runs left out.
  double elapsed() const { return before_ + clock_.seconds(); }

  /// Tells what was spent, in seconds.
  void spent_on_update(double seconds) {
    ++updates_;
    update_ += seconds;
  }
  void spent_on_evaluation(double seconds) {
    evaluation_ = std::max(evaluation_, seconds);
    evaluated_at_ = elapsed();
  }
  void spent_on_save(double seconds) { save_ = std::max(save_, seconds); }

  /// A guess of what the first evaluation takes: on a token, a third of what an update does.
  void expect_evaluation(double tokens, double tokens_per_update) { guess_in_updates_ = tokens / tokens_per_update / 3; }
  double evaluation_seconds() const { return evaluation_ > 0 ? evaluation_ : guess_in_updates_ * update_seconds(); }
  /// The most that an evaluation should take: a fifth of this run.
  double longest_evaluation() const {
    return limits_.seconds > 0 ? (limits_.seconds - before_) / 5 : std::numeric_limits<double>::infinity();
  }

  /// The share of the training that is done after the given number of updates; 1 when a limit is reached. The limit in
  /// seconds leaves room for a last evaluation and save.
  double progress(std::int64_t updates) const {
    double share = 0;
    if (limits_.updates > 0) share = static_cast<double>(updates) / static_cast<double>(limits_.updates);
    if (limits_.seconds > 0) {
      const double last = std::min(evaluation_seconds(), longest_evaluation()) + save_;
      const double usable = limits_.seconds - 1.5 * last - update_seconds();
      share = std::max(share, elapsed() < usable ? elapsed() / usable : 1.0);
    }
    return std::min(share, 1.0);
  }

  /// Whether to evaluate after the given number of updates, which are the given share of the training.
  bool evaluation_due(std::int64_t updates, double progress) const {
    if (progress >= 1) return true;
    if (evaluate_every_ > 0) return updates % evaluate_every_ == 0;
    if (limits_.seconds <= 0) return updates % std::max<std::int64_t>(1, limits_.updates / 5) == 0;
    // early, to learn what it costs; then for at most a twentieth of the time, and not just before the last one
    const double run = limits_.seconds - before_;
    const double next = evaluated_at_ > 0 ? evaluated_at_ + std::max(run / 5, 20 * evaluation_) : before_ + run / 20;
    return elapsed() >= next && progress < 0.9;
  }

  /// Until the nearer limit.
  double seconds_left(std::int64_t updates) const {
    double left = std::numeric_limits<double>::infinity();
    if (limits_.updates > 0) left = static_cast<double>(limits_.updates - updates) * update_seconds();
    if (limits_.seconds > 0) left = std::min(left, limits_.seconds - elapsed());
    return left;
  }

 private:
  double update_seconds() const { return updates_ > 0 ? update_ / static_cast<double>(updates_) : 0; }

  Limits limits_;
  double before_;
  const Stopwatch& clock_;
  std::int64_t evaluate_every_;
  std::int64_t updates_ = 0;  // of this run
  double update_ = 0;         // all updates of this run together
  double evaluation_ = 0, save_ = 0, guess_in_updates_ = 0, evaluated_at_ = 0;
};

}  // namespace example
