#!/usr/bin/env bash
# The other half of the paper: agents that have to remember, translation with shallow decoders, and which layer a summary should remember.
# Writes paper.jsonl, paper.md and pictures beside this script. What paper.jsonl holds already is not run again: stop it, and go on with the
# same command. The first seed takes about three hours on two cores. Flags: --minutes M, --only GROUP,..., --seeds N, --workers N, --scale X,
# --report, --help.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/packages.sh"
cd "$root"

need Python python3 command -v python3
need_sentencepiece
configure build/release --preset release
cmake --build --preset release --target agent translate
for task in en_de synopsis; do
  [ -e build/paper/$task/corpus.json ] || build/release/examples/translate prepare --task $task --out build/paper/$task
done
exec python3 bench/paper.py "$@"
