#!/usr/bin/env bash
# Several processes against threads of one, and what that tells of more machines: writes scaling.json, scaling.md and scaling.svg
# beside this script. Takes about ten minutes on two quiet cores. Flags: --rounds N, --seconds S, --report, --help.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/bench/build.sh"
need Python python3 command -v python3
need_mpi
(cd "$root" && configure "$root/build/bench-mpi" --preset bench -DFBT_MPI=ON)
cmake --build "$root/build/bench-mpi" --target bench_scaling
exec python3 "$root/bench/scaling.py" "$root/build/bench-mpi/bench/scaling" "$@"
