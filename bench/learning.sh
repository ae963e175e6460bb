#!/usr/bin/env bash
# Trains two models on a text and keeps what they report in learning/, from where learning.md has its figures: short, a small model for 110
# seconds on one thread, and hour, one of 2.8 million parameters on two threads.
# Usage: bash bench/learning.sh TEXT [short] [hour]; without a name both.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/packages.sh"
[ $# -ge 1 ] && [ -r "$1" ] || { echo "usage: bash bench/learning.sh TEXT [short] [hour]" >&2; exit 2; }
text=$(realpath "$1")
shift
[ $# -ge 1 ] || set -- short hour
for name in "$@"; do
  [ "$name" = short ] || [ "$name" = hour ] || { echo "short or hour expected, found $name" >&2; exit 2; }
done

cd "$root"
configure build/release --preset release
cmake --build --preset release --target language_model
for name in "$@"; do
  case $name in
    short) flags="--width 128 --layers 4 --heads 4 --threads 1 --seconds 110" ;;
    hour) flags="--width 256 --layers 4 --heads 4 --window 128 --lanes 32 --dropout 0.1 --fresh 0.5 --updates 11000 --evaluate-every 1000 --threads 2" ;;
  esac
  [ ! -e "runs/learning/$name" ] || flock --nonblock "runs/learning/$name" rm -rf "runs/learning/$name" ||
    { echo "error: runs/learning/$name: in use by another process" >&2; exit 1; }
  log=runs/learning.$name.log
  mkdir -p runs
  build/release/examples/language_model train --data "$text" --out "runs/learning/$name" $flags | tee "$log"
  cp "runs/learning/$name/metrics.jsonl" "bench/learning/$name.jsonl"
  cp "runs/learning/$name/loss.svg" "bench/learning/$name.svg"
done
