// The tests of fbt::mpi: every process runs all of them, in the same order. One prints to the standard output, the others to
// the standard error stream.
#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

#include "fbt/training/processes.hpp"

#include <unistd.h>

int main(int argc, char** argv) {
  const fbt::MpiSession session(argc, argv);
  if (const fbt::Processes processes; !processes.is_first() && ::dup2(2, 1) < 0) return 1;
  return Catch::Session().run(argc, argv);
}
