// MPI for a program of tests, which every process runs in the same order: from before Catch2's main to its end. One process
// prints to the standard output, the others to the standard error stream.
#include "fbt/core/check.hpp"
#include "fbt/training/processes.hpp"

#include <unistd.h>

namespace {

struct Session {
  int argc = 0;
  char** argv = nullptr;
  fbt::MpiSession session{argc, argv};

  Session() {
    const fbt::Processes processes;
    fbt::ensure(processes.is_first() || ::dup2(2, 1) >= 0, "no standard error stream to print to");
  }
} session;

}  // namespace
