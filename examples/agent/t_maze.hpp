// T-maze (Bakker, "Reinforcement Learning with Long Short-Term Memory", 2001): a corridor with a junction at its end. At the
// first step a cue tells the side to turn to there; after that the agent sees only whether it is in the corridor or at the
// junction. Actions: forward, left, right. In the corridor left and right, and at the junction forward, leave it where it is
// and cost 0.1. A turn at the junction ends the episode: 1 for the right side, -1 for the other. So do 4 N + 10 steps.
// For training, N is drawn so that there are as many corridors of 2 to 3 cells as of 4 to 7, of 8 to 15 and so on: what is
// to be remembered is learned in short ones.
#pragma once

#include "agent/environment.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace example::agent {

class TMaze : public Environment {
 public:
  /// Corridors of shortest to longest cells: all equally often, or for training as above.
  TMaze(fbt::Index shortest, fbt::Index longest, bool training)
      : shortest_(shortest), longest_(longest), training_(training) {}

  fbt::Index inputs() const override { return 4; }
  std::vector<std::string> actions() const override { return {"forward", "left", "right"}; }

  void begin(fbt::Random& random) override {
    if (training_) {
      const double range = static_cast<double>(longest_ + 1) / static_cast<double>(shortest_);
      length_ =
          std::min(longest_, static_cast<fbt::Index>(static_cast<double>(shortest_) * std::pow(range, random.uniform())));
    } else {
      length_ = shortest_ + random.below(longest_ - shortest_ + 1);
    }
    side_ = left + random.below(2);
    cell_ = step_ = 0;
    turned_ = forward;
  }
  /// Cue left, cue right, corridor, junction: one of the four is 1.
  void observe(Eigen::Ref<fbt::Vector<float>> seen) const override {
    seen(step_ == 0 ? side_ - left : cell_ < length_ ? 2 : 3) = 1;
  }
  Outcome act(fbt::Index action, fbt::Random&) override {
    const bool junction = cell_ == length_;
    const bool late = ++step_ == 4 * length_ + 10;
    if (junction && action != forward) {
      turned_ = action;
      return {succeeded() ? 1.0 : -1.0, true};
    }
    if (junction || action != forward) return {-0.1, late};
    ++cell_;
    return {0, late};
  }

  bool succeeded() const override { return turned_ == side_; }
  fbt::Index places() const override { return succeeded(); }

  std::vector<std::string> map() const override {
    const auto n = static_cast<std::size_t>(length_);
    std::vector<std::string> rows{std::string(n, '#') + ' ', std::string(n + 1, '.'), std::string(n, '#') + ' '};
    rows[side_ == left ? 0 : 2][n] = 'G';
    rows[turned_ == left ? 0 : turned_ == right ? 2 : 1][static_cast<std::size_t>(cell_)] = '@';
    return rows;
  }

 private:
  static constexpr fbt::Index forward = 0, left = 1, right = 2;

  fbt::Index shortest_, longest_;
  bool training_;
  fbt::Index length_ = 0, side_ = left, cell_ = 0, step_ = 0, turned_ = forward;
};

}  // namespace example::agent
