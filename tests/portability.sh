#!/usr/bin/env bash
# Builds tests for another compiler, standard library or machine, and runs them: bash tests/portability.sh TARGET [FILE...]
#   libc++       clang with its own standard library
#   g++-11       as old a g++ as works; without vectors
#   i386         32-bit x86, by clang
#   arm64        64-bit ARM, emulated
#   arm64-dot    likewise, with instructions for products of 8 bits
#   big-endian   s390x, emulated; its machine is one that files are refused on
#   mingw        Windows, under wine; some of the programs, too
# FILEs are tests to build in the place of the target's. Installs the Debian packages that are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/packages.sh

target=${1:-} folders=(core kernels layers models training generation text io io/pytorch)
emulator=() flags=()
case $target in
  libc++)
    need clang clang command -v clang++
    need libc++ libc++-14-dev test -e /usr/lib/llvm-14/include/c++/v1
    need libc++abi libc++abi-14-dev test -e /usr/lib/llvm-14/lib/libc++abi.a
    compiler=(clang++ -stdlib=libc++ -march=native)
    ;;
  g++-11)
    need g++-11 g++-11 command -v g++-11
    compiler=(g++-11 -march=native) flags=(-Wno-maybe-uninitialized -Wno-uninitialized)
    ;;
  i386)
    need clang clang command -v clang++
    need "32-bit libraries" g++-12-multilib test -e /usr/lib32/libc.so
    compiler=(clang++ -m32 -msse2 -idirafter /usr/include/x86_64-linux-gnu)
    ;;
  arm64 | arm64-dot)
    need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu command -v aarch64-linux-gnu-g++
    need qemu qemu-user command -v qemu-aarch64
    compiler=(aarch64-linux-gnu-g++ -static) emulator=(qemu-aarch64)
    [ "$target" = arm64 ] || compiler+=(-march=armv8.2-a+dotprod)
    ;;
  big-endian)
    need s390x-linux-gnu-g++ g++-s390x-linux-gnu command -v s390x-linux-gnu-g++
    need qemu qemu-user command -v qemu-s390x
    compiler=(s390x-linux-gnu-g++ -static) emulator=(qemu-s390x)
    folders=(core kernels layers models generation text)
    ;;
  mingw)
    need mingw-w64 g++-mingw-w64-x86-64-posix command -v x86_64-w64-mingw32-g++-posix
    need wine wine64 test -x /usr/lib/wine/wine64
    compiler=(x86_64-w64-mingw32-g++-posix -static) emulator=(/usr/lib/wine/wine64) flags=(-Wa,-mbig-obj)
    folders+=(examples examples/support)
    ;;
  *)
    sed -n '2,/^set/s/^# //p' "$0" >&2
    exit 2
    ;;
esac
need Eigen libeigen3-dev test -e /usr/include/eigen3/Eigen/Core
need fmt libfmt-dev test -e /usr/include/fmt/format.h
need nlohmann-json nlohmann-json3-dev test -e /usr/include/nlohmann/json.hpp
need CLI11 libcli11-dev test -e /usr/include/CLI/CLI.hpp
need Catch2 catch2 test -e /usr/include/catch2
install_needed

# The headers of the libraries alone: beside them are those of this machine's own libraries.
build=build/portability/$target
mkdir -p "$build/include"
for folder in eigen3/Eigen fmt nlohmann CLI catch2; do ln -sfn "/usr/include/$folder" "$build/include/${folder#eigen3/}"; done
export FBT_PROCESSORS=4 WINEPREFIX=$PWD/$build/wine WINEDEBUG=-all

compile() {
  "${compiler[@]}" -std=c++20 -O1 -pthread -Wall -Wextra -Wconversion -Wshadow -Werror -DFMT_HEADER_ONLY -Iinclude -Itests \
    -Iexamples -isystem "$build/include" -DFBT_GOLDEN='"tests/golden"' -DFBT_DATA='"tests/data"' "${flags[@]}" "$@"
}
run() { timeout 1800 "${emulator[@]}" "$@"; }

files=("${@:2}")
[ ${#files[@]} -gt 0 ] || for folder in "${folders[@]}"; do files+=(tests/"$folder"/*_test.cpp); done
[ -e "$build/main.o" ] || compile -c tests/support/main.cpp -o "$build/main.o"
failed=()
for file in "${files[@]}"; do
  echo "$file"
  { compile "$file" "$build/main.o" -o "$build/test.exe" && run "$build/test.exe"; } || failed+=("$file")
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
[ "$target" = mingw ] || exit 0

for name in language_model tasks import_checkpoint agent translate train_text regression own_block own_loop; do
  echo "examples/$name.cpp"
  compile "examples/$name.cpp" -o "$build/$name.exe"
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
[ "$(ls "$folder/lm" | tr '\n' ' ')" = "config.toml layer_weights.svg loss.svg metrics.jsonl model.safetensors training.safetensors " ] ||
  { ls "$folder/lm" >&2; exit 1; }
