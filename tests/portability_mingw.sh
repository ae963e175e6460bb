#!/usr/bin/env bash
# Builds tests, and the programs language_model and tasks, for Windows with mingw-w64, and runs them under wine:
# bash tests/portability_mingw.sh [FILE...]. FILEs are tests to build in the place of all. Installs the Debian packages that are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/packages.sh
need mingw-w64 g++-mingw-w64-x86-64-posix command -v x86_64-w64-mingw32-g++-posix
need wine wine64 test -x /usr/lib/wine/wine64
need Eigen libeigen3-dev test -e /usr/include/eigen3/Eigen/Core
need fmt libfmt-dev test -e /usr/include/fmt/format.h
need nlohmann-json nlohmann-json3-dev test -e /usr/include/nlohmann/json.hpp
need CLI11 libcli11-dev test -e /usr/include/CLI/CLI.hpp
need Catch2 catch2 test -e /usr/include/catch2
install_needed

# The headers of the libraries alone: those of this machine's own libraries are none for Windows.
build=build/portability/mingw
mkdir -p "$build/include"
for folder in eigen3/Eigen fmt nlohmann CLI catch2; do ln -sfn "/usr/include/$folder" "$build/include/${folder#eigen3/}"; done
export WINEPREFIX=$PWD/$build/wine WINEDEBUG=-all

compile() {
  x86_64-w64-mingw32-g++-posix -std=c++20 -O1 -Wa,-mbig-obj -Wall -Wextra -Wconversion -Wshadow -Werror -DFMT_HEADER_ONLY \
    -Iinclude -Itests -Iexamples -isystem "$build/include" -DFBT_GOLDEN='"tests/golden"' -DFBT_DATA='"tests/data"' "$@"
}
run() { timeout 900 /usr/lib/wine/wine64 "$@"; }

files=("$@")
[ ${#files[@]} -gt 0 ] || files=(tests/{core,kernels,layers,models,training,generation,text,io,io/pytorch,examples,examples/support}/*_test.cpp)
[ -e "$build/main.o" ] || compile -c tests/support/main.cpp -o "$build/main.o"
for file in "${files[@]}"; do
  echo "$file"
  compile "$file" "$build/main.o" -static -o "$build/test.exe"
  run "$build/test.exe"
done

for name in language_model tasks import_checkpoint; do
  echo "examples/$name.cpp"
  compile "examples/$name.cpp" -static -o "$build/$name.exe"
done
folder=$build/run
rm -rf "$folder"
mkdir "$folder"
for i in {1..100}; do printf 'line %02d: in the beginning was the word, and more of it here.\n' $((i % 100)); done >"$folder/text"
lm() { run "$build/language_model.exe" "$@"; }
lm train --data "$folder/text" --out "$folder/lm" --width 8 --layers 2 --heads 2 --window 8 --segment 16 --lanes 6 --updates 20
lm train --data "$folder/text" --out "$folder/lm" --resume --updates 25
lm evaluate --model "$folder/lm/model.safetensors" --data "$folder/text"
lm generate --model "$folder/lm/model.safetensors" --prompt "line" --length 40 | tee "$folder/written"
! grep -q $'\r' "$folder/written" || { echo "line ends have changed" >&2; exit 1; }
lm show --model "$folder/lm/model.safetensors" --text "line" --out "$folder/map.svg"
run "$build/tasks.exe" train --task copy --out "$folder/tasks" --width 8 --layers 1 --heads 2 --examples 40 --tests 12 --updates 6
run "$build/import_checkpoint.exe" --weights tests/golden/official_shared.weights.safetensors --verify tests/golden/official_shared.expected.safetensors
[ "$(ls "$folder/lm" | tr '\n' ' ')" = "layer_weights.svg loss.svg metrics.jsonl model.safetensors training.safetensors " ] ||
  { ls "$folder/lm" >&2; exit 1; }
