// Lanes: environments side by side. One whose episode ends begins the next, while the others go on. Episodes are numbered in
// the order in which they begin, and each has random numbers of its own: they do not depend on what happens in other lanes.
#pragma once

#include "agent/environment.hpp"

#include "fbt/core/check.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace example::agent {

/// Makes a new environment of a task.
using EnvironmentMaker = std::function<std::unique_ptr<Environment>()>;

/// What became of an episode.
struct Episode {
  fbt::Index number = 0;
  fbt::Index steps = 0;
  double reward = 0;  ///< the sum: its return
  bool succeeded = false;
  fbt::Index places = 0;
};

/// The random numbers of an episode, of its environment and of what the agent does.
inline fbt::Random episode_random(std::uint64_t seed, fbt::Index number) {
  return fbt::Random(fbt::mix_seed(seed, static_cast<std::uint64_t>(number)));
}

class Lanes {
 public:
  /// count: B, at least 1.
  Lanes(const EnvironmentMaker& make, fbt::Index count, std::uint64_t seed) : seed_(seed) {
    fbt::check(count >= 1 && count <= 4096, "lanes must be from 1 to 4096, found {}", count);
    for (fbt::Index b = 0; b < count; ++b) lanes_.push_back({make(), fbt::Random(0), {}});
    seen_.resize(lanes_.front().environment->inputs(), count);
    starts_.resize(lanes_.size());
    for (fbt::Index b = 0; b < count; ++b) begin(b);
  }

  fbt::Index count() const { return static_cast<fbt::Index>(lanes_.size()); }
  /// What every lane sees now (inputs, B).
  const fbt::Matrix<float>& seen() const { return seen_; }
  /// (B): not 0 where that is the first of an episode.
  std::span<const std::uint8_t> starts() const { return starts_; }
  fbt::Random& random(fbt::Index lane) { return at(lane).random; }

  /// Acts in one lane; what it sees, and whether it starts, is then that of the next step, maybe of the next episode.
  Outcome act(fbt::Index lane, fbt::Index action) {
    Lane& l = at(lane);
    const Outcome outcome = l.environment->act(action, l.random);
    ++l.episode.steps;
    l.episode.reward += outcome.reward;
    if (outcome.ended) {
      l.episode.succeeded = l.environment->succeeded();
      l.episode.places = l.environment->places();
      ended_.push_back(l.episode);
      begin(lane);
    } else {
      look(lane, false);
    }
    return outcome;
  }

  /// The episodes that have ended since the last call.
  std::vector<Episode> take_ended() { return std::exchange(ended_, {}); }

 private:
  struct Lane {
    std::unique_ptr<Environment> environment;
    fbt::Random random;
    Episode episode;
  };

  Lane& at(fbt::Index lane) { return lanes_[static_cast<std::size_t>(lane)]; }

  void begin(fbt::Index lane) {
    Lane& l = at(lane);
    l.episode = {};
    l.episode.number = begun_++;
    l.random = episode_random(seed_, l.episode.number);
    l.environment->begin(l.random);
    look(lane, true);
  }
  void look(fbt::Index lane, bool start) {
    seen_.col(lane).setZero();
    at(lane).environment->observe(seen_.col(lane));
    starts_[static_cast<std::size_t>(lane)] = start;
  }

  std::uint64_t seed_;
  fbt::Index begun_ = 0;
  std::vector<Lane> lanes_;
  fbt::Matrix<float> seen_;
  std::vector<std::uint8_t> starts_;
  std::vector<Episode> ended_;
};

}  // namespace example::agent
