#!/usr/bin/env bash
# mpirun.sh MPIRUN COUNT PROGRAM ARGUMENT...: starts so many processes here, whatever the number of processors and the user.
# Further programs may follow, each after a colon and -np COUNT.
set -euo pipefail
mpirun=$1 count=$2
shift 2
flags=()
if "$mpirun" --version | grep -q "Open MPI\|OpenRTE"; then
  flags=(-q --oversubscribe)
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
fi
export FBT_PROCESSORS=2  # for each
exec "$mpirun" "${flags[@]}" -np "$count" "$@"
