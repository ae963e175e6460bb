# Sourced by tests of a program, SCRIPT PROGRAM CASE ARGUMENT...: a folder to work in, and what a run has to do.
set -euo pipefail
export LC_ALL=C.UTF-8  # whatever the user's is
program=$1 case=$2
scripts=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# The output of a run that has to succeed is left in $output.
succeed() { output=$("$program" "$@" 2>&1) || fail "exit code $? of $*: $output"; }
# A run that has to fail: error PART ARGUMENT... wants exit code 1 and a message that contains the part.
error() {
  local part=$1 code=0; shift
  "$program" "$@" >stdout 2>stderr || code=$?
  [ $code -eq 1 ] || fail "expected exit code 1, found $code: $* ($(cat stderr))"
  [[ $(cat stderr) == "error: "*"$part"* ]] || fail "expected a message with '$part', found: $(cat stderr)"
}
contains() { [[ $1 == *"$2"* ]] || fail "expected '$2' in: $1"; }
same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

# Comes last in a script: runs the function test_CASE.
run_case() {
  declare -F "test_$case" >/dev/null || fail "no such case: $case"
  "test_$case"
}
