#include "fbt/core/segment.hpp"

#include "support/catch.hpp"

#include <set>

using namespace fbt;

TEST_CASE("Segment: children have seeds of their own") {
  const Segment segment{3, 4, true, 7};
  CHECK(segment.columns() == 12);
  std::set<std::uint64_t> seeds{segment.seed, Segment{3, 4, true, 8}.child(0).seed};
  for (std::uint64_t i = 0; i < 10; ++i) {
    const Segment child = segment.child(i);
    CHECK(child.steps == 3);
    CHECK(child.lanes == 4);
    CHECK(child.train);
    seeds.insert(child.seed);
  }
  CHECK(seeds.size() == 12);
  CHECK(segment.child(3).seed == mix_seed(7, 3));
  Team team(2);
  CHECK(Segment{3, 4, true, 7, &team}.child(1).team == &team);
}
