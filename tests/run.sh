#!/usr/bin/env bash
# Installs what is missing, builds everything with warnings as errors, and runs all tests.
# Another compiler: CXX=clang++ bash tests/run.sh. With sanitizers: bash tests/run.sh sanitize, and for what uses threads
# bash tests/run.sh thread.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/packages.sh
preset=${1:-test}
install_packages $build_packages catch2 libbenchmark-dev
cmake --preset "$preset"
cmake --build --preset "$preset"
ctest --preset "$preset" --parallel "$(nproc)"
