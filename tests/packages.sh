# Sourced by the other scripts, which run on any system that has what they need. What is missing comes by apt-get, or they say
# what to install.

# need NAME PACKAGE COMMAND...: notes NAME, of Debian's package PACKAGE, as missing unless the command succeeds.
missing=() packages=()
need() {
  local name=$1 package=$2
  shift 2
  "$@" >/dev/null 2>&1 || { missing+=("$name ($package)"); packages+=("$package"); }
}

can_install() {
  command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }
}

# Learns subwords; what is built without it says so.
need_sentencepiece() { need libsentencepiece libsentencepiece-dev test -e /usr/include/sentencepiece_trainer.h; }

# For trainings by several processes, with two kinds of MPI.
need_mpi() {
  need "Open MPI" libopenmpi-dev command -v mpicxx.openmpi
  need "Open MPI's mpirun" openmpi-bin command -v mpirun.openmpi
  need MPICH libmpich-dev command -v mpicxx.mpich
  need "MPICH's mpirun" mpich command -v mpirun.mpich
}

# Installs what need has noted. LINE... is what else to say where that is not possible.
install_needed() {
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! can_install; then
    {
      echo "these were not found; please install them (in brackets Debian's packages) and start this again:"
      printf '  %s\n' "${missing[@]}" "$@"
      ! command -v apt-get >/dev/null || echo "as root: apt-get install ${packages[*]}"
    } >&2
    return 1
  fi
  local run=env
  [ "$(id -u)" -eq 0 ] || run="sudo env"
  echo "installing ${packages[*]}"
  $run apt-get -qq update
  $run DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${packages[@]}" >/dev/null
  missing=() packages=()
}

# configure FOLDER ARGUMENT...: cmake -B FOLDER ARGUMENT..., after installing the tools of a build and the libraries that
# CMakeLists.txt does not find. What cmake says is shown when it fails.
configure() {
  local folder=$1 compiler=g++ log entry package
  shift
  [[ ${CXX:-} != *clang* ]] || compiler=clang
  need "CMake 3.24" cmake command -v cmake
  need Ninja ninja-build command -v ninja
  need "a C++20 compiler, such as g++ 12 or clang 14" $compiler command -v ${CXX:-c++ g++ clang++}
  install_needed "and the libraries, as far as they are not there: Eigen 3.4, fmt 9, nlohmann-json, CLI11; for tests Catch2" \
    "and Google Benchmark"

  if log=$(cmake -B "$folder" "$@" 2>&1) && ! grep -q '^FBT_MISSING:INTERNAL=.' "$folder/CMakeCache.txt"; then return; fi
  while IFS= read -r entry; do
    package=${entry##*(}
    need "${entry% (*}" "${package%)}" false
  done < <(sed -n 's/^FBT_MISSING:INTERNAL=//p' "$folder/CMakeCache.txt" 2>/dev/null | tr ';' '\n')
  install_needed
  log=$(cmake -B "$folder" "$@" 2>&1) || { echo "$log" >&2; return 1; }
}
