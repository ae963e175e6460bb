#!/usr/bin/env bash
# Compares fbt, built with g++ and with clang++, with PyTorch in one run, and writes README.md, compare.json and two pictures beside
# this script. Takes about 15 minutes on a machine that should do nothing else. Flags: --config A,B, --threads 1, --rounds N, --seconds S, --repetitions N, --out FOLDER, --help.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/bench/build.sh"
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE  # either may keep OpenBLAS from its best kernels for this machine

python=/usr/bin/python3  # the one that Debian's packages are for
need clang++ clang command -v clang++
need Python python3 command -v $python
need NumPy python3-numpy $python -c "import numpy"
need PyTorch python3-torch $python -c "import torch"
# without which this PyTorch is many times slower
need "OpenBLAS with OpenMP" libopenblas0-openmp compgen -G "/usr/lib/*/openblas-openmp/libopenblas.so.0"
install_needed
programs=()
for compiler in g++ clang++; do
  build_bench "$compiler" report sample_model
  programs+=(--fbt "$compiler=$folder/report")
done
"$folder/sample_model" "$folder/sample.safetensors"
"$python" "$root/bench/pytorch_models.py" --check "$folder/sample.safetensors"
exec "$python" "$root/bench/compare.py" "${programs[@]}" "$@"
