#include "fbt/core/shape.hpp"

#include "catch.hpp"

#include <mutex>
#include <set>
#include <utility>

using namespace fbt;

TEST_CASE("Shape: children have seeds of their own") {
  const Shape shape{3, 4, true, 7};
  CHECK(shape.columns() == 12);
  std::set<std::uint64_t> seeds{shape.seed, Shape{3, 4, true, 8}.child(0).seed};
  for (std::uint64_t i = 0; i < 10; ++i) {
    const Shape child = shape.child(i);
    CHECK(child.steps == 3);
    CHECK(child.lanes == 4);
    CHECK(child.train);
    seeds.insert(child.seed);
  }
  CHECK(seeds.size() == 12);
  CHECK(shape.child(3).seed == mix_seed(7, 3));
  Team team(2);
  CHECK(Shape{3, 4, true, 7, &team}.child(1).team == &team);
}

TEST_CASE("share: whole units, every part once, and no parts of work that is too small") {
  using Parts = std::set<std::pair<Index, Index>>;
  const auto parts = [](Team* team, Index total, Index unit, Index work) {
    std::mutex mutex;
    Parts seen;
    share(team, total, unit, work, [&](Index first, Index count) {
      const std::lock_guard lock(mutex);
      seen.emplace(first, count);
    });
    return seen;
  };
  Team two(2), three(3);
  constexpr Index large = 1 << 20;
  CHECK(parts(nullptr, 100, 1, large) == Parts{{0, 100}});
  CHECK(parts(&two, 100, 1, 100) == Parts{{0, 100}});
  CHECK(parts(&two, 100, 1, large) == Parts{{0, 50}, {50, 50}});
  CHECK(parts(&two, 100, 48, large) == Parts{{0, 48}, {48, 52}});
  CHECK(parts(&three, 100, 48, large) == Parts{{0, 48}, {48, 48}, {96, 4}});
  CHECK(parts(&three, 50, 48, large) == Parts{{0, 48}, {48, 2}});
}
