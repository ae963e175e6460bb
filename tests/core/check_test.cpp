#include "fbt/core/check.hpp"

#include "support/catch.hpp"

using namespace fbt;

TEST_CASE("check: std::invalid_argument with the formatted text") {
  CHECK_NOTHROW(check(true, "never"));
  CHECK_THROWS_AS(check(false, "width {}", 3), std::invalid_argument);
  CHECK_THROWS_WITH(check(false, "{} must be {}, found {}", "width", 4, 3.5), "width must be 4, found 3.5");
}

TEST_CASE("ensure: std::runtime_error with the formatted text") {
  CHECK_NOTHROW(ensure(true, "never"));
  CHECK_THROWS_AS(ensure(false, "file {}", "a"), std::runtime_error);
  CHECK_THROWS_WITH(ensure(false, "{}: expected {} bytes, found {}", "a.bin", 10, 9), "a.bin: expected 10 bytes, found 9");
}
