#!/usr/bin/env bash
# Installs what is missing, then fuzzes every reader for the given number of seconds (60 if none) from the inputs kept here, and
# says how many inputs each has read. bash tests/fuzz/run.sh [SECONDS]
# An input that ends a reader otherwise than with std::invalid_argument or std::runtime_error is left in build/fuzz/found; its
# place, once the reader is mended, is tests/fuzz/found.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/packages.sh
seconds=${1:-60}
need clang++ clang command -v clang++
need "clang's sanitizers" libclang-rt-dev clang++ -fsanitize=fuzzer,address -x c++ -o /dev/null - <<<'
  extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
build=build/fuzz
configure $build -S . -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=None -DFBT_BUILD_EXAMPLES=OFF -DFBT_BUILD_FUZZERS=ON
cmake --build $build --target fuzzers
$build/tests/fuzz/make_fuzz_seeds $build/seeds

export ASAN_OPTIONS=quarantine_size_mb=16
failed=0
for name in safetensors checkpoint training session vocabulary config; do
  mkdir -p $build/corpus/$name $build/found/$name
  inputs=($build/corpus/$name $build/seeds/$name tests/fuzz/corpus/$name)
  [ -d tests/fuzz/found/$name ] && inputs+=(tests/fuzz/found/$name)
  cat tests/fuzz/$name.dict >$build/$name.dict
  case $name in checkpoint | training | session) cat tests/fuzz/safetensors.dict >>$build/$name.dict ;; esac
  # the harnesses watch their memory more closely than these limits do
  $build/tests/fuzz/fuzz_$name -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64 \
    -print_final_stats=1 -dict=$build/$name.dict -artifact_prefix=$build/found/$name/ "${inputs[@]}" >$build/$name.log 2>&1 ||
    { failed=1; echo "$name: found something, see $build/$name.log and $build/found/$name"; }
  coverage=$(grep -ao ' cov: [0-9]*' $build/$name.log | tail -1) || true
  echo "$name: $(grep -a 'number_of_executed_units' $build/$name.log | grep -o '[0-9]*$') inputs in $seconds s,$coverage"
done
exit $failed
