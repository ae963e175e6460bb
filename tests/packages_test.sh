#!/usr/bin/env bash
# bash packages_test.sh ROOT CASE: what run.sh and quickstart.sh do on systems that have what they need, or not. A system is a
# folder of links that is the whole PATH; its cmake configures a copy of the tree, and only says that it builds.
set -euo pipefail
root=$1 case=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset CXX

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
contains() { [[ $(cat output) == *"$1"* ]] || fail "expected '$1' in: $(cat output)"; }
lacks() { [[ $(cat output) != *"$1"* ]] || fail "found '$1' in: $(cat output)"; }
# expect CODE SCRIPT ARGUMENT...: leaves what it says in the file output.
expect() {
  local expected=$1 code=0
  PATH=$folder/system bash "${@:2}" >output 2>&1 || code=$?
  [ $code -eq "$expected" ] || fail "expected exit code $expected, found $code: ${*:2}: $(cat output)"
}
# command_of_system NAME <<script
command_of_system() {
  rm -f "system/$1"
  { echo '#!/usr/bin/env bash'; cat; } >"system/$1"
  chmod +x "system/$1"
}
hide() { echo "-DCMAKE_DISABLE_FIND_PACKAGE_$1=ON" >>hidden; }

mkdir tree system
cp -r "$root"/{include,tests,examples,bench,CMakeLists.txt,CMakePresets.json,README.md,LICENSE} tree
real_cmake=$(command -v cmake)
IFS=: read -ra path <<<"$PATH"
for place in "${path[@]}"; do ln -s "$place"/* system 2>/dev/null || true; done
rm -f system/{apt,dpkg}* system/{sudo,bible}
touch hidden
command_of_system cmake <<END
if [ "\$1" = --build ]; then
  echo "cmake \$*"
  mkdir -p build/release/examples
  printf '#!/usr/bin/env bash\necho "language_model \$*"\n' >build/release/examples/language_model
  chmod +x build/release/examples/language_model
else
  exec "$real_cmake" "\$@" \$(cat "$folder/hidden")
fi
END
command_of_system ctest <<<'echo "ctest $*"'
command_of_system id <<<'echo 1000'

test_all_there() {
  expect 0 tree/tests/run.sh
  contains "cmake --build --preset test"
  contains "ctest --preset test"
  lacks "installing"
  echo text >mine.txt
  expect 0 tree/examples/quickstart.sh --data mine.txt --seconds 1
  contains "language_model train --data $folder/mine.txt --out runs/quickstart --validation-fraction 0.01 --seconds 1"
}

test_no_tools() {
  rm system/{cmake,ninja} system/*{cc,++}*
  expect 1 tree/tests/run.sh
  contains "CMake 3.24 (cmake)"
  contains "Ninja (ninja-build)"
  contains "a C++20 compiler, such as g++ 12 or clang 14 (g++)"
  contains "Eigen 3.4, fmt 9, nlohmann-json, CLI11"
  lacks "apt-get"
}

test_no_libraries() {
  hide fmt
  hide Catch2
  expect 1 tree/tests/run.sh
  contains "  fmt 9 (libfmt-dev)"$'\n'"  Catch2 (catch2)"
  lacks "CLI11"
  expect 1 tree/examples/quickstart.sh
  contains "bible, which prints the King James Bible (bible-kjv)"
  contains "--data FILE"
}

test_apt() {
  hide Catch2
  command_of_system apt-get <<<''
  expect 1 tree/tests/run.sh
  contains "as root: apt-get install "
  command_of_system sudo <<<'exec "$@"'
  command_of_system apt-get <<END
echo "apt-get \$*" >>"$folder/installed"
[[ \$* != *install*catch2* ]] || echo -DCMAKE_DISABLE_FIND_PACKAGE_Catch2=OFF >"$folder/hidden"
END
  expect 0 tree/tests/run.sh
  contains "ctest --preset test"
  grep -q "^apt-get -qq install --no-install-recommends -y catch2$" installed || fail "found: $(cat installed)"
}

declare -F "test_$case" >/dev/null || fail "no such case: $case"
"test_$case"
