// Maze with instructions: 7 x 7 cells with a rim, 12 walls among them and three coloured places, all new in every episode.
// The agent sees the 3 x 3 cells around it and which colour to go to. To step on the place of that colour gives a reward of
// 1; with the next action, whichever it is, the agent is put in a random cell and another colour is given, in the same maze.
// Actions: a step north, south, west or east, which walls block.
#pragma once

#include "agent/environment.hpp"
#include "agent/grid.hpp"

#include <array>
#include <string>
#include <vector>

namespace example::agent {

class Maze : public Environment {
 public:
  /// Episodes of so many steps.
  explicit Maze(fbt::Index steps) : steps_(steps) {}

  static constexpr fbt::Index side = 9, walls = 12, colours = 3;  // side: with the rim

  fbt::Index inputs() const override { return 9 * (1 + colours) + colours; }
  std::vector<std::string> actions() const override { return directions; }

  void begin(fbt::Random& random) override {
    build(random);
    wanted_ = random.below(colours);
    put_elsewhere(random);
    step_ = places_ = 0;
  }
  /// Of every cell around, row by row, whether it is a wall and whether it has each of the colours; then the colour to go
  /// to.
  void observe(Eigen::Ref<fbt::Vector<float>> seen) const override {
    fbt::Index first = 0;
    for (fbt::Index row = at_.row - 1; row <= at_.row + 1; ++row) {
      for (fbt::Index column = at_.column - 1; column <= at_.column + 1; ++column) {
        const fbt::Index content = what(Cell{row, column});
        if (content != empty) seen(first + content) = 1;
        first += 1 + colours;
      }
    }
    seen(first + wanted_) = 1;
  }
  Outcome act(fbt::Index action, fbt::Random& random) override {
    const bool late = ++step_ == steps_;
    if (there()) {
      wanted_ = (wanted_ + 1 + random.below(colours - 1)) % colours;
      put_elsewhere(random);
      return {0, late};
    }
    if (const Cell next = beside(at_, action); what(next) != wall) at_ = next;
    places_ += there();
    return {there() ? 1.0 : 0.0, late};
  }

  /// Found at least two places.
  bool succeeded() const override { return places_ >= 2; }
  fbt::Index places() const override { return places_; }

  /// a, b, c: the coloured places, a capital for the one to go to.
  std::vector<std::string> map() const override {
    std::vector<std::string> rows(side, std::string(side, '.'));
    for (fbt::Index row = 0; row < side; ++row) {
      for (fbt::Index column = 0; column < side; ++column) {
        char& c = rows[static_cast<std::size_t>(row)][static_cast<std::size_t>(column)];
        const Cell cell{row, column};
        const fbt::Index content = what(cell);
        if (content == wall) c = '#';
        if (content > wall) c = static_cast<char>((content - 1 == wanted_ ? 'A' : 'a') + content - 1);
        if (cell == at_) c = '@';
      }
    }
    return rows;
  }

 private:
  static constexpr fbt::Index empty = -1, wall = 0;  // and 1 + colour

  fbt::Index& what(Cell cell) { return cells_[static_cast<std::size_t>(cell.row * side + cell.column)]; }
  fbt::Index what(Cell cell) const { return cells_[static_cast<std::size_t>(cell.row * side + cell.column)]; }
  bool there() const { return what(at_) == 1 + wanted_; }

  static Cell inner_cell(fbt::Random& random) { return {1 + random.below(side - 2), 1 + random.below(side - 2)}; }
  Cell empty_cell(fbt::Random& random) const {
    for (;;)
      if (const Cell cell = inner_cell(random); what(cell) == empty) return cell;
  }
  void put_elsewhere(fbt::Random& random) { at_ = empty_cell(random); }

  void build(fbt::Random& random) {
    cells_.fill(wall);
    for (fbt::Index row = 1; row < side - 1; ++row)
      for (fbt::Index column = 1; column < side - 1; ++column) what(Cell{row, column}) = empty;
    for (fbt::Index built = 0; built < walls;) {
      const Cell cell = empty_cell(random);
      what(cell) = wall;
      if (connected()) {
        ++built;
      } else {
        what(cell) = empty;
      }
    }
    for (fbt::Index colour = 0; colour < colours; ++colour) what(empty_cell(random)) = 1 + colour;
  }

  /// Whether every cell without a wall can be reached from every other one.
  bool connected() const {
    std::array<bool, side * side> reached{};
    std::vector<Cell> open;
    fbt::Index count = 0, all = 0;
    const auto reach = [&](Cell cell) {
      bool& before = reached[static_cast<std::size_t>(cell.row * side + cell.column)];
      if (before || what(cell) == wall) return;
      before = true;
      open.push_back(cell);
      ++count;
    };
    for (fbt::Index i = 0; i < side * side; ++i) {
      const Cell cell{i / side, i % side};
      if (what(cell) == wall) continue;
      if (all++ == 0) reach(cell);
    }
    while (!open.empty()) {
      const Cell cell = open.back();
      open.pop_back();
      for (fbt::Index direction = 0; direction < 4; ++direction) reach(beside(cell, direction));
    }
    return count == all;
  }

  fbt::Index steps_;
  std::array<fbt::Index, side * side> cells_{};  // row by row: empty, wall or 1 + colour
  Cell at_;
  fbt::Index wanted_ = 0, step_ = 0, places_ = 0;
};

}  // namespace example::agent
