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

TEST_CASE("StepOrder: forward in order, backward in the opposite one, then accumulate") {
  const char* const none_read =
      "backward: expected a segment that forward() has read with segment.train, once each, found none";
  const char* const none_walked = "accumulate: expected a segment that backward() has gone through, found none";
  StepOrder order;
  CHECK_THROWS_WITH(order.forward(0), "forward: expected a Trace that prepare() has sized, found one that it has not");
  CHECK_THROWS_WITH(order.check_read(), none_read);
  CHECK_THROWS_WITH(order.accumulate(), none_walked);
  order.prepare({2, 3, true});
  CHECK_THROWS_WITH(order.forward(1), "forward: expected step 0 of a segment of 2, found 1");
  order.forward(0);
  CHECK_THROWS_WITH(order.backward(1), none_read);
  order.forward(0);  // begins again
  order.forward(1);
  CHECK_THROWS_WITH(order.forward(2), "forward: expected step 2 of a segment of 2, found 2");
  order.check_read();
  CHECK_THROWS_WITH(order.backward(0), "backward: expected step 1, found 0");
  CHECK_THROWS_WITH(order.accumulate(), none_walked);
  order.backward(1);
  CHECK_THROWS_WITH(order.check_read(), none_read);  // a walk back has begun
  CHECK_THROWS_WITH(order.accumulate(), none_walked);
  order.backward(0);
  order.accumulate();
  order.accumulate();  // adds the same once more
  CHECK_THROWS_WITH(order.backward(1), none_read);
  order.prepare({2, 3, false});
  order.forward(0);
  order.forward(1);
  CHECK_THROWS_WITH(order.backward(1), none_read);
}
