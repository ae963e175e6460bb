#include "fbt/core/segment.hpp"

#include "support/catch.hpp"

#include <algorithm>
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

TEST_CASE("walk_back: every step from the last to the first, and all of them accumulated before their places are needed") {
  for (const Index steps : {1, 15, 16, 17, 32, 45}) {
    CAPTURE(steps);
    Index next = steps - 1, accumulated = steps;
    std::set<Index> places;
    walk_back(
        steps,
        [&](Index t) {
          CHECK(t == next--);
          CHECK(places.insert(delta_index(t)).second);
        },
        [&](Index first, Index count) {
          CHECK(first + count == accumulated);
          CHECK(static_cast<Index>(places.size()) == count);
          CHECK(delta_index(first) == 0);
          accumulated = first;
          places.clear();
        });
    CHECK(next == -1);
    CHECK(accumulated == 0);
    CHECK(Segment{steps, 3, true, 0}.delta_columns() == 3 * std::min<Index>(steps, delta_steps));
  }
}

TEST_CASE("StepOrder: forward in order, backward in the opposite one, accumulate in time") {
  const char* const none_read =
      "backward: expected a segment that forward() has read with segment.train, once each, found none";
  const char* const none_walked =
      "accumulate: expected steps that backward() has gone through since the last time, found none";
  StepOrder order;
  CHECK_THROWS_WITH(order.forward(0), "forward: expected a Trace that prepare() has sized, found one that it has not");
  CHECK_THROWS_WITH(order.check_read(), none_read);
  CHECK_THROWS_WITH(order.accumulate(0, 2), none_walked);
  order.prepare({2, 3, true});
  CHECK_THROWS_WITH(order.forward(1), "forward: expected step 0 of a segment of 2, found 1");
  order.forward(0);
  CHECK_THROWS_WITH(order.backward(1), none_read);
  order.forward(0);  // begins again
  order.forward(1);
  CHECK_THROWS_WITH(order.forward(2), "forward: expected step 2 of a segment of 2, found 2");
  order.check_read();
  CHECK_THROWS_WITH(order.backward(0), "backward: expected step 1, found 0");
  CHECK_THROWS_WITH(order.accumulate(0, 2), none_walked);
  order.backward(1);
  CHECK_THROWS_WITH(order.check_read(), none_read);  // a walk back has begun
  CHECK_THROWS_WITH(order.accumulate(0, 2), "accumulate: expected the 1 steps from 1 on, found 2 from 0 on");
  order.backward(0);
  CHECK_THROWS_WITH(order.accumulate(0, 1), "accumulate: expected the 2 steps from 0 on, found 1 from 0 on");
  order.accumulate(0, 2);
  CHECK_THROWS_WITH(order.accumulate(0, 2), none_walked);
  CHECK_THROWS_WITH(order.backward(1), none_read);
  constexpr const char* walked = "forward: expected prepare() after a walk back, before the next segment is read";
  CHECK_THROWS_WITH(order.forward(0), walked);
  order.prepare({2, 3, true});
  order.forward(0);
  order.forward(1);
  order.backward(1);
  CHECK_THROWS_WITH(order.forward(0), walked);
  order.accumulate(1, 1);  // sooner than needed
  order.backward(0);
  order.accumulate(0, 1);
  order.prepare({2, 3, false});
  order.forward(0);
  order.forward(1);
  CHECK_THROWS_WITH(order.backward(1), none_read);
}

TEST_CASE("StepOrder: deltas that have not been accumulated are not overwritten") {
  const Index steps = delta_steps + 3;
  StepOrder order;
  order.prepare({steps, 1, true});
  for (Index t = 0; t < steps; ++t) order.forward(t);
  for (Index t = steps - 1; t >= delta_steps; --t) order.backward(t);
  CHECK_THROWS_WITH(order.backward(delta_steps - 1), "backward: expected accumulate() of steps 16 to 18 before step 15");
  order.accumulate(delta_steps, 3);
  for (Index t = delta_steps - 1; t >= 0; --t) order.backward(t);
  order.accumulate(0, delta_steps);
}
