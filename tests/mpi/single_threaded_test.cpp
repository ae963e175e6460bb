// An MPI without support of threads is refused. The function of the library is replaced by one that tells so, as its
// profiling interface allows.
#include "fbt/training/processes.hpp"

#include <cstdio>
#include <stdexcept>
#include <string>

extern "C" int MPI_Init_thread(int* argc, char*** argv, int, int* provided) {
  const int code = PMPI_Init_thread(argc, argv, MPI_THREAD_SINGLE, provided);
  *provided = MPI_THREAD_SINGLE;
  return code;
}

int main(int argc, char** argv) {
  try {
    const fbt::MpiSession session(argc, argv);
  } catch (const std::runtime_error& error) {
    return std::string(error.what()) ==
                   fmt::format("MPI: expected one with support of threads (MPI_THREAD_FUNNELED), found level {}",
                               MPI_THREAD_SINGLE)
               ? 0
               : 1;
  }
  std::puts("expected an error, found none");
  return 1;
}
