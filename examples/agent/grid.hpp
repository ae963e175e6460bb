// Grid: cells that an agent goes through by single steps north, south, west and east.
#pragma once

#include "fbt/core/types.hpp"

#include <array>
#include <string>
#include <vector>

namespace example::agent {

struct Cell {
  fbt::Index row = 0, column = 0;
  bool operator==(const Cell&) const = default;
};

inline const std::vector<std::string> directions{"north", "south", "west", "east"};

/// The cell beside another one.
inline Cell beside(Cell cell, fbt::Index direction) {
  constexpr std::array<fbt::Index, 4> down{-1, 1, 0, 0}, along{0, 0, -1, 1};
  const auto i = static_cast<std::size_t>(direction);
  return {cell.row + down[i], cell.column + along[i]};
}

}  // namespace example::agent
