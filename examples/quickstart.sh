#!/usr/bin/env bash
# Builds the language model, trains it for about a minute on the King James Bible, and lets it write.
# Other texts: --data FILE for each. Another folder for the results: --out FOLDER. All flags of `language_model train` may follow.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/packages.sh"
. "$root/examples/king_james.sh"

out=
data=() flags=()
set_path() {
  local path
  path=$2
  [[ $path == /* ]] || path=$PWD/$path
  case $1 in
    --data) data+=("$path") ;;
    --out) out=$path ;;
    *) flags+=("$1" "$path") ;;
  esac
}
while [ $# -gt 0 ]; do
  case $1 in
    --data | --out | --start-from | --config)
      [ $# -gt 1 ] || { echo "error: $1 needs a value" >&2; exit 1; }
      set_path "$1" "$2"; shift ;;
    --data=* | --out=* | --start-from=* | --config=*)
      set_path "${1%%=*}" "${1#*=}" ;;
    -h | --help)
      sed -n '2,3s/^# //p' "$0"; exit ;;
    *) flags+=("$1") ;;
  esac
  shift
done
cd "$root"

prompt=
if [ ${#data[@]} -eq 0 ]; then
  prompt="And God said"
  data=(build/bible.txt)
  king_james "${data[0]}" "or start this with a text of your own: --data FILE"
fi
! can_install || need_sentencepiece
configure build/release --preset release
cmake --build --preset release --target language_model

if [ -z "$out" ]; then
  out=runs/quickstart
  if [[ " ${flags[*]-} " != *" --resume "* && -e $out ]]; then
    if command -v flock >/dev/null && ! flock --nonblock "$out" true; then  # a training locks its folder so
      echo "error: $out: in use by another process" >&2
      exit 1
    fi
    rm -rf "$out.old"
    mv "$out" "$out.old"
    echo "the run before is in $out.old now"
  fi
fi

program=build/release/examples/language_model
"$program" train --data "${data[@]}" --out "$out" --validation-fraction 0.01 "${flags[@]}"

printf '\nIt writes:\n\n'
"$program" generate --model "$out/model.safetensors" --prompt "$prompt" --temperature 0.6 --length 600
texts=$(printf " %q" "${data[@]}") last=$(printf %q "${data[-1]}") out=$(printf %q "$out")  # for pasting
cat <<END

pictures     $out/loss.svg, $out/layer_weights.svg
metrics      $out/metrics.jsonl
checkpoint   $out/model.safetensors

To go on, in $(printf %q "$root"):
  $program generate --model $out/model.safetensors --prompt "$prompt" --temperature 0.6
  $program evaluate --model $out/model.safetensors --data $last --fraction 0.01
  $program train --data$texts --out $out --resume --seconds 300
END
