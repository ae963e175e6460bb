#!/usr/bin/env bash
# Builds the benchmarks for this machine and prints what they measure: for each configuration and number of threads training and
# decoding speed, their shares of the machine's peak, and peak memory. Flags: --json FILE, --config A,B, --threads 1,2,
# --seconds S, --repetitions N, --growth [--svg FILE], --source, --help. Another compiler: CXX=clang++ bash bench/run.sh.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/bench/build.sh"
build_bench "${CXX:-g++}" report
exec "$folder/report" "$@"
