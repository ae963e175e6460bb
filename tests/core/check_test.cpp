#include "fbt/core/check.hpp"

#include "support/catch.hpp"

#include <limits>

using namespace fbt;

TEST_CASE("check: std::invalid_argument with the formatted text") {
  CHECK_NOTHROW(check(true, "never"));
  CHECK_THROWS_AS(check(false, "width {}", 3), std::invalid_argument);
  CHECK_THROWS_WITH(check(false, "{} must be {}, found {}", "width", 4, 3.5), "width must be 4, found 3.5");
}

TEST_CASE("check: finite numbers, infinite ones, and what is not a number") {
  using Limits = std::numeric_limits<double>;
  for (const double x : {0.0, -0.0, 1.5, Limits::max(), Limits::lowest(), Limits::denorm_min()}) {
    CHECK(is_finite(x));
    CHECK_FALSE(is_nan(x));
  }
  for (const double x : {Limits::infinity(), -Limits::infinity()}) {
    CHECK_FALSE(is_finite(x));
    CHECK_FALSE(is_nan(x));
  }
  for (const double x : {Limits::quiet_NaN(), -Limits::quiet_NaN(), Limits::signaling_NaN()}) {
    CHECK_FALSE(is_finite(x));
    CHECK(is_nan(x));
  }
}

TEST_CASE("ensure: std::runtime_error with the formatted text") {
  CHECK_NOTHROW(ensure(true, "never"));
  CHECK_THROWS_AS(ensure(false, "file {}", "a"), std::runtime_error);
  CHECK_THROWS_WITH(ensure(false, "{}: expected {} bytes, found {}", "a.bin", 10, 9), "a.bin: expected 10 bytes, found 9");
}
