// Random walk: an agent on a grid of 8 x 8 cells goes forward, or turns left or right, at random. Walls block: against one
// it stays. It begins in row 4, column 4 and looks north, to row 0. Every action is answered with the cell the agent is in
// after it.
#pragma once

#include "tasks/example.hpp"

#include "fbt/core/random.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace example {

namespace random_walk {

inline constexpr int side = 8;
inline constexpr fbt::Token forward = 0, left = 1, right = 2, first_cell = 3;

/// The three actions, and the cells "row,column".
inline Words words() {
  Words result{"forward", "left", "right"};
  for (int cell = 0; cell < side * side; ++cell) result.push_back(fmt::format("{},{}", cell / side, cell % side));
  return result;
}

struct Agent {
  int row = 4, column = 4;
  int heading = 0;  ///< north, east, south, west

  void act(fbt::Token action) {
    constexpr std::array<int, 4> down{-1, 0, 1, 0}, along{0, 1, 0, -1};
    if (action == left) heading = (heading + 3) % 4;
    if (action == right) heading = (heading + 1) % 4;
    if (action != forward) return;
    row = std::clamp(row + down[static_cast<std::size_t>(heading)], 0, side - 1);
    column = std::clamp(column + along[static_cast<std::size_t>(heading)], 0, side - 1);
  }
  fbt::Token cell() const { return first_cell + row * side + column; }
};

inline Example draw(fbt::Index actions, fbt::Random& random) {
  Example example;
  Agent agent;
  for (fbt::Index i = 0; i < actions; ++i) {
    const auto action = static_cast<fbt::Token>(random.below(3));
    agent.act(action);
    example.add(action, agent.cell());
  }
  return example;
}

}  // namespace random_walk
}  // namespace example
