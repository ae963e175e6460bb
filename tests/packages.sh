# Sourced by the other scripts: install_packages NAME... installs the Debian packages that are missing.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local run=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "please install as root: ${missing[*]}" >&2; return 1; }
    run=(sudo)
  fi
  echo "installing ${missing[*]}"
  "${run[@]}" apt-get -qq update
  "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${missing[@]}" >/dev/null
}
build_packages="g++ cmake ninja-build libeigen3-dev libfmt-dev nlohmann-json3-dev libcli11-dev"
