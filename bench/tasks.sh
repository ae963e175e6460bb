#!/usr/bin/env bash
# Trains every model on every task of the paper and on text, and writes what came of it to tasks.jsonl, tasks.md and pictures beside this
# script. What tasks.jsonl holds already is not run again: stop it, and go on with the same command. The first seed takes about
# three and a half hours on two cores, by an estimate. Flags: --minutes M, --only GROUP,..., --seeds N, --workers N, --scale X, --report, --help.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/packages.sh"
cd "$root"

. "$root/examples/king_james.sh"
king_james build/bible.txt
need Python python3 command -v python3
configure build/release --preset release
cmake --build --preset release --target language_model tasks
exec python3 bench/tasks.py "$@"
