# Sourced by other scripts: king_james FILE LINE... writes the King James Bible, of Debian's package bible-kjv, unless the file
# is there. The lines are what else to say where the package cannot be installed.
king_james() {
  [ ! -s "$1" ] || return 0
  need "bible, which prints the King James Bible" bible-kjv command -v bible
  install_needed "${@:2}"
  mkdir -p "$(dirname "$1")"
  # one verse a line, without its reference ("Ge1:1 ")
  bible -f gen1:1-rev22:21 </dev/null | sed -E 's/^[0-9A-Za-z]+:[0-9]+ //; s/ +/ /g; s/ $//' >"$1.part"
  mv "$1.part" "$1"
}
