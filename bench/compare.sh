#!/usr/bin/env bash
# Compares fbt, built with g++ and with clang++, with PyTorch and ONNX Runtime in one run, and writes README.md, compare.json and two
# pictures beside this script. Takes about 20 minutes on a machine that should do nothing else. Flags: --config A,B, --threads 1,
# --rounds N, --seconds S, --repetitions N, --out FOLDER, --help.
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
if can_install; then need npm npm command -v npm; fi  # brings ONNX Runtime, which may be left out
install_needed
programs=()
for compiler in g++ clang++; do
  build_bench "$compiler" report sample_model
  programs+=(--fbt "$compiler=$folder/report")
done
"$folder/sample_model" "$folder/sample.safetensors"
"$python" "$root/bench/pytorch_models.py" --check "$folder/sample.safetensors"

# ONNX Runtime's C library, as it lies in its package for Node.js
onnxruntime() {
  local processor=x64
  [ "$(uname -m)" != aarch64 ] || processor=arm64
  compgen -G "$root/build/onnxruntime/node_modules/onnxruntime-node/bin/*/linux/$processor/libonnxruntime.so*"
}
if ! onnxruntime >/dev/null && command -v npm >/dev/null; then
  echo "installing onnxruntime-node in build/onnxruntime"  # without its script, which fetches parts for GPUs
  npm install --prefix "$root/build/onnxruntime" --ignore-scripts --no-audit --no-fund --fetch-retries 1 onnxruntime-node \
    >/dev/null 2>&1 || true
fi
onnx=()
library=$(onnxruntime | head -n 1) || true
if [ -n "$library" ] && "$python" -c "import ctypes, sys; ctypes.CDLL(sys.argv[1])" "$library" 2>/dev/null; then
  onnx=(--onnxruntime "$library")
else
  echo "ONNX Runtime is left out: it could not be installed by npm (onnxruntime-node), or does not run here"
fi
exec "$python" "$root/bench/compare.py" "${programs[@]}" "${onnx[@]}" "$@"
