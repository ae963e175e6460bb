#include "agent/cart_pole.hpp"
#include "agent/maze.hpp"
#include "agent/t_maze.hpp"
#include "agent/water_maze.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <tuple>

using namespace example::agent;

namespace {

fbt::Vector<float> look(const Environment& environment) {
  fbt::Vector<float> seen = fbt::Vector<float>::Zero(environment.inputs());
  environment.observe(seen);
  return seen;
}

/// How many cells of a map hold the character.
std::ptrdiff_t count(const std::vector<std::string>& map, char c) {
  std::ptrdiff_t sum = 0;
  for (const std::string& row : map) sum += std::count(row.begin(), row.end(), c);
  return sum;
}

}  // namespace

TEST_CASE("T-maze: the cue is seen once, and tells where to turn") {
  fbt::Random random(1);
  TMaze maze(5, 5, false);
  std::set<int> sides;
  for (int n = 0; n < 40; ++n) {
    maze.begin(random);
    const fbt::Vector<float> cue = look(maze);
    CHECK(cue.sum() == 1);
    const int side = cue(0) == 1 ? 1 : 2;  // the action left or right
    CHECK(cue(side - 1) == 1);
    sides.insert(side);
    // in the corridor nothing but forward leads on
    CHECK(maze.act(side, random).reward == Approx(-0.1));
    for (int cell = 0; cell < 5; ++cell) {
      CHECK(look(maze) == fbt::Vector<float>::Unit(4, 2));
      const Outcome step = maze.act(0, random);
      CHECK(step.reward == 0);
      CHECK(!step.ended);
    }
    CHECK(look(maze) == fbt::Vector<float>::Unit(4, 3));
    CHECK(maze.act(0, random).reward == Approx(-0.1));
    CHECK(!maze.succeeded());
    const bool right = n % 2 == 0;
    const Outcome turn = maze.act(right ? side : 3 - side, random);
    CHECK(turn.ended);
    CHECK(turn.reward == (right ? 1 : -1));
    CHECK(maze.succeeded() == right);
    CHECK(count(maze.map(), '@') == 1);
    CHECK(count(maze.map(), 'G') == (right ? 0 : 1));
  }
  CHECK(sides.size() == 2);
}

TEST_CASE("T-maze: an episode ends after 4 N + 10 steps") {
  fbt::Random random(1);
  TMaze maze(7, 7, false);
  maze.begin(random);
  int steps = 1;
  while (!maze.act(1, random).ended) ++steps;
  CHECK(steps == 38);
  CHECK(!maze.succeeded());
}

TEST_CASE("T-maze: lengths are even, or for training even in their logarithm") {
  fbt::Random random(2);
  for (const bool training : {false, true}) {
    TMaze maze(2, 127, training);
    int shorter = 0, least = 1000, most = 0;
    for (int n = 0; n < 4000; ++n) {
      maze.begin(random);
      const int length = static_cast<int>(maze.map()[1].size()) - 1;
      least = std::min(least, length);
      most = std::max(most, length);
      shorter += length < 16;  // of 2 to 127: 14 of 126 lengths, 3 of 6 doublings
    }
    CHECK(least == 2);
    CHECK(most == 127);
    CHECK(shorter / 4000.0 == Approx(training ? 0.5 : 14 / 126.0).margin(0.03));
  }
}

TEST_CASE("water maze: the platform stays where it is, and the agent is put elsewhere") {
  fbt::Random random(3);
  WaterMaze maze(200);
  for (int n = 0; n < 20; ++n) {
    maze.begin(random);
    int found = 0;
    fbt::Vector<float> platform;
    for (int step = 1;; ++step) {
      const Outcome outcome = maze.act(random.below(4), random);
      const fbt::Vector<float> seen = look(maze);
      if (outcome.reward > 0) {
        ++found;
        CHECK(seen(2) == 1);
        if (found > 1) CHECK(seen == platform);
        platform = seen;
      } else {
        CHECK(seen(2) == 0);
      }
      CHECK(maze.places() == found);
      CHECK(outcome.ended == (step == 200));
      if (outcome.ended) break;
    }
    CHECK(maze.succeeded() == (found >= 2));
  }
}

