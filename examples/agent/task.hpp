// Task: the environments by name. One of your own is another enumerator, its name, and a line in each of the two functions.
#pragma once

#include "agent/cart_pole.hpp"
#include "agent/lanes.hpp"
#include "agent/maze.hpp"
#include "agent/t_maze.hpp"
#include "agent/water_maze.hpp"

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <utility>

namespace example::agent {

enum class Task { t_maze, maze, water_maze, cart_pole };

}  // namespace example::agent

template <>
struct fbt::Names<example::agent::Task> {
  static constexpr std::array<std::pair<std::string_view, example::agent::Task>, 4> list{
      {{"t_maze", example::agent::Task::t_maze},
       {"maze", example::agent::Task::maze},
       {"water_maze", example::agent::Task::water_maze},
       {"cart_pole", example::agent::Task::cart_pole}}};
};

namespace example::agent {

/// Of a T-maze the length is that of its corridor in cells: in training more short ones than long ones (t_maze.hpp), else
/// from 2 up, all equally often, or all the longest. Of other tasks it is that of an episode in steps.
enum class Lengths { training, even, longest };

/// Throws std::invalid_argument for a length out of range.
inline EnvironmentMaker environment_maker(Task task, fbt::Index length, Lengths lengths) {
  fbt::check(length >= 1 && length <= 100'000, "--length must be from 1 to 100000, found {}", length);
  const fbt::Index shortest = lengths == Lengths::longest ? length : std::min<fbt::Index>(2, length);
  switch (task) {
    case Task::t_maze: return [=] { return std::make_unique<TMaze>(shortest, length, lengths == Lengths::training); };
    case Task::maze: return [=] { return std::make_unique<Maze>(length); };
    case Task::water_maze: return [=] { return std::make_unique<WaterMaze>(length); };
    default: return [=] { return std::make_unique<CartPole>(length); };
  }
}

}  // namespace example::agent
