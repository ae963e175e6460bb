// Water maze (after Morris, 1981): somewhere in a pool of 7 x 7 cells is a platform, which stays where it is for an episode.
// The agent sees its own row and column, and whether it stands on the platform; nothing else marks it. To step on it gives a
// reward of 1; with the next action, whichever it is, the agent is put in a random other cell and has to find it again.
// Actions: a step north, south, west or east, which the rim blocks.
#pragma once

#include "agent/environment.hpp"
#include "agent/grid.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace example::agent {

class WaterMaze : public Environment {
 public:
  /// Episodes of so many steps.
  explicit WaterMaze(fbt::Index steps) : steps_(steps) {}

  static constexpr fbt::Index side = 7;

  fbt::Index inputs() const override { return 3; }
  std::vector<std::string> actions() const override { return directions; }

  void begin(fbt::Random& random) override {
    platform_ = any_cell(random);
    put_elsewhere(random);
    step_ = places_ = 0;
  }
  /// Row and column, from -1 to 1, and 1 on the platform.
  void observe(Eigen::Ref<fbt::Vector<float>> seen) const override {
    const auto scaled = [](fbt::Index i) { return 2 * static_cast<float>(i) / (side - 1) - 1; };
    seen << scaled(at_.row), scaled(at_.column), at_ == platform_ ? 1.0f : 0.0f;
  }
  Outcome act(fbt::Index action, fbt::Random& random) override {
    const bool late = ++step_ == steps_;
    if (at_ == platform_) {
      put_elsewhere(random);
      return {0, late};
    }
    const Cell next = beside(at_, action);
    if (std::min(next.row, next.column) >= 0 && std::max(next.row, next.column) < side) at_ = next;
    const bool found = at_ == platform_;
    places_ += found;
    return {found ? 1.0 : 0.0, late};
  }

  /// Found at least twice: then it was remembered, or looked for with luck.
  bool succeeded() const override { return places_ >= 2; }
  fbt::Index places() const override { return places_; }

  std::vector<std::string> map() const override {
    std::vector<std::string> rows(side, std::string(side, '.'));
    const auto mark = [&](Cell cell, char c) {
      rows[static_cast<std::size_t>(cell.row)][static_cast<std::size_t>(cell.column)] = c;
    };
    mark(platform_, 'P');
    mark(at_, '@');
    return rows;
  }

 private:
  static Cell any_cell(fbt::Random& random) { return {random.below(side), random.below(side)}; }
  void put_elsewhere(fbt::Random& random) {
    do at_ = any_cell(random);
    while (at_ == platform_);
  }

  fbt::Index steps_;
  Cell platform_, at_;
  fbt::Index step_ = 0, places_ = 0;
};

}  // namespace example::agent
