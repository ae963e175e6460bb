#!/usr/bin/env bash
# Tests of the program import_checkpoint: import_checkpoint_test.sh PROGRAM CASE LANGUAGE_MODEL GOLDEN. Every function test_CASE is
# a test.
. "$(dirname "$0")/program.sh"
language_model=$3 golden=$4

weights() { echo "$golden/$1.weights.safetensors"; }
expected() { echo "$golden/$1.expected.safetensors"; }
# The flags that a case needs: only lucidrains' files do not tell the window.
window() { [ "$1" != lucidrains ] || echo --window 8; }
# write ARGUMENT...: language_model generate, its output in $output.
write() { output=$("$language_model" generate "$@" 2>&1) || fail "exit code $? of generate $*: $output"; }
at_most() { awk -v number="${1##* }" -v limit="$2" 'BEGIN {exit !(number <= limit && number >= 0)}' || fail "expected at most $2: $1"; }

# verify NAME LIMIT FLAG...: the errors of a golden case, each on a line that ends with it.
verify() {
  local name=$1 limit=$2 lines; shift 2
  succeed --weights "$(weights "$name")" $(window "$name") --verify "$(expected "$name")" "$@"
  mapfile -t lines < <(grep error <<<"$output")
  [ ${#lines[@]} -eq 3 ] || fail "expected 3 lines of errors: $output"
  [[ ${lines[0]} =~ ^'max |logit error|: '[0-9.e+-]+$ ]] || fail "${lines[0]}"
  [[ ${lines[1]} =~ ^'|loss error|: '[0-9.e+-]+$ ]] || fail "${lines[1]}"
  [[ ${lines[2]} =~ ^'max relative gradient error (worst of '[0-9]+' tensors: grad.'[a-z0-9_.]+'): '[0-9.e+-]+$ ]] || fail "${lines[2]}"
  for line in "${lines[@]}"; do at_most "$line" "$limit"; done
}
both() {
  verify "$1" 1e-5
  verify "$1" 1e-10 --double
  contains "$output" "layout ${1%%_*}, "
}
test_lucidrains() { both lucidrains; }
test_labml_kv() { both labml_kv; }
test_labml_original() { both labml_original; }
test_official_shared() { both official_shared; }
test_official_per_layer() { both official_per_layer; }
test_official_post_norm() { both official_post_norm; }

test_other_numbers_are_noticed() {
  local name=official_shared header
  cp "$(expected $name)" changed
  chmod u+w changed
  header=$(od -An -t u8 -N 8 changed)
  # the first number of the data: its sign and the beginning of its exponent become those of 2
  printf '\100' | dd of=changed bs=1 seek=$((header + 8 + 7)) conv=notrunc status=none
  error "$(weights $name): expected a relative gradient error of at most 0.001, found " --weights "$(weights $name)" --verify changed
  contains "$(cat stdout)" "max relative gradient error (worst of "
  # a smaller limit, and other weights
  error "expected a logit error of at most 1e-12, found " --weights "$(weights $name)" --verify "$(expected $name)" --max-logit-error 1e-12
  error "expected a loss error of at most 0, found " --weights "$(weights $name)" --verify "$(expected $name)" --max-loss-error 0
  error "expected a relative gradient error of at most 1e-12, found " --weights "$(weights $name)" --verify "$(expected $name)" --max-gradient-error 1e-12
  error "expected a logit error of at most 0.0001, found " --weights "$(weights lucidrains)" --window 7 --verify "$(expected lucidrains)" --out model
  [ ! -e model ] || fail "wrote a model that failed"
}

test_errors() {
  error "--weights is required"
  error "none: cannot open the file: No such file" --weights none
  printf 'text' >text
  error "text: expected a safetensors file, found only 4 bytes" --weights text
  error "expected a model of fbt" --weights "$(expected official_shared)"
  error "give it as --window (mem_len in Python)" --weights "$(weights lucidrains)"
  error "expected window 4096, as the file's position tables have it, found 100" --weights "$(weights labml_kv)" --window 100
  error "none: cannot open" --weights "$(weights official_shared)" --verify none
  error "expected a tensor named logits, found none" --weights "$(weights official_shared)" --verify "$(weights official_shared)"
  error "no/folder: cannot write the file" --weights "$(weights official_shared)" --out no/folder
  error "--max-loss-error requires --verify" --weights "$(weights official_shared)" --max-loss-error 1
  error "--double has no effect without --verify, --out or --export" --weights "$(weights official_shared)" --double
  error "unexpected --characterz; did you mean --characters?" --weights "$(weights official_shared)" --characterz text
  error '--window: expected a whole number from 0 to 9223372036854775807, found "-8"' --weights "$(weights lucidrains)" --window -8
  error '--max-loss-error: expected a decimal number, found "0x1p3"' --weights "$(weights official_shared)" --verify none --max-loss-error 0x1p3
  error "--characters requires --out" --weights "$(weights official_shared)" --characters text
  error "--out: expected a path, found an empty one" --weights "$(weights official_shared)" --out ""
  error "--export: expected a path, found an empty one" --weights "$(weights official_shared)" --export ""
  local code=0
  "$program" --weights "$(weights official_shared)" >/dev/full 2>stderr || code=$?
  [ $code -eq 1 ] || fail "expected exit code 1, found $code"
  contains "$(cat stderr)" "error: cannot write to the standard output: No space left on device"
  code=0; "$program" --weights "$(weights official_shared)" --out model >&- 2>stderr || code=$?
  [ $code -eq 1 ] || fail "expected exit code 1, found $code"
  contains "$(cat stderr)" "error: cannot write to the standard output: Bad file descriptor"
  [ "$(head -c 9 model | tail -c 1)" = "{" ] || fail "what was printed is in the file"
  succeed --help
  contains "$output" "--max-gradient-error FLOAT=0.001"
}

test_a_model_without_vocabulary_writes_numbers() {
  for name in lucidrains labml_kv labml_original official_shared official_per_layer official_post_norm; do
    succeed --weights "$(weights $name)" $(window $name) --out $name
    contains "$output" "wrote $name"
    write --model $name --length 5
    [[ $output =~ ^(' '[0-9]+){5}$ ]] || fail "$name: expected 5 numbers: '$output'"
    write --model $name --prompt "1 2 3" --length 4
    [[ $output =~ ^'1 2 3'(' '[0-9]+){4}$ ]] || fail "$name: expected 7 numbers: '$output'"
    local continued=$output
    write --model $name --prompt "1,2, 3" --length 4
    [ "${output#1,2, 3}" = "${continued#1 2 3}" ] || fail "$name: '$output' and '$continued'"
  done
}

test_vocabularies() {
  local convert=(--weights "$(weights official_shared)" --out model)
  printf 'kjihgfedcbä' >characters
  succeed "${convert[@]}" --characters characters
  write --model model --prompt "äbk" --length 20 --temperature 1
  [[ $output =~ ^äbk[a-kä]{20}$ ]] || fail "expected characters: $output"
  local text=$output
  succeed "${convert[@]}"
  write --model model --prompt "10 9 0" --length 20 --temperature 1
  [ "$(for n in $output; do printf %s "$(cut -c $((n + 1)) <<<kjihgfedcbA)"; done)" = "${text//ä/A}" ] || fail "$text is not $output"
  printf 'kk' >characters
  error "characters: expected every character of a vocabulary once, found 'k' (U+006B) again" "${convert[@]}" --characters characters
  printf 'ab' >characters
  error "characters: expected 11 tokens, as the model has, found 2" "${convert[@]}" --characters characters
  error "--bytes: expected 11 tokens, as the model has, found 256" "${convert[@]}" --bytes
  error " excludes " "${convert[@]}" --bytes --characters characters
  # an editor's line end, and the mark that some put at the beginning
  printf 'kjihgfedcbä' >characters
  succeed "${convert[@]}" --characters characters
  cp model expected
  for content in 'kjihgfedcbä\n' 'kjihgfedcbä\r\n' '\xef\xbb\xbfkjihgfedcbä' '\xef\xbb\xbfkjihgfedcbä\r\n'; do
    printf "$content" >characters
    succeed "${convert[@]}" --characters characters
    same model expected
  done
  printf 'kjihgfedcb\n' >characters  # a line end of the vocabulary itself
  succeed "${convert[@]}" --characters characters
  write --model model --prompt $'kj\nb' --length 0
  printf '\nkjihgfedcb\n' >characters
  succeed "${convert[@]}" --characters characters
  printf 'kjihgfedcbä\n\n' >characters
  error "expected every character of a vocabulary once" "${convert[@]}" --characters characters
  # a file of fbt keeps its vocabulary
  printf 'abcdefghijk' >characters
  succeed "${convert[@]}" --characters characters
  succeed --weights model --out again
  same model again
}

test_export() {
  for name in lucidrains labml_kv labml_original official_shared official_per_layer official_post_norm; do
    succeed --weights "$(weights $name)" $(window $name) --export exported --out model
    succeed --weights exported $(window $name) --verify "$(expected $name)"
    succeed --weights model --export from_model --layout ${name%%_*}
    same exported from_model
  done
  error "--layout: expected the one to write for PyTorch, found fbt" --weights model --export file
  error "--layout: expected one of fbt, official, labml, lucidrains, found \"keras\"" --weights model --export file --layout keras
  error "export: a file of lucidrains holds models with activation geglu, found relu" --weights model --export file --layout lucidrains
  [ ! -e file ] || fail "wrote a file"
}

# What language_model train makes with --layout can be exported; what is imported again writes and predicts the same.
test_trained_models_are_exported() {
  local layout train=(train --data text --vocabulary byte --width 8 --layers 2 --heads 2 --lanes 2 --segment 8 --updates 4 --seed 3)
  for i in {1..40}; do echo "line $i: in the beginning was the word"; done >text
  for layout in official labml lucidrains; do
    "$language_model" "${train[@]}" --layout $layout --out $layout >/dev/null || fail "cannot train $layout"
    succeed --weights $layout/model.safetensors --export exported --layout $layout
    local window=(); [ $layout != lucidrains ] || window=(--window 64)
    succeed --weights exported "${window[@]}" --out again --bytes
    contains "$output" "layout $layout"
    write --model $layout/model.safetensors --prompt "line" --length 100 --temperature 1; local first=$output
    write --model again --prompt "line" --length 100 --temperature 1
    [ "$output" = "$first" ] || fail "$layout: '$first' and '$output'"
    first=$("$language_model" evaluate --model $layout/model.safetensors --data text)
    [ "$("$language_model" evaluate --model again --data text)" = "$first" ] || fail "$layout: expected $first"
    "$language_model" train --data text --out $layout --resume --updates 6 >/dev/null || fail "cannot resume $layout"
    "$language_model" "${train[@]}" --start-from $layout/model.safetensors --layout $layout --out again.$layout >/dev/null || fail "cannot start from $layout"
    succeed --weights again.$layout/model.safetensors --export exported --layout $layout
  done
  program=$language_model
  error "--activation: --layout lucidrains needs geglu, found gelu; leave the flag out, or do without --layout" "${train[@]}" --out no --layout lucidrains --activation gelu
  error "--window: --layout labml needs 4096, found 64" "${train[@]}" --out no --layout labml --window 64
  error "--memory-rule: --layout official needs feedback, found transformer" "${train[@]}" --out no --layout official --memory-rule transformer
  error "--layout: expected one of fbt, official, labml, lucidrains, found \"keras\"" "${train[@]}" --out no --layout keras
  error "a file of labml holds models with position per_head, found relative_key" "${train[@]}" --out no --layout labml --start-from official/model.safetensors
  error "--layout: official/training.safetensors was begun with official, found labml" train --data text --out official --resume --updates 9 --layout labml
  [ ! -e no ] || fail "left a folder"
}

run_case
