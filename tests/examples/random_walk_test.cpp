#include "tasks/random_walk.hpp"

#include "support/catch.hpp"

#include <set>
#include <string>

using namespace example;

TEST_CASE("random walk: walked again, on a map") {
  fbt::Random random(1);
  const Words words = random_walk::words();
  std::set<std::string> actions, cells;
  for (int n = 0; n < 50; ++n) {
    const Example walk = random_walk::draw(200, random);
    REQUIRE(walk.tokens.size() == 200);
    int x = 4, y = 4, dx = 0, dy = -1;  // north is up
    for (std::size_t t = 0; t < walk.tokens.size(); ++t) {
      const std::string action = words.at(static_cast<std::size_t>(walk.tokens[t]));
      actions.insert(action);
      if (action == "left") {
        const int turned = dy;
        dy = -dx;
        dx = turned;
      } else if (action == "right") {
        const int turned = -dy;
        dy = dx;
        dx = turned;
      } else if (x + dx >= 0 && x + dx < 8 && y + dy >= 0 && y + dy < 8) {
        x += dx;
        y += dy;
      }
      const std::string cell = words.at(static_cast<std::size_t>(walk.labels[t]));
      REQUIRE(cell == fmt::format("{},{}", y, x));
      cells.insert(cell);
    }
  }
  CHECK(actions == std::set<std::string>{"forward", "left", "right"});
  CHECK(cells.size() == 64);
  CHECK(words.size() == 67);
}

TEST_CASE("random walk: a wall blocks, on every side") {
  random_walk::Agent agent;
  const auto forward = [&](int steps) {
    for (int i = 0; i < steps; ++i) agent.act(random_walk::forward);
    return agent.cell() - random_walk::first_cell;
  };
  CHECK(forward(20) == 4);  // north
  agent.act(random_walk::right);
  CHECK(forward(20) == 7);  // east
  agent.act(random_walk::right);
  CHECK(forward(20) == 63);  // south
  agent.act(random_walk::right);
  CHECK(forward(20) == 56);  // west
  agent.act(random_walk::left);
  CHECK(forward(1) == 56);
}
