#!/usr/bin/env bash
# bash test.sh COMPILER FLAG...: the parts in this folder compile, and of each that lacks a member the compiler names the member.
set -euo pipefail
cd "$(dirname "$0")"
compile() { LC_ALL=C "$@" -fsyntax-only -include block.cpp -include core.cpp -include feed_forward.cpp norm.cpp 2>&1; }

output=$(compile "$@") || { echo "FAILED: expected that it compiles: $output" >&2; exit 1; }
output=$(compile "$@" -DMISSING) && { echo "FAILED: parts without a member compile" >&2; exit 1; }
for member in attention most_slots accumulate backward; do
  pattern="error: .*(required expression '[a-z]+[.]$member|no member named '$member')"
  [[ $output =~ $pattern ]] || { echo "FAILED: $member is not named in: $output" >&2; exit 1; }
done
