#!/usr/bin/env bash
# Tests of the program language_model: language_model_test.sh PROGRAM CASE. Every function test_CASE is a test.
. "$(dirname "$0")/program.sh"
. "$scripts/tiny_training.sh"

test_train_writes_its_files() {
  train run --updates 5 --threads 2
  contains "$output" "update      5"
  contains "$output" "best validation loss"
  [ "$(ls run | tr '\n' ' ')" = "config.toml layer_weights.svg loss.svg metrics.jsonl model.safetensors training.safetensors " ] || fail "$(ls run)"
  local line='^\{"update":[0-9]+,"seconds":[0-9.e-]+,"train_loss":[0-9.]+,"validation_loss":[0-9.]+,"tokens_per_second":[0-9.]+,"learning_rate":[0-9.e-]+,"gradient_norm":[0-9.]+,"layer_weights":\[[0-9.,]+\]\}$'
  [ "$(grep -cE "$line" run/metrics.jsonl)" -eq 5 ] || fail "$(cat run/metrics.jsonl)"
  contains "$(cat run/loss.svg)" validation
  contains "$(cat run/layer_weights.svg)" "layer 2"
  grep -aqF '\"memory_norm\":\"soft\"' run/model.safetensors || fail "$(head -c 2000 run/model.safetensors)"
}

test_without_validation() {
  train run --updates 2 --validation-fraction 0
  contains "$(cat run/metrics.jsonl)" '"validation_loss":null'
  [ -s run/model.safetensors ] || fail "no model"
}

test_seconds_bound_the_whole_run() {
  SECONDS=0
  train run --seconds 3
  [ $SECONDS -le 4 ] || fail "took $SECONDS s"
  [ "$(tail -n 1 run/metrics.jsonl | grep -c '"validation_loss":[0-9]')" -eq 1 ] || fail "no last evaluation"
}

test_threads_and_recompute_do_not_change_the_model() {
  for threads in 1 2 3; do train run$threads --updates 6 --threads $threads; done
  same run1/model.safetensors run2/model.safetensors
  same run1/model.safetensors run3/model.safetensors
  # nor does computing twice what is not kept
  train kept --updates 6 --segment 40; train again --updates 6 --segment 40 --recompute
  same kept/model.safetensors again/model.safetensors
  contains "$(cat kept/config.toml)" "recompute = false"
  for run in kept again; do succeed train --data text --out $run --updates 8 --resume; done
  same kept/model.safetensors again/model.safetensors
  contains "$(cat again/config.toml)" "recompute = true"  # as it was
  succeed train --config again/config.toml --out same
  contains "$(cat same/config.toml)" "recompute = true"
  train other --updates 6 --seed 2
  ! cmp -s run1/model.safetensors other/model.safetensors || fail "the seed has no effect"
}

test_resume_checks() {
  error "training.safetensors: cannot open" train --data text --out run --resume
  train run --updates 2
  error "already holds model.safetensors" train "${tiny[@]}" --out run --updates 2
  error "--width: run/training.safetensors was begun with 8, found 16" train --data text --out run --resume --updates 4 --width 16
  error "--dropout: run/training.safetensors was begun with 0.1, found 0" train --data text --out run --resume --updates 4 --dropout 0
  error "--vocabulary: run/training.safetensors was begun with character, found byte" train --data text --out run --resume --updates 4 --vocabulary byte
  error "has reached its end" train --data text --out run --resume
  error "--updates: expected more than the 2 that the training in run has, found 1" train --data text --out run --resume --updates 1
  tail -n +2 text >other
  error "another text" train --data other --out run --resume --updates 4
  echo 'Ω' >>other
  error "'Ω' (U+03A9)" train --data other --out run --resume --updates 4
  succeed train --data text --out run --resume --updates 4 --width 8 --learning-rate 1e-4
  contains "$(tail -n 1 run/metrics.jsonl)" '"update":4,'
}

test_evaluate() {
  train run --updates 5
  local read=(evaluate --model run/model.safetensors --data text)
  succeed "${read[@]}" --fraction 0.1 --lanes 64
  contains "$output" "610 tokens"
  contains "$output" "bits per character"
  contains "$output" "bits per byte"
  contains "$output" "an approximation: read in up to 64 parts side by side, each after the 8 tokens before it"
  # the same cut as in training: the last report holds the same loss
  local nats
  nats=$(tail -n 1 run/metrics.jsonl | sed -E 's/.*"validation_loss":([0-9]+\.[0-9]{3}).*/\1/')
  contains "$output" "$nats"
  # in one run by default, whatever the threads
  succeed "${read[@]}" --threads 1; local one=$output
  [[ $one != *approximation* ]] || fail "$one"
  succeed "${read[@]}" --threads 2 --lanes 1; [ "$output" = "$one" ] || fail "$one, then $output"
  succeed "${read[@]}" --weights int8
  contains "$output" "nats per token by the full weights: weights of int8 cost "
  contains "$output" "$(sed -n 2p <<<"$one") by the full weights"
  succeed "${read[@]}" --weights bf16 --json
  contains "$output" '"weights":"bf16","full_nats_per_token":'
  error '--weights: expected one of full, bf16, int8, int4, found "int2"' "${read[@]}" --weights int2
  error "--fraction must be above 0" "${read[@]}" --fraction 0
  error "nothing: cannot open" evaluate --model nothing --data text
  echo 'AΩ' >other
  error "other: expected only characters of the model's vocabulary of" evaluate --model run/model.safetensors --data other
}

# The sum of a column of numbers.
sum() { awk -v column="$1" '{ s += $column } END { printf "%.3f", s }'; }

test_evaluate_every_token() {
  train run --updates 5
  printf 'the word: ünder the world\n' >short
  cp text old; sed -i '1s/^/ü/' text
  train run2 --updates 5
  local read=(evaluate --model run2/model.safetensors --data short)
  succeed "${read[@]}" --json
  local summary=$output nats
  [[ $summary =~ ^'{"tokens":26,"scored":25,"nats_per_token":'([0-9.]+)',"bits_per_token":'([0-9.]+)',"perplexity":'[0-9.]+',"accuracy":'[0-9.]+',"bits_per_byte":'([0-9.]+)',"lanes":1,"exact":true}'$ ]] || fail "$summary"
  nats=${BASH_REMATCH[1]}
  awk -v token="${BASH_REMATCH[2]}" -v byte="${BASH_REMATCH[3]}" 'BEGIN { d = token * 25 - byte * 26; exit !(d < 1e-6 && d > -1e-6) }' ||
    fail "one of the 25 characters has two bytes: $summary"
  succeed "${read[@]}" --per-token
  [ "$(grep -c $'^[0-9]*\t[0-9.]*\t' <<<"$output")" -eq 25 ] || fail "expected 25 tokens: $output"
  [ "$(head -n 25 <<<"$output" | cut -f 3 | tr -d '\n')" = "he␣word:␣ünder␣the␣world↵" ] || fail "$output"
  awk -v mean="$nats" -v all="$(head -n 25 <<<"$output" | sum 2)" 'BEGIN { d = mean * 25 - all; exit !(d < 0.01 && d > -0.01) }' || fail "$nats, $output"
  succeed "${read[@]}" --per-token --json
  [ "$(tail -n 1 <<<"$output")" = "$summary" ] || fail "expected $summary at the end of $output"
  [[ $(head -n 1 <<<"$output") =~ ^'{"place":1,"token":'[0-9]+',"text":"h","nats":'[0-9.e-]+'}'$ ]] || fail "$output"
  [[ $(sed -n 25p <<<"$output") == '{"place":25,'*'"text":"\n",'* ]] || fail "$output"
  error "--lanes excludes --per-token" "${read[@]}" --per-token --lanes 2
  # what is not in the vocabulary
  error "found 'ü' (U+00FC)" evaluate --model run/model.safetensors --data short
  succeed evaluate --model run/model.safetensors --data short --skip-unknown
  contains "$output" "25 tokens"
  contains "$output" "1 unknown characters were left out"
  sed 's/ü//' short >without
  succeed evaluate --model run/model.safetensors --data without; local expected=$output
  succeed evaluate --model run/model.safetensors --data short --skip-unknown
  [ "$(head -n 5 <<<"$output")" = "$expected" ] || fail "expected $expected, found $output"
  succeed evaluate --model run/model.safetensors --data short --skip-unknown --json
  contains "$output" '"unknown":1'
  succeed evaluate --model run/model.safetensors --data - <old
  contains "$output" "6100 tokens"
}

