#include "fbt/core/shape.hpp"

#include "catch.hpp"

#include <set>

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
}
