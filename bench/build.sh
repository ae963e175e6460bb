# Sourced by the other scripts: build_bench COMPILER TARGET... builds programs of this folder and leaves their place in $folder.
. "$root/tests/packages.sh"
build_bench() {
  local compiler=$1 build target targets=()
  build=$root/build/bench-$(basename "$compiler")
  for target in "${@:2}"; do targets+=("bench_$target"); done
  (cd "$root" && CXX=$compiler configure "$build" --preset bench -DCMAKE_CXX_COMPILER="$compiler")
  cmake --build "$build" --target "${targets[@]}"
  folder=$build/bench
}
