#!/usr/bin/env bash
# Installs what is missing, builds everything with warnings as errors, and runs all tests.
# Another compiler: CXX=clang++ bash tests/run.sh. With sanitizers: bash tests/run.sh sanitize, and for what uses threads
# bash tests/run.sh thread.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/packages.sh
preset=${1:-test}
if can_install; then  # a test each
  need Doxygen doxygen command -v doxygen
  need pkg-config pkg-config command -v pkg-config
  need_sentencepiece
  need_mpi
fi
configure "build/$preset" --preset "$preset"
cmake --build --preset "$preset"
ctest --preset "$preset" --parallel "$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)" --no-tests=error
