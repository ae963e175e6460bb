#include "fbt/training/schedule.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"

#include <limits>

using namespace fbt;

TEST_CASE("Schedule: warm-up rises in equal steps to the peak") {
  const Schedule schedule{0.4, 4, 0.1};
  for (Index update = 0; update < 4; ++update)
    CHECK(schedule.rate(update, 0) == Approx(0.1 * static_cast<double>(update + 1)).epsilon(1e-14));
  CHECK(schedule.rate(4, 0) == Approx(0.4).epsilon(1e-14));
  CHECK(schedule.rate(1000, 0) == Approx(0.4).epsilon(1e-14));
}

TEST_CASE("Schedule: half a cosine from the peak to the final fraction") {
  const Schedule schedule{0.4, 0, 0.1};
  CHECK(schedule.rate(0, 0) == Approx(0.4).epsilon(1e-14));
  CHECK(schedule.rate(9, 0.25) == Approx(0.4 * (0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5)))).epsilon(1e-14));
  CHECK(schedule.rate(9, 0.5) == Approx(0.4 * 0.55).epsilon(1e-14));
  CHECK(schedule.rate(9, 1) == Approx(0.04).epsilon(1e-14));
  CHECK(schedule.rate(9, 1.5) == schedule.rate(9, 1));
  CHECK(schedule.rate(9, -1) == schedule.rate(9, 0));
  CHECK(Schedule{0.4, 0, 1}.rate(9, 0.7) == Approx(0.4).epsilon(1e-14));
  CHECK(Schedule{0.4, 0, 0}.rate(9, 1) == Approx(0).margin(1e-15));
  CHECK(Schedule{0.4, 10, 0.1}.rate(4, 0.5) == Approx(0.5 * 0.4 * 0.55).epsilon(1e-14));  // both at once
}

TEST_CASE("Schedule: validation") {
  const auto message = [](const Schedule& s) { return message_of<std::invalid_argument>([&] { s.validate(); }); };
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  CHECK_NOTHROW(Schedule{}.validate());
  CHECK_NOTHROW(Schedule{1e-9, 0, 0}.validate());
  CHECK_NOTHROW(Schedule{1, 1, 1}.validate());
  CHECK(message({0, 0, 0}) == "the learning rate must be above 0, found 0");
  CHECK(message({-1, 0, 0}) == "the learning rate must be above 0, found -1");
  CHECK(message({nan, 0, 0}) == "the learning rate must be above 0, found nan");
  CHECK(message({inf, 0, 0}) == "the learning rate must be above 0, found inf");
  CHECK(message({1, -1, 0}) == "warm-up must be at least 0 updates, found -1");
  CHECK(message({1, 0, -0.5}) == "the final fraction of the learning rate must be from 0 to 1, found -0.5");
  CHECK(message({1, 0, 1.5}) == "the final fraction of the learning rate must be from 0 to 1, found 1.5");
  CHECK(message({1, 0, nan}) == "the final fraction of the learning rate must be from 0 to 1, found nan");
}