TEST_CASE("water maze: the rim blocks") {
  fbt::Random random(4);
  WaterMaze maze(1000);
  maze.begin(random);
  for (const auto& [action, coordinate, value] : {std::tuple{0, 0, -1.0f}, {3, 1, 1.0f}, {1, 0, 1.0f}, {2, 1, -1.0f}}) {
    for (int i = 0; i < 30; ++i) maze.act(action, random);
    const fbt::Vector<float> seen = look(maze);
    if (seen(2) == 0) CHECK(seen(coordinate) == value);  // else it has come upon the platform
    CHECK(seen.head(2).cwiseAbs().maxCoeff() <= 1);
  }
}

TEST_CASE("maze: what is seen is what the map shows around the agent") {
  fbt::Random random(5);
  std::set<std::string> mazes;
  for (int n = 0; n < 20; ++n) {
    Maze maze(200);
    maze.begin(random);
    std::string walls;
    for (const std::string& row : maze.map()) walls += row;
    std::replace_if(
        walls.begin(), walls.end(), [](char c) { return c != '#'; }, '.');
    mazes.insert(walls);
    CHECK(std::count(walls.begin(), walls.end(), '#') == 32 + 12);
    int found = 0;
    for (int step = 1; step <= 200; ++step) {
      const auto map = maze.map();
      const fbt::Vector<float> seen = look(maze);
      std::size_t row = 0, column = 0;
      for (std::size_t r = 0; r < map.size(); ++r)
        if (map[r].find('@') != std::string::npos) row = r, column = map[r].find('@');
      int wanted = 0;
      CHECK(seen.tail(3).sum() == 1);
      seen.tail(3).maxCoeff(&wanted);
      for (std::size_t i = 0; i < 9; ++i) {
        if (i == 4) continue;  // where the agent stands itself
        const char c = map[row - 1 + i / 3][column - 1 + i % 3];
        const auto first = static_cast<fbt::Index>(4 * i);
        const fbt::Index thing = c == '#' ? 0 : c == '.' ? -1 : 1 + (std::tolower(c) - 'a');
        for (fbt::Index k = 0; k < 4; ++k) CHECK(seen(first + k) == (k == thing ? 1 : 0));
        if (c >= 'A' && c <= 'C') CHECK(c - 'A' == wanted);
      }
      const Outcome outcome = maze.act(random.below(4), random);
      found += outcome.reward > 0;
      if (outcome.reward > 0) {  // it stands there, and the next action brings another colour
        CHECK(look(maze)(4 * 4 + 1 + wanted) == 1);
        if (step == 200) break;
        maze.act(0, random);
        ++step;
        CHECK(look(maze).tail(3)(wanted) == 0);
        std::string after;
        for (const std::string& r : maze.map()) after += r;
        std::replace_if(
            after.begin(), after.end(), [](char c) { return c != '#'; }, '.');
        CHECK(after == walls);
      }
      CHECK(maze.places() == found);
    }
  }
  CHECK(mazes.size() == 20);
}

TEST_CASE("cart-pole: falls when it is pushed to one side, and is held up by who knows its velocities") {
  fbt::Random random(6);
  CartPole environment(200);
  environment.begin(random);
  int steps = 1;
  double reward = 0;
  for (;; ++steps) {
    const Outcome outcome = environment.act(1, random);
    reward += outcome.reward;
    if (outcome.ended) break;
  }
  CHECK(steps > 5);
  CHECK(steps < 15);  // it takes 8 to 10 steps
  CHECK(reward == Approx(0.1 * (steps - 1)));
  CHECK(!environment.succeeded());

  int upright = 0;
  for (int n = 0; n < 20; ++n) {
    environment.begin(random);
    fbt::Vector<float> before = look(environment);
    CHECK(before.size() == 2);
    for (;;) {
      const fbt::Vector<float> now = look(environment);
      const float angle = now(1), turning = now(1) - before(1);
      before = now;
      if (environment.act(angle + 10 * turning + 0.1f * now(0) > 0 ? 1 : 0, random).ended) break;
    }
    upright += environment.succeeded();
  }
  CHECK(upright >= 15);
}
