#!/usr/bin/env bash
# Tests the page that `language_model show --out page.html` writes, in a headless Chromium, which it installs when it is missing.
# Usage: bash tests/browser.sh [LANGUAGE_MODEL [SCREENSHOT]]; by default the program of build/release, which it builds.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/packages.sh"
install_packages chromium chromium-driver python3
if [ $# -gt 0 ]; then
  program=$(realpath "$1")
else
  install_packages $build_packages
  cmake -S "$root" --preset release >/dev/null
  cmake --build "$root/build/release" --target language_model
  program=$root/build/release/examples/language_model
fi
screenshot=${2:+$(realpath -m "$2")}

folder=$(mktemp -d)
trap 'kill $driver 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
for i in {1..100}; do printf 'line %02d: in the beginning was the word, and more of it here.\n' $((i % 100)); done >text
"$program" train --data text --out run --width 16 --layers 2 --heads 2 --segment 16 --lanes 6 --seconds 5 >log
"$program" show --model run/model.safetensors --text "line 07: in the beginning was the word, and more of it here" --out page.html
chromedriver --port=0 >driver 2>&1 & driver=$!
for _ in {1..100}; do
  port=$(sed -nE 's/.*successfully on port ([0-9]+).*/\1/p' driver)
  [ -z "$port" ] || break
  sleep 0.1
done
python3 "$root/tests/browser.py" "$port" "$folder/page.html" "$screenshot"
