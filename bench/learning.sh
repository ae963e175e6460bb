#!/usr/bin/env bash
# Trains two models on a text and keeps what they report in learning/: a small one for 110 seconds on one thread, and the best one of at
# most 3.5 million parameters that an hour on two threads gives. Beside learning.md stand the results for the first megabyte of Shakespeare.
# Usage: bash bench/learning.sh TEXT [short] [hour]; without a name both.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/packages.sh"
[ $# -ge 1 ] && [ -r "$1" ] || { echo "usage: bash bench/learning.sh TEXT [short] [hour]" >&2; exit 2; }
text=$(realpath "$1")
shift
[ $# -ge 1 ] || set -- short hour

cd "$root"
install_packages $build_packages
cmake --preset release >/dev/null
cmake --build --preset release --target language_model
for name in "$@"; do
  case $name in
    short) flags="--width 128 --layers 4 --heads 4 --threads 1 --seconds 110" ;;
    hour) flags="--width 256 --layers 4 --heads 4 --window 128 --lanes 32 --dropout 0.1 --fresh 0.5 --updates 11000 --threads 2" ;;
    *) echo "short or hour expected, found $name" >&2; exit 2 ;;
  esac
  rm -rf "runs/learning/$name"
  build/release/examples/language_model train --data "$text" --out "runs/learning/$name" $flags
  mkdir -p bench/learning
  cp "runs/learning/$name/metrics.jsonl" "bench/learning/$name.jsonl"
  cp "runs/learning/$name/loss.svg" "bench/learning/$name.svg"
done
