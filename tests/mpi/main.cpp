// The tests of fbt::mpi: every process runs all of them, in the same order. One prints.
#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

#include "fbt/training/processes.hpp"

#include <cstdio>

int main(int argc, char** argv) {
  const fbt::MpiSession session(argc, argv);
  if (const fbt::Processes processes; !processes.is_first() && !std::freopen("/dev/null", "w", stdout)) return 1;
  return Catch::Session().run(argc, argv);
}
