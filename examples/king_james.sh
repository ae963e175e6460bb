# Sourced by other scripts: king_james FILE writes the King James Bible, of Debian's package bible-kjv, unless the file is there.
king_james() {
  [ ! -s "$1" ] || return 0
  install_packages bible-kjv
  # one verse a line, without its reference ("Ge1:1 ")
  bible -f gen1:1-rev22:21 </dev/null | sed -E 's/^[0-9A-Za-z]+:[0-9]+ //; s/ +/ /g; s/ $//' >"$1.part"
  mv "$1.part" "$1"
}
