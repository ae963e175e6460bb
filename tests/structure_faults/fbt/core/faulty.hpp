// What structure_test.cmake must complain about; the number of faults is in tests/CMakeLists.txt. Nothing includes this.
#include <iostream>
#include "faulty.hpp"
#include "fbt/fbt.hpp"
#include "fbt/layers/linear.hpp"
#include "fbt/testing/gradient_check.hpp"
#define FBT_FAULT 1

namespace fbt {
static int counter = 0;
inline double total{};
struct Fault {
  inline static thread_local bool seen;
  static constexpr int fine = 1;
  static int also_fine(int x);
};
}  // namespace fbt