test_generate() {
  train run --updates 40
  local write=(generate --model run/model.safetensors --length 80)
  succeed "${write[@]}" --prompt "line"; local first=$output
  succeed "${write[@]}" --prompt "line"; [ "$output" = "$first" ] || fail "the same seed gave other text"
  [ "${#first}" -ge 80 ] || fail "too short: $first"
  contains "$first" "line"
  succeed "${write[@]}" --prompt "line" --seed 2; [ "$output" != "$first" ] || fail "the seed has no effect"
  succeed "${write[@]}"
  succeed "${write[@]}" --prompt ""
  succeed "${write[@]}" --prompt "in" --length 0; [ "$output" = in ] || fail "expected only the prompt: $output"
  printf 'in the' >prompt
  succeed "${write[@]}" --prompt-file prompt --temperature 0 --repetition-penalty 1.2; contains "$output" "in the"
  succeed "${write[@]}" --prompt "in" --temperature 0; local greedy=$output
  succeed "${write[@]}" --prompt "in" --temperature 0 --stop "${greedy:6:3}" --stop "${greedy:9:3}"
  [[ $greedy == "$output"* && ${#output} -le 6 ]] || fail "did not stop: '$output' of '$greedy'"
  succeed "${write[@]}" --prompt "in" --temperature 0 --weights bf16; [ "${output:0:5}" = "${greedy:0:5}" ] || fail "$output, not $greedy"
  succeed "${write[@]}" --prompt "in" --weights int4; [ "${#output}" -ge 80 ] || fail "too short: $output"
  error "the prompt: expected only characters of the model's vocabulary of 31, found 'X' (U+0058), 'é' (U+00E9)" "${write[@]}" --prompt "Xé"
  error "--stop" "${write[@]}" --stop "X"
  error "stop sequence" "${write[@]}" --stop ""
  error "temperature must be at least 0, found -1" "${write[@]}" --temperature -1
  error "top-p" "${write[@]}" --top-p 0
  error "excludes" "${write[@]}" --prompt a --prompt-file prompt
  succeed "${write[@]}" --prompt-file prompt; first=$output
  succeed "${write[@]}" --prompt-file - <prompt; [ "$output" = "$first" ] || fail "expected $first, found $output"
  succeed "${write[@]}" --prompt "in the" --no-prompt; [ "in the$output" = "$first" ] || fail "expected $first without its prompt, found $output"
  succeed "${write[@]}" --prompt "in the" --quiet; [ "$output" = "$first" ] || fail "expected $first, found $output"
  error "no-file: cannot open" "${write[@]}" --prompt-file no-file
  local code=0
  "$program" "${write[@]}" >/dev/full 2>stderr || code=$?
  [ $code -eq 1 ] && contains "$(cat stderr)" "No space left on device"
}

test_generate_many() {
  tr '\n' ' ' <text >line  # so that every text is a line
  succeed train "${tiny[@]:2}" --data line --out run --updates 40
  local write=(generate --model run/model.safetensors --length 80 --prompt "in the")
  succeed "${write[@]}" --count 3; local three=$output
  [ "$(grep -cE '^in the.{80}$' <<<"$three")" -eq 3 ] || fail "expected 3 texts: $three"
  [ -z "$(sed -n '2p;4p' <<<"$three")" ] || fail "expected blank lines between: $three"
  [ "$(sort -u <<<"$three" | wc -l)" -eq 4 ] || fail "texts are alike: $three"
  succeed "${write[@]}" --count 3 --threads 2; [ "$output" = "$three" ] || fail "a second run gave other texts: $output"
  succeed "${write[@]}" --count 2 --seed 2; [ "$output" = "$(tail -n 3 <<<"$three")" ] || fail "expected the last 2 of $three, found $output"
  succeed generate --model run/model.safetensors --length 5 --count 2 --json; [ "$(wc -l <<<"$output")" -eq 2 ] || fail "$output"
  succeed "${write[@]}" --count 20; [ "$(head -n 5 <<<"$output")" = "$three" ] || fail "expected to begin with $three, found $output"
  [ "$(wc -l <<<"$output")" -eq 39 ] || fail "expected 20 texts: $output"
  succeed "${write[@]}"; local one=$output
  succeed "${write[@]}" --count 1; [ "$output" = "$one" ] || fail "--count 1 is not the default: $output"
  error "temperature must be at least 0, found -1" "${write[@]}" --count 3 --temperature -1
  error "--count must be from 1 to 1000, found 0" "${write[@]}" --count 0
  # other prompts beside it: a text depends on its own alone
  succeed "${write[@]}" --prompt "word" --prompt ""; local others=$output
  [ "$(head -n 1 <<<"$others")" = "$(head -n 1 <<<"$three")" ] || fail "expected to begin as $three, found $others"
  [ "$(grep -c . <<<"$others")" -eq 3 ] || fail "expected 3 texts: $others"
  printf 'in the\r\nword\n\n' >prompts
  write=(generate --model run/model.safetensors --length 80)
  succeed "${write[@]}" --prompts-file prompts; [ "$output" = "$others" ] || fail "expected $others, found $output"
  succeed "${write[@]}" --prompts-file - <prompts; [ "$output" = "$others" ] || fail "expected $others, found $output"
  succeed "${write[@]}" --prompts-file prompts --count 2; [ "$(wc -l <<<"$output")" -eq 11 ] || fail "expected 6 texts: $output"
  [ "$(head -n 3 <<<"$output")" = "$(head -n 3 <<<"$three")" ] || fail "expected to begin as $three, found $output"
  printf 'in\nthe Ω\n' >prompts
  error "prompts, line 2: expected only characters of the model's vocabulary of" "${write[@]}" --prompts-file prompts
  error "excludes" "${write[@]}" --prompts-file prompts --prompt in
}

test_generate_json() {
  train run --updates 40
  local write=(generate --model run/model.safetensors --length 30)
  succeed "${write[@]}" --prompt "in the"; local text=${output#in the}
  succeed "${write[@]}" --prompt "in the" --json
  [[ $output =~ ^'{"prompt":"in the","text":'.*',"seed":1,"tokens":['('{"token":'[0-9]+',"text":'[^}]*',"logprob":'-[0-9.e-]+'}'[],]){30}'}'$ ]] || fail "$output"
  ! command -v python3 >/dev/null || [ "$(python3 -c 'import json, sys; d = json.loads(sys.argv[1])
assert d["text"] == "".join(t["text"] for t in d["tokens"])
print(d["text"])' "$output")" = "$text" ] || fail "expected $text in $output"
  local line=$output
  succeed "${write[@]}" --prompt "in the" --json --no-prompt; [ "$output" = "{${line#*,}" ] || fail "expected $line without its prompt, found $output"
  succeed "${write[@]}" --prompt "in the" --logprobs
  [ "$(wc -l <<<"$output")" -eq 30 ] || fail "expected 30 lines: $output"
  [ "$(cut -f 2 <<<"$output" | tr -d '\n')" = "$(tr ' \n' '_|' <<<"$text" | sed 's/|$//; s/_/␣/g; s/|/↵/g')" ] || fail "expected $text in $output"
  [ "$(head -n 1 <<<"$output" | cut -c 1-5)" = "$(grep -o '"logprob":[^}]*' <<<"$line" | head -n 1 | cut -c 11-15)" ] || fail "$output and $line"
  succeed "${write[@]}" --prompt "in" --prompt "the" --count 2 --json
  [ "$(grep -c '^{"prompt":' <<<"$output")" -eq 4 ] && [ "$(wc -l <<<"$output")" -eq 4 ] || fail "expected 4 lines: $output"
  # the sum of the log-probabilities is what evaluate says of the whole text
  succeed generate --model run/model.safetensors --length 200 --prompt "i" --temperature 1 --seed 3; printf '%s' "$output" >written
  succeed generate --model run/model.safetensors --length 200 --prompt "i" --temperature 1 --seed 3 --logprobs
  local sum
  sum=$(sum 1 <<<"$output")
  succeed evaluate --model run/model.safetensors --data written
  awk -v sum="$sum" -v mean="$(sed -n 's/ nats per token//p' <<<"$output")" 'BEGIN { d = sum / 200 + mean; exit !(d < 1e-3 && d > -1e-3) }' ||
    fail "$sum and $output"
}

test_state() {
  train run --updates 40
  local write=(generate --model run/model.safetensors --length 60 --repetition-penalty 1.1)
  succeed "${write[@]}" --prompt "in the" --save-state s; local first=$output
  printf '%sword' "$first" >whole
  succeed "${write[@]}" --prompt-file whole; local expected=${output#"$(cat whole)"}
  succeed "${write[@]}" --load-state s --prompt word --no-prompt; [ "$output" = "$expected" ] || fail "expected $expected, found $output"
  succeed "${write[@]}" --load-state s --prompt word --save-state s2; [ "$output" = "word$expected" ] || fail "expected word$expected, found $output"
  printf '%s%s' "$(cat whole)" "$expected" >whole
  # no prompt: on from where it was; also after a stop of several tokens, which is not remembered
  succeed "${write[@]}" --prompt-file whole --no-prompt --seed 5; expected=$output
  succeed "${write[@]}" --load-state s2 --seed 5; [ "$output" = "$expected" ] || fail "expected $expected, found $output"
  succeed "${write[@]}" --load-state s2 --seed 5 --stop "${expected:20:3}" --save-state s3; local part=$output
  [[ $expected == "$part"* ]] || fail "'$part' of '$expected'"
  printf '%s%s' "$(cat whole)" "$part" >whole
  succeed "${write[@]}" --prompt-file whole --no-prompt; expected=$output
  succeed "${write[@]}" --load-state s3; [ "$output" = "$expected" ] || fail "expected $expected, found $output"
  # reading only
  succeed generate --model run/model.safetensors --prompt "in the" --length 0 --save-state s4
  succeed "${write[@]}" --load-state s4 --no-prompt; [ "in the$output" = "$first" ] || fail "expected $first, found $output"
  train other --updates 3
  error "s: the session belongs to another model (run/model.safetensors): expected one of " generate --model other/model.safetensors --load-state s
  error "run/model.safetensors: expected a session written by fbt" "${write[@]}" --load-state run/model.safetensors
  error "s: expected a model, found what generate --save-state wrote" generate --model s
  error "none: cannot open" "${write[@]}" --load-state none
  error "are for one text, found 2" "${write[@]}" --prompt a --prompt i --save-state s
  error "are for one text, found 3" "${write[@]}" --count 3 --load-state s
  error "no/folder: cannot write the file" "${write[@]}" --save-state no/folder
}

test_interactive() {
  tr '\n' ' ' <text >line
  sed -i 's/$/\n/' line
  train run --data line --updates 40
  local write=(generate --model run/model.safetensors --length 30 --interactive)
  printf 'in the\nword\r\n\nmore\n' >turns
  succeed "${write[@]}" --save-state s <turns; local turns=$output
  [ "$(wc -l <<<"$turns")" -eq 4 ] || fail "expected 4 lines: $turns"
  [[ $turns =~ ^'in the'.{30}$'\n''word'.{30}$'\n'.{30}$'\n''more'.{30}$ ]] || fail "$turns"
  # each turn is what generate writes after all before it, with the next seed
  local text='' number=0 line
  while IFS= read -r line; do
    number=$((number + 1))
    [ $number -eq 3 ] || [ $number -eq 1 ] || text+=$'\n'
    printf '%s%s' "$text" "${line:0:${#line}-30}" >prompt
    text+=$line
    succeed generate --model run/model.safetensors --length 30 --seed $number --prompt-file prompt
    [ "$output" = "$text" ] || fail "turn $number: expected $text, found $output"
  done <<<"$turns"
  printf '%s' "$text" >prompt
  succeed generate --model run/model.safetensors --length 30 --prompt-file prompt --no-prompt; line=$output
  succeed generate --model run/model.safetensors --length 30 --load-state s; [ "$output" = "$line" ] || fail "expected $line, found $output"
  # an answer comes before the next line is asked for
  mkfifo questions answers
  "$program" "${write[@]}" <questions >answers & local pid=$!
  exec 3>questions 4<answers
  for word in in the; do
    echo $word >&3
    IFS= read -r -t 10 line <&4 || fail "no answer"
    [[ $line =~ ^$word.{30}$ ]] || fail "$line"
  done
  exec 3>&-
  wait $pid
  printf 'in\nthe Ω\n' >turns
  error "line 2: expected only characters of the model's vocabulary of" "${write[@]}" --save-state kept <turns
  succeed generate --model run/model.safetensors --length 5 --load-state kept  # up to that line
  # but an error within a turn leaves what was kept before
  cp kept before
  (echo in | "$program" generate --model run/model.safetensors --length 5000 --interactive --no-prompt --load-state kept --save-state kept >/dev/full 2>stderr) && fail "wrote to a full device"
  contains "$(cat stderr)" "cannot write the text to the standard output"
  same kept before
  error "the standard input: cannot be read: " "${write[@]}" </
  succeed "${write[@]}" </dev/null; [ -z "$output" ] || fail "$output"
  printf 'in\n' >turns
  succeed "${write[@]}" --json <turns
  [[ $output == '{"prompt":"in",'* ]] || fail "$output"
  error "expected the prompt from elsewhere, found -" "${write[@]}" --prompt-file -
}

# At a terminal, made by script(1): a sign asks for a line, and a line that cannot be read is told and asked for again.
test_interactive_terminal() {
  command -v script >/dev/null || fail "needs script, of the package bsdutils"
  train run --updates 40
  local talk
  talk=$(printf '%q ' "$program" generate --model run/model.safetensors --length 30 --temperature 0 --interactive)
  { sleep 1; printf 'in the\n'; sleep 1; printf 'Ω\n'; sleep 1; printf 'word\n\004'; sleep 1; } | script -qec "$talk" transcript >/dev/null ||
    fail "exit code $?: $(cat transcript)"
  [ "$(grep -c '^> ' transcript)" -ge 3 ] || fail "expected to be asked: $(cat transcript)"
  contains "$(cat transcript)" "line 2: expected only characters of the model's vocabulary"
  contains "$(cat transcript)" "60 tokens, "
  succeed generate --model run/model.safetensors --length 30 --temperature 0 --prompt "in the"
  contains "$(tr -d '\r' <transcript)" "$output"
  { sleep 1; printf 'in the\n\004'; sleep 1; } | script -qec "$talk --quiet" transcript >/dev/null || fail "exit code $?"
  ! grep -qE '^> |tokens/s' transcript || fail "expected neither sign nor speed: $(cat transcript)"
}

test_byte_vocabulary() {
  printf '\xff\xfe binary \xc3' >>text
  error "text: expected text in UTF-8, found the byte 0xff of no valid character at offset $(($(wc -c <text) - 11)); a model that is trained with --vocabulary byte takes any file" \
    train "${tiny[@]}" --out run --updates 3
  [ ! -e run ] || fail "left a folder"
  { head -n 50 text; printf 'a\0b'; head -n 50 text; } >zeros
  error "zeros: expected text in UTF-8, found the byte 0x00" train "${tiny[@]:2}" --data zeros --out run --updates 3
  contains "$(cat stderr)" "--vocabulary byte"
  train run --updates 3 --vocabulary byte
  succeed evaluate --model run/model.safetensors --data text
  contains "$output" "bits per byte"
  error "--skip-unknown has no effect with a model of bytes, which knows all texts" evaluate --model run/model.safetensors --data text --skip-unknown
  "$program" generate --model run/model.safetensors --prompt "né" --temperature 3 --top-k 0 --top-p 1 --min-p 0 --length 300 >written
  iconv -f utf-8 -t utf-8 written >/dev/null || fail "not UTF-8"
  # other commands with a model of characters
  head -n 100 text >good
  train characters --data good --updates 1
  for flags in "evaluate --data" "generate --prompt-file" "show --text-file"; do
    error "text: expected text in UTF-8, found the byte 0xff" ${flags%% *} --model characters/model.safetensors ${flags#* } text
    contains "$(cat stderr)" "--vocabulary byte"
  done
}

test_prompt_that_ends_inside_a_character() {
  for i in {1..400}; do printf '日本語 日本'; done >japanese
  train run --data japanese --vocabulary byte --updates 60 --learning-rate 0.02
  printf '\xe6\x97\xa5\xe6\x9c' >prompt
  local write=(generate --model run/model.safetensors --prompt-file prompt --temperature 0 --length 1)
  "$program" "${write[@]}" >written
  [ "$(cat written)" = 日本 ] || fail "$(od -c written)"
  "$program" "${write[@]}" --no-prompt >written
  [ "$(cat written)" = 本 ] || fail "$(od -c written)"
  "$program" "${write[@]}" --json >written
  contains "$(cat written)" '{"prompt":"日","text":"本","seed":1,"tokens":[{"token":172,"text":"本",'
  "$program" generate --model run/model.safetensors --prompt-file prompt --length 0 >written
  [ "$(cat written)" = 日� ] || fail "$(od -c written)"
  cp prompt prompts
  "$program" generate --model run/model.safetensors --prompts-file prompts --temperature 1 --length 1 --top-k 2 --count 2 >written
  iconv -f utf-8 -t utf-8 written >/dev/null || fail "not UTF-8: $(od -c written)"
}

test_raw() {
  for i in {1..400}; do printf 'caf\xe9 '; done >latin
  train run --data latin --vocabulary byte --updates 60 --learning-rate 0.02
  local write=(generate --model run/model.safetensors --temperature 0 --length 8)
  printf 'f\xe9 ca' >prompt
  "$program" "${write[@]}" --prompt-file prompt --raw >written
  printf 'f\xe9 caf\xe9 caf\xe9 ' >expected
  same written expected
  "$program" "${write[@]}" --prompt-file prompt --raw --no-prompt >written
  printf 'f\xe9 caf\xe9 ' >expected
  same written expected
  "$program" "${write[@]}" --prompt-file prompt >written
  [ "$(cat written)" = "f� caf� caf� " ] || fail "$(od -c written)"
  error "--raw excludes --json" "${write[@]}" --raw --json
  error "are for one text, found 2" "${write[@]}" --prompt a --prompt c --raw
  train characters --updates 1
  error "--raw has no effect with characters/model.safetensors: its tokens are no bytes" generate --model characters/model.safetensors --raw
}

test_byte_order_mark() {
  train run --updates 2
  { printf '\xef\xbb\xbf'; cat text; } >marked
  train marked_run --data marked --updates 2
  same run/model.safetensors marked_run/model.safetensors
  succeed evaluate --model run/model.safetensors --data marked; local marked=$output
  succeed evaluate --model run/model.safetensors --data text; [ "$output" = "$marked" ] || fail "$output, then $marked"
  train bytes --data marked --vocabulary byte --updates 2
  succeed evaluate --model bytes/model.safetensors --data marked
  contains "$output" "6103 tokens"
}

test_subwords() {
  local subwords=(--vocabulary sentencepiece:280)
  if "$program" train "${tiny[@]}" --out run --updates 1 "${subwords[@]}" 2>&1 | grep -q "built without"; then
    [ ! -e run ] || fail "left a folder"
    return
  fi
  rm -r run
  train run --updates 5 "${subwords[@]}"
  contains "$output" "a vocabulary of 280"
  [ "$(wc -l <<<"$output")" -eq 9 ] || fail "expected only the usual lines: $output"
  train again --updates 5 "${subwords[@]}"
  same run/model.safetensors again/model.safetensors
  train writer --updates 150 --learning-rate 0.02 "${subwords[@]}"
  # what is written needs only the model file
  mv text elsewhere
  succeed generate --model writer/model.safetensors --prompt "  odd: é 中	" --length 20 --top-k 5
  contains "$output" "  odd: é 中	"
  "$program" generate --model run/model.safetensors --temperature 3 --top-k 0 --top-p 1 --min-p 0 --length 300 >written
  iconv -f utf-8 -t utf-8 written >/dev/null || fail "not UTF-8"
  # a text to end before may begin and end within tokens
  local write=(generate --model writer/model.safetensors --prompt in --length 40 --temperature 1 --top-k 5) whole at
  succeed "${write[@]}"; whole=$output
  for ((at = 2; at < ${#whole} - 1; at += 7)); do
    succeed "${write[@]}" --stop "${whole:at:2}"
    [[ $whole == "$output"* && "${output:2}${whole:at:2}" != *"${whole:at:2}"?* && ${#output} -le $at ]] || fail "'$output' of '$whole'"
    succeed "${write[@]}" --stop "${whole:at:2}" --json
    contains "$whole" "$(sed -E 's/.*"text":"([^"\\]*).*"seed".*/\1/' <<<"$output")"
  done
  error "--stop: expected a text, found none" "${write[@]}" --stop ""
  error "--skip-unknown has no effect with a model of subwords" evaluate --model run/model.safetensors --data elsewhere --skip-unknown
  succeed evaluate --model run/model.safetensors --data elsewhere
  contains "$output" "bits per subword"
  contains "$output" "bits per byte"
  succeed show --model run/model.safetensors --text "in the beginning" --out map.svg
  contains "$(cat map.svg)" "beg"
  mv elsewhere text
  train run --updates 7 --resume
  train run --updates 8 --resume "${subwords[@]}"
  error "--vocabulary: run/training.safetensors was begun with sentencepiece:280, found sentencepiece:281" train --data text --out run --resume --vocabulary sentencepiece:281 --updates 9
  error "--vocabulary sentencepiece:9000: the text has only " train "${tiny[@]}" --out other --vocabulary sentencepiece:9000
  for bad in sentencepiece sentencepiece: sentencepiece:256 sentencepiece:x sentencepiece:300x sentencepiece:-300 sentencepiece:99999999999999999999 word; do
    error "--vocabulary: expected one of character, byte, sentencepiece:N with N from 257 to 1000000, found \"$bad\"" train "${tiny[@]}" --out other --vocabulary $bad
  done
  printf 'caf\xe9' >>text
  error "text: expected text in UTF-8" train "${tiny[@]}" --out other "${subwords[@]}"
  [ ! -e other ] || fail "left a folder"
}

test_bad_data() {
  : >empty
  printf 'too short' >short
  for bad in "missing:cannot open the text file" ".:found a folder" "empty:found an empty file"; do
    error "${bad%%:*}: " train "${tiny[@]:2}" --out run --updates 3 --data "${bad%%:*}"
    contains "$(cat stderr)" "${bad#*:}"
  done
  error "6 lanes of segments of 16 tokens need 97 tokens, found 9" train "${tiny[@]:2}" --out run --updates 3 --data short
  contains "$(cat stderr)" "lower --lanes, --segment"
  error "an evaluation needs 2 tokens, found 0 held out" train "${tiny[@]}" --out run --updates 3 --validation-fraction 0.00001
  [ ! -e run ] || fail "left a folder"
}

test_start_from() {
  train parallel --updates 4 --memory-rule transformer
  succeed train --data text --out feedback --start-from parallel/model.safetensors --segment 16 --lanes 6 --updates 3 --width 8
  contains "$(head -c 4000 feedback/model.safetensors | tr -d "\\0")" '\"memory_rule\":\"feedback\"'
  contains "$(head -c 4000 feedback/model.safetensors | tr -d "\\0")" '\"share_key_value\":false'
  contains "$(tail -n 1 feedback/metrics.jsonl)" '"layer_weights":[0.3'
  succeed train --data text --out feedback --resume --updates 5
  contains "$(tail -n 1 feedback/metrics.jsonl)" '"update":5,'
  # which can be had again, after it went on, too
  contains "$(cat feedback/config.toml)" 'start-from = "parallel/model.safetensors"'
  succeed train --config feedback/config.toml --out repeated
  # with no more than a tiny step the loss is that of the transformer
  succeed train --data text --out same --start-from parallel/model.safetensors --segment 16 --lanes 6 --updates 1 --memory-rule transformer --learning-rate 1e-9
  local before after
  before=$("$program" evaluate --model parallel/model.safetensors --data text | sed -n 2p)
  after=$("$program" evaluate --model same/model.safetensors --data text | sed -n 2p)
  [ "$before" = "$after" ] || fail "$before, then $after"
  # and so is that of feedback that goes on as feedback, with its layer weights
  succeed train --data text --out again --start-from feedback/model.safetensors --segment 16 --lanes 6 --updates 1 --learning-rate 1e-9
  before=$(tail -n 1 feedback/metrics.jsonl | grep -o '"layer_weights.*') after=$(tail -n 1 again/metrics.jsonl | grep -o '"layer_weights.*')
  [ "$before" = "$after" ] || fail "$before, then $after"
  error "--width: parallel/model.safetensors was begun with 8, found 16; leave the flag out, or do without --start-from" \
    train --data text --out other --start-from parallel/model.safetensors --width 16
  # the norm of the memory is the model's
  train own --updates 2 --memory-norm own
  succeed train --data text --out of_own --start-from own/model.safetensors --segment 16 --lanes 6 --updates 1
  succeed train --data text --out own --resume --updates 3
  for file in own/model.safetensors of_own/model.safetensors; do
    grep -aqF '\"memory_norm\":\"own\"' $file || fail "$(head -c 2000 $file)"
  done
  # of a training of before the flag, too
  sed 's/\\"memory-norm\\":\\"own\\",/                        /' own/training.safetensors >older
  ! cmp -s older own/training.safetensors || fail "the file was not changed"
  mv older own/training.safetensors
  error "--memory-norm: own/training.safetensors was begun with own, found none; leave the flag out" \
    train --data text --out own --resume --updates 4 --memory-norm none
  error "--memory-norm: own/model.safetensors was begun with own, found none; leave the flag out, or do without --start-from" \
    train --data text --out other --start-from own/model.safetensors --memory-norm none
  train shared --updates 2
  error "--memory-rule recurrent needs share_key_value false" train --data text --out other --start-from shared/model.safetensors --memory-rule recurrent
  error "--start-from: feedback/training.safetensors was begun with parallel/model.safetensors, found own/model.safetensors; leave the flag out" \
    train --data text --out feedback --resume --start-from own/model.safetensors
  succeed train --config feedback/config.toml --out feedback --resume --updates 6
  # a training of before it was kept does not know
  sed 's/\\"start-from\\":\\"parallel\/model.safetensors\\",/                                              /' feedback/training.safetensors >older
  ! cmp -s older feedback/training.safetensors || fail "the file was not changed"
  mv older feedback/training.safetensors
  error "--start-from has no effect with --resume" train --data text --out feedback --resume --updates 7 --start-from parallel/model.safetensors
  succeed train --data text --out feedback --resume --updates 7
  # its path may be any
  cp parallel/model.safetensors $'caf\xe9'
  succeed train --data text --out any --start-from $'caf\xe9' --segment 16 --lanes 6 --updates 1
  error "none: cannot open" train --data text --out other --start-from none
  [ ! -e other ] || fail "left a folder"
}

test_start_from_with_another_vocabulary() {
  train old --updates 40
  local go=(train --start-from old/model.safetensors --segment 16 --lanes 6)
  { cat text; printf 'Ωä%.0s' {1..200}; } >more
  succeed "${go[@]}" --data more --out grown --updates 1 --learning-rate 1e-9
  contains "$output" "the vocabulary changes from 31 tokens (character) to 33 (character)"
  # of the old text nothing but the two new characters has changed
  succeed evaluate --model old/model.safetensors --data text --fraction 0.1; local before=$output
  succeed evaluate --model grown/model.safetensors --data text --fraction 0.1
  awk -v a="$(sed -n 2p <<<"$before")" -v b="$(sed -n 2p <<<"$output")" 'BEGIN {exit !(a + 0 < b + 0 && b - a < 0.3)}' || fail "$before, then $output"
  succeed generate --model grown/model.safetensors --prompt "Ωline" --length 3
  succeed train --data more --out grown --resume --updates 3
  # a text without some of the old characters keeps them
  printf 'in the%.0s' {1..200} >less
  succeed "${go[@]}" --data less --out kept --updates 1
  [[ $output != *"the vocabulary changes"* ]] || fail "$output"
  contains "$output" "a vocabulary of 31"
  # the same characters as bytes
  succeed "${go[@]}" --data text --out bytes --updates 1 --vocabulary byte --learning-rate 1e-9
  contains "$output" "the vocabulary changes from 31 tokens (character) to 256 (byte)"
  succeed evaluate --model bytes/model.safetensors --data text --fraction 0.1
  awk -v a="$(sed -n 2p <<<"$before")" -v b="$(sed -n 2p <<<"$output")" 'BEGIN {exit !(a + 0 < b + 0 && b - a < 2.5)}' || fail "$before, then $output"
}

test_several_texts() {
  printf 'line one\n%.0s' {1..30} >one
  printf 'zwei äöü%.0s' {1..30} >two
  cat one two one >three
  local flags=("${tiny[@]:2}" --updates 3 --dropout 0)
  succeed train --data three "${flags[@]}" --out joined
  succeed train --data one two one "${flags[@]}" --out listed
  succeed train --data one --data two --data one "${flags[@]}" --out repeated
  same joined/model.safetensors listed/model.safetensors
  same joined/model.safetensors repeated/model.safetensors
  succeed train --data two "${flags[@]}" --out other
  ! cmp -s joined/model.safetensors other/model.safetensors || fail "only one text was read"
  succeed train --data one two --data one --out listed --resume --updates 5
  printf 'caf\xe9' >bad
  error "bad: expected text in UTF-8, found the byte 0xe9 of no valid character at offset 3" train --data one bad "${flags[@]}" --out no
  error "missing: cannot open" train --data one missing "${flags[@]}" --out no
  printf 'Ω' >odd
  error "odd: expected only characters of the model's vocabulary" train --data one two odd --out listed --resume --updates 7
  printf a >short
  error "short, short: the text is too short" train --data short short "${flags[@]}" --out no
  [ ! -e no ] || fail "left a folder"
}

test_config() {
  cp text 'text #1 "a".txt'
  succeed train "${tiny[@]:2}" --data 'text #1 "a".txt' --out run --updates 4 --memory-rule average --vocabulary byte
  contains "$(cat run/config.toml)" 'data = ["text #1 \"a\".txt"]'
  contains "$(cat run/config.toml)" 'memory-rule = "average"'
  contains "$(cat run/config.toml)" 'width = 8'
  # the same again, and with flags that count more
  succeed train --config run/config.toml --out again
  same run/model.safetensors again/model.safetensors
  same run/config.toml again/config.toml
  succeed train --out wider --config run/config.toml --width 16 --updates 1
  contains "$(cat wider/config.toml)" 'width = 16'
  # also where they leave no effect to one in the file
  succeed train --config run/config.toml --out unheld --validation-fraction 0 --updates 1
  succeed train "${tiny[@]}" --memory-rule layer --memory-layer 1 --updates 1 --out layer
  contains "$(cat layer/config.toml)" 'memory-layer = 1'
  succeed train --config layer/config.toml --memory-rule feedback --out no.layer
  succeed train --config layer/config.toml --memory-rule feedback --out no.layer --resume --updates 2
  succeed train --config layer/config.toml --memory-rule feedback --out no.layer.either --start-from run/model.safetensors --vocabulary byte
  error "--memory-layer has no effect without --memory-rule layer" \
    train --config layer/config.toml --memory-rule feedback --memory-layer 1 --out other
  printf 'data = text\nupdates = 1\ngrowing = 0.5\n' >vain.toml  # nothing else was given
  error "--growing has no effect without --first-segment" train --config vain.toml --out other
  succeed train --config again/config.toml --out again --resume --updates 6
  contains "$(tail -n 1 again/metrics.jsonl)" '"update":6,'
  contains "$(cat again/config.toml)" 'updates = 6'
  succeed train --data text --start-from run/model.safetensors --memory-rule average --segment 16 --lanes 6 --out next --updates 2
  succeed train --config next/config.toml --out next.again
  same next/model.safetensors next.again/model.safetensors
  printf '# mine\ndata = [text, "text"]\nout = "own"\nupdates = 1 # only one\nwidth = 8\nheads = 2\nactivation = gelu\n' >mine
  succeed train --config mine
  contains "$(cat own/config.toml)" 'data = ["text","text"]'
  contains "$(cat own/config.toml)" 'activation = "gelu"'
  local bad
  for bad in 'widht = 8|expected a flag of train that a file may set, found widht' 'resume = true|expected a flag of train that a file may set, found resume' \
    'width 8|expected a flag as in: name = 12' 'width = many|width' 'width = [8, 16]|expected one value of width, found a list of 2' 'activation = "tanh"|--activation: expected one of relu, gelu, geglu, found "tanh"'; do
    printf 'layers = 1\n%s\n' "${bad%%|*}" >bad
    error "bad:2: " train --config bad --data text --out no
    contains "$(cat stderr)" "${bad#*|}"
  done
  printf 'width = 8\nwidth = 9\n' >bad
  error "bad:2: expected every flag once, found width again" train --config bad --data text --out no
  error "missing: cannot open" train --config missing --data text --out no
  error "--config: expected a path, found an empty one" train --config "" --data text --out no
  error "--width must be at least 1, found 0" train --data text --out no --width 0
  error "--data is required" train --config <(echo 'width = 8') --out no
  [ ! -e no ] || fail "left a folder"
}

test_the_newest_model() {
  train run --updates 12 --evaluate-every 1
  # the best one is that of the first update from now on
  succeed train --data text --out run --resume --updates 24 --learning-rate 3 --clip 0 --warmup 0 --evaluate-every 1
  local read=(--prompt "line" --length 60) best newest
  for model in "--model run/model.safetensors" "--model run" "--model run/training.safetensors" "--last run"; do
    succeed generate $model "${read[@]}"
    case $model in
      "--model run/model.safetensors") best=$output ;;
      "--model run") [ "$output" = "$best" ] || fail "expected '$best', found '$output'" ;;
      "--model run/training.safetensors") newest=$output ;;
      *) [ "$output" = "$newest" ] || fail "expected '$newest', found '$output'" ;;
    esac
  done
  [ "$best" != "$newest" ] || fail "the best model is the newest: $best"
  succeed evaluate --last run --data text --fraction 0.1
  succeed show --last run --text "the word" --out map.svg
  succeed train --data text --start-from run/training.safetensors --segment 16 --lanes 6 --updates 1 --out next
  error "expected a model: give --model or --last" generate --prompt a
  error "nowhere/training.safetensors: cannot open" generate --last nowhere
  error "excludes" generate --last run --model run
}

test_curriculum_and_spans() {
  train run --updates 8 --first-segment 2 --growing 0.5 --evaluate-every 1 --span-ramp 3 --span-penalty 0.01
  contains "$output" "the heads look back at most "
  train long --updates 8 --evaluate-every 1 --span-ramp 3 --span-penalty 0.01
  [ "$(sed -n 1p run/metrics.jsonl | grep -o '"train_loss":[^,]*')" != "$(sed -n 1p long/metrics.jsonl | grep -o '"train_loss":[^,]*')" ] ||
    fail "the first segment was as long as the others"
  error "--span-penalty 0.1: expected --span-ramp, too" train "${tiny[@]}" --out other --span-penalty 0.1
  error "the first segment must be between 1 and the 16 steps" train "${tiny[@]}" --out other --first-segment 17
  error "--span-ramp must be at least 2" train "${tiny[@]}" --out other --span-ramp 1
  error "--memory-layer has no effect without --memory-rule layer; leave it out" train "${tiny[@]}" --out other --memory-layer 1
  error "--memory-rule: expected one of feedback, average, top_only, layer, recurrent, transformer, found \"lstm\"" train "${tiny[@]}" --out other --memory-rule lstm
}

test_mimetic() {
  train without --updates 1
  train with --updates 1 --mimetic 1
  ! cmp -s without/model.safetensors with/model.safetensors || fail "--mimetic has no effect"
  train with --updates 2 --resume
  train other --updates 2 --mimetic 1
  same with/model.safetensors other/model.safetensors
  error "--mimetic: with/training.safetensors was begun with 1, found 2" train --data text --out with --resume --mimetic 2
  error "--mimetic 1: expected random parameters, found those of --start-from" train --data text --out none --start-from with/model.safetensors --mimetic 1
  error "--mimetic must be from 0 to 100, found 101" train "${tiny[@]}" --out none --mimetic 101
}

test_show() {
  train run --updates 3
  succeed show --model run/model.safetensors --text "the word" --out map.svg
  contains "$output" "the attention of 2 layers and 2 heads over 8 tokens is in map.svg"
  [ "$(grep -c '>layer [12], head [12]<' map.svg)" -eq 4 ] || fail "expected 4 panels: $(head -c 2000 map.svg)"
  contains "$(cat map.svg)" '<path fill="#'
  python3 -c 'import sys, xml.dom.minidom as x; x.parse("map.svg")' 2>stderr || ! command -v python3 >/dev/null || fail "$(cat stderr)"
  succeed show --model run/model.safetensors --text "the word" --layer 2 --out map.svg
  contains "$output" "the attention of layer 2 and 2 heads over 8 tokens is in map.svg"
  [ "$(grep -o '>layer [12], head [12]<' map.svg | tr '\n' ' ')" = ">layer 2, head 1< >layer 2, head 2< " ] || fail "$(grep -o '>layer.*<' map.svg)"
  succeed show --model run/model.safetensors --text "the word" --layer 1 --head 2 --out map.svg
  [ "$(grep -o '>layer [12], head [12]<' map.svg)" = ">layer 1, head 2<" ] || fail "$(grep -o '>layer.*<' map.svg)"
  contains "$(cat map.svg)" '>␣<'
  error "--layer: the model has 2; expected one of them, or 0 for all, found 3" show --model run/model.safetensors --text "the" --layer 3
  error "--head: the model has 2; expected one of them, or 0 for all, found 9" show --model run/model.safetensors --text "the" --head 9
  succeed show --model run/model.safetensors --text "the word" --out map.html
  contains "$(cat map.html)" '{"names":["t","h","e","␣","w","o","r","d"],"panels":[{"layer":1,"head":1,"weights":[[],[1000],['
  ! grep -qiE 'https?:|src=|href=|@import|url\(' map.html || fail "the page needs more than itself"
  printf '</script>\xef\xbf\xbf\x01&<"\t' >odd
  train strange --data <(cat text odd) --vocabulary byte --updates 1
  succeed show --model strange/model.safetensors --text-file odd --out odd.html
  [ "$(grep -c '</script>' odd.html)" -eq 1 ] || fail "the text ends the script"
  succeed show --model strange/model.safetensors --text-file odd --out odd.svg
  cat text odd >both
  train characters --data both --updates 1
  succeed show --model characters/model.safetensors --text-file odd --out odd2.svg
  contains "$(cat odd2.svg)" ">U+FFFF<"
  for file in odd.svg odd2.svg; do
    python3 -c 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])' $file 2>stderr || ! command -v python3 >/dev/null || fail "$file: $(cat stderr)"
  done
  error "expected a text: give --text or --text-file" show --model run/model.safetensors
  error "a map of attention holds from 1 to 200 tokens, found 6100" show --model run/model.safetensors --text-file text
  error "found 'X' (U+0058)" show --model run/model.safetensors --text X
}

test_bad_flags() {
  error "--no-such-flag" train "${tiny[@]}" --out run --no-such-flag
  error "--out is required" train --data text
  error "subcommand is required"
  error "--width" train "${tiny[@]}" --out run --width many
  error "width 8 is not divisible by heads 3" train "${tiny[@]}" --out run --heads 3
  error "layers must be between 1 and 4096, found 0" train "${tiny[@]}" --out run --layers 0
  error "dropout must be at least 0 and below 1, found 1" train "${tiny[@]}" --out run --dropout 1
  error "shards must be between 1 and the 6 lanes, found 7" train "${tiny[@]}" --out run --shards 7
  error "the learning rate must be above 0" train "${tiny[@]}" --out run --learning-rate -1
  error "--activation: expected one of relu, gelu, geglu, found \"tanh\"" train "${tiny[@]}" --out run --activation tanh
  error "too large for this machine" train "${tiny[@]}" --out run --width 1000000
  error "too large for this machine" train "${tiny[@]}" --out run --window 16000000 --head-size 4096
  error "too large for this machine" train "${tiny[@]}" --out run --segment 1000000000000
  error "--updates: expected a whole number from 0 to 9223372036854775807, found \"-1\"" train "${tiny[@]}" --out run --updates -1
  error "--seconds: expected a decimal number, found \"nan\"" train "${tiny[@]}" --out run --seconds nan
  error "--validation-fraction must be at least 0 and below 1, found 1" train "${tiny[@]}" --out run --validation-fraction 1
  error "threads must be between 1 and 1024, found 0" train "${tiny[@]}" --out run --threads 0
  [ ! -e run ] || fail "left a folder"
  succeed train --help
  contains "$output" "--evaluate-every INT=0"
}

test_numbers() {
  local whole="expected a whole number from 0 to"
  for number in -1 1.5 1e3 0x10 ten "" " 5" "5 " +5 99999999999999999999 9223372036854775808; do
    error "--width: $whole 9223372036854775807, found \"$number\"" train "${tiny[@]}" --out run --width "$number"
    error "--length: $whole 9223372036854775807, found \"$number\"" generate --model none --length "$number"
  done
  for number in -1 18446744073709551616 99999999999999999999 0x1; do
    error "--seed: $whole 18446744073709551615, found \"$number\"" generate --model none --seed "$number"
    error "--seed: $whole 18446744073709551615, found \"$number\"" train "${tiny[@]}" --out run --seed "$number"
  done
  for number in nan inf -inf 1e999 1e-999 0x1p3 1,5 1.2.3 "" " 1" 1f; do
    error "--temperature: expected a decimal number, found \"$number\"" generate --model none --temperature "$number"
    error "--fraction: expected a decimal number, found \"$number\"" evaluate --model none --data text --fraction "$number"
  done
  train run --updates 010 --evaluate-every 005 --seed 18446744073709551615 --learning-rate .1e-2
  contains "$output" "update     10"
  succeed generate --model run/model.safetensors --prompt in --length 010 --logprobs
  [ "$(wc -l <<<"$output")" -eq 10 ] || fail "010 is ten: $output"
}

# Flags that would have no effect are refused.
test_vain_flags() {
  train run --updates 2
  local write=(generate --model run/model.safetensors)
  for flag in "--top-k 3" "--top-p 0.5" "--min-p 0.1" "--seed 2"; do
    error "${flag% *} has no effect at --temperature 0: the most likely token is taken; leave it out" "${write[@]}" --temperature 0 $flag
  done
  error "--count 2 has no effect at --temperature 0" "${write[@]}" --temperature 0 --count 2
  error "--count 2 has no effect with --top-k 1" "${write[@]}" --top-k 1 --count 2
  error "quiet was given a disallowed flag override" "${write[@]}" --quiet=3
  for flag in "--temperature 2" "--top-p 0.5" "--min-p 0.1" "--seed 2"; do
    error "${flag% *} has no effect with --top-k 1" "${write[@]}" --top-k 1 $flag
  done
  error "--repetition-window has no effect without a --repetition-penalty" "${write[@]}" --repetition-window 8
  error "--repetition-penalty has no effect with --repetition-window 0" "${write[@]}" --repetition-window 0 --repetition-penalty 2
  for flag in "--seed 2" "--stop a" "--temperature 1" "--count 2" "--logprobs"; do
    error "${flag% *} has no effect with --length 0: no token is drawn" "${write[@]}" --length 0 $flag
  done
  error "--no-prompt has no effect with --logprobs" "${write[@]}" --logprobs --no-prompt
  error "--logprobs excludes --json" "${write[@]}" --logprobs --json
  error "--memory-layer has no effect without --memory-rule layer" train "${tiny[@]}" --out other --memory-layer 0
  error "--growing has no effect without --first-segment" train "${tiny[@]}" --out other --growing 0.5
  error "--growing has no effect without --first-segment" train --data text --out run --resume --updates 4 --growing 0.5
  error "give a limit: --seconds or --updates above 0" train "${tiny[@]}" --out other --seconds 0
  error "give a limit: --seconds or --updates above 0" train --data text --out run --resume --seconds 0
  error "--evaluate-every has no effect with --validation-fraction 0" train "${tiny[@]}" --out other --validation-fraction 0 --evaluate-every 3
  [ ! -e other ] || fail "left a folder"
}

test_typos() {
  error "unexpected generat; did you mean generate?" generat --model run --prompt in
  error "unexpected eval; did you mean evaluate?" eval
  error "unexpected shwo; did you mean show?" shwo
  error "unexpected --dat; did you mean --data?" train --dat text --out run
  error "unexpected --dat; did you mean --data?" train --dat=text --out run
  error "unexpected --vaildation-fraction; did you mean --validation-fraction?" train "${tiny[@]}" --out run --vaildation-fraction 0.1
  error "unexpected --temprature; did you mean --temperature?" generate --model run --temprature 1
  error "unexpected --versoin; did you mean --version?" --versoin
  error "unexpected something" train "${tiny[@]}" --out run something
  error "unexpected xyzzy" xyzzy
  [[ $(cat stderr) != *"did you mean"* ]] || fail "$(cat stderr)"
  [ ! -e run ] || fail "left a folder"
}

# What bash completes: complete WORD... prints it for the last word.
complete_words() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _language_model 2>/dev/null
  printf '%s\n' "${COMPREPLY[@]-}" | tr '\n' ' '
}

test_convert() {
  train run --updates 3
  local format
  for format in bf16 int8 int4; do
    succeed convert --model run --weights $format --out $format.safetensors
    [[ $output == "$format.safetensors: "*" parameters with weights of $format in "*" MB, full ones take "*" MB" ]] || fail "$output"
    succeed generate --model run --weights $format --length 20 --seed 1; local rounded=$output
    succeed generate --model $format.safetensors --length 20 --seed 1; [ "$output" = "$rounded" ] || fail "$output, not $rounded"
    succeed evaluate --model run --data text --weights $format --json; rounded=$(grep -o '"nats_per_token":[^,]*' <<<"$output" | head -n 1)
    succeed evaluate --model $format.safetensors --data text --json; contains "$output" "$rounded"; contains "$output" "\"weights\":\"$format\""
    succeed evaluate --model $format.safetensors --data text --weights $format; contains "$output" "by weights of $format, which are all that the file has"
    succeed show --model $format.safetensors --text "the word" --out map.svg
  done
  error "the model has weights of int8: expected these, or full for what it has, found int4" generate --model int8.safetensors --weights int4
  error "int8.safetensors: expected a model of full weights, found weights of int8" convert --model int8.safetensors --weights int4 --out x
  error "--weights: expected bf16, int8 or int4, found full" convert --model run --weights full --out x
  error "--start-from int8.safetensors: expected a model of full weights, found weights of int8" \
    train --data text --start-from int8.safetensors --segment 16 --lanes 6 --out x --updates 1
  succeed convert --last run --out last.safetensors; succeed generate --model last.safetensors --length 5
  error "none: cannot open the file" convert --model none --out x
  error "no/x: cannot write the file" convert --model run --out no/x
  [ ! -e x ] || fail "x was written"
}

test_completion() {
  succeed completion bash
  eval "$output"
  [ "$(complete_words language_model "")" = "train evaluate generate show convert completion --help --version " ] || fail "$(complete_words language_model "")"
  [ "$(complete_words language_model ge)" = "generate " ] || fail "$(complete_words language_model ge)"
  [ "$(complete_words language_model train --memory-)" = "--memory-rule --memory-layer --memory-norm " ] || fail "$(complete_words language_model train --memory-)"
  [ "$(complete_words language_model train --data text --memory-rule t)" = "top_only transformer " ] || fail "$(complete_words language_model train --data text --memory-rule t)"
  [ "$(complete_words language_model train --memory-rule = t)" = "top_only transformer " ] || fail "$(complete_words language_model train --memory-rule = t)"
  [ "$(complete_words language_model train --width "")" = " " ] || fail "$(complete_words language_model train --width "")"
  [ "$(complete_words language_model show --text in --ou)" = "--out " ] || fail "$(complete_words language_model show --text in --ou)"
  [ "$(complete_words language_model completion f)" = "fish " ] || fail "$(complete_words language_model completion f)"
  # every flag of every command is among them
  for command in train evaluate generate show convert; do
    succeed $command --help
    [ "$(complete_words language_model $command -- | tr ' ' '\n' | sort)" = "$(grep -oE '^  (-h,)?--[a-z-]+' <<<"$output" | grep -oE -- '--[a-z-]+' | sort; echo)" ] ||
      fail "$command: $(complete_words language_model $command --) of $output"
  done
  for shell in zsh fish; do
    succeed completion $shell
    contains "$output" "memory-rule"
    printf '%s\n' "$output" >script
    ! command -v $shell >/dev/null || $shell -n script || fail "$shell does not understand it"
  done
  error "completion: expected one of bash, zsh, fish, found \"tcsh\"" completion tcsh
}

test_bad_checkpoint() {
  train run --updates 2
  local model=run/model.safetensors
  local write=(generate --prompt in --model)
  head -c 3000 $model >truncated
  error "truncated: " "${write[@]}" truncated
  head -c 5 $model >stub
  mkdir tests
  error "stub: expected a safetensors file, found only 5 bytes" "${write[@]}" stub
  error "text: " "${write[@]}" text
  error "tests/model.safetensors: cannot open" "${write[@]}" tests
  LC_ALL=C sed 's/\\"width\\":8/\\"width\\":4/' $model >mismatched
  error "mismatched: the tensors do not fit the model" "${write[@]}" mismatched
  LC_ALL=C sed 's/vocabulary\.kind/vocabulary.kin_/' $model >nameless
  error "nameless: expected a model of text, found no vocabulary" "${write[@]}" nameless
  mkdir moved
  cp $model moved/training.safetensors
  error "moved/training.safetensors: expected a training of this program" train --data text --out moved --resume --updates 4
  head -c 9000 run/training.safetensors >moved/training.safetensors
  error "moved/training.safetensors: " train --data text --out moved --resume --updates 4
}

run_case
