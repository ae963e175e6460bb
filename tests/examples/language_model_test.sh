#!/usr/bin/env bash
# Tests of the program language_model: language_model_test.sh PROGRAM CASE. Every function test_CASE is a test.
. "$(dirname "$0")/program.sh"
. "$scripts/tiny_training.sh"

test_train_writes_its_files() {
  train run --updates 5 --threads 2
  contains "$output" "update      5"
  contains "$output" "best validation loss"
  [ "$(ls run | tr '\n' ' ')" = "layer_weights.svg loss.svg metrics.jsonl model.safetensors training.safetensors " ] || fail "$(ls run)"
  local line='^\{"update":[0-9]+,"seconds":[0-9.e-]+,"train_loss":[0-9.]+,"validation_loss":[0-9.]+,"tokens_per_second":[0-9.]+,"learning_rate":[0-9.e-]+,"gradient_norm":[0-9.]+,"layer_weights":\[[0-9.,]+\]\}$'
  [ "$(grep -cE "$line" run/metrics.jsonl)" -eq 5 ] || fail "$(cat run/metrics.jsonl)"
  contains "$(cat run/loss.svg)" validation
  contains "$(cat run/layer_weights.svg)" "layer 2"
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

test_threads_do_not_change_the_model() {
  for threads in 1 2 3; do train run$threads --updates 6 --threads $threads; done
  same run1/model.safetensors run2/model.safetensors
  same run1/model.safetensors run3/model.safetensors
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
  succeed evaluate --model run/model.safetensors --data text --fraction 0.1
  contains "$output" "610 tokens"
  contains "$output" "bits per character"
  # the same cut as in training: the last report holds the same loss
  local nats
  nats=$(tail -n 1 run/metrics.jsonl | sed -E 's/.*"validation_loss":([0-9]+\.[0-9]{3}).*/\1/')
  contains "$output" "$nats"
  error "--fraction must be above 0" evaluate --model run/model.safetensors --data text --fraction 0
  error "nothing: cannot open" evaluate --model nothing --data text
  echo 'AΩ' >other
  error "other: expected only characters of the model's vocabulary of" evaluate --model run/model.safetensors --data other
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
  error "the prompt: expected only characters of the model's vocabulary of 31, found 'X' (U+0058), 'é' (U+00E9)" "${write[@]}" --prompt "Xé"
  error "--stop" "${write[@]}" --stop "X"
  error "stop sequence" "${write[@]}" --stop ""
  error "temperature must be at least 0, found -1" "${write[@]}" --temperature -1
  error "top-p" "${write[@]}" --top-p 0
  error "excludes" "${write[@]}" --prompt a --prompt-file prompt
  error "no-file: cannot open" "${write[@]}" --prompt-file no-file
  local code=0
  "$program" "${write[@]}" >/dev/full 2>stderr || code=$?
  [ $code -eq 1 ] && contains "$(cat stderr)" "No space left on device"
}

test_generate_many() {
  tr '\n' ' ' <text >line  # so that every text is a line
  train run --data line --updates 40
  local write=(generate --model run/model.safetensors --length 80 --prompt "in the")
  succeed "${write[@]}" --count 3; local three=$output
  [ "$(grep -cE '^in the.{80}$' <<<"$three")" -eq 3 ] || fail "expected 3 texts: $three"
  [ -z "$(sed -n '2p;4p' <<<"$three")" ] || fail "expected blank lines between: $three"
  [ "$(sort -u <<<"$three" | wc -l)" -eq 4 ] || fail "texts are alike: $three"
  succeed "${write[@]}" --count 3 --threads 2; [ "$output" = "$three" ] || fail "a second run gave other texts: $output"
  succeed "${write[@]}" --count 2 --seed 2; [ "$output" = "$(tail -n 3 <<<"$three")" ] || fail "expected the last 2 of $three, found $output"
  succeed "${write[@]}" --count 20; [ "$(head -n 5 <<<"$output")" = "$three" ] || fail "expected to begin with $three, found $output"
  [ "$(wc -l <<<"$output")" -eq 39 ] || fail "expected 20 texts: $output"
  succeed "${write[@]}"; local one=$output
  succeed "${write[@]}" --count 1; [ "$output" = "$one" ] || fail "--count 1 is not the default: $output"
  error "temperature must be at least 0, found -1" "${write[@]}" --count 3 --temperature -1
  error "--count must be from 1 to 1000, found 0" "${write[@]}" --count 0
}

test_byte_vocabulary() {
  printf '\xff\xfe binary \xc3' >>text
  error "text: expected text in UTF-8, found the byte 0xff of no valid character at offset $(($(wc -c <text) - 11))" \
    train "${tiny[@]}" --out run --updates 3
  [ ! -e run ] || fail "left a folder"
  train run --updates 3 --vocabulary byte
  succeed evaluate --model run/model.safetensors --data text
  contains "$output" "bits per byte"
  "$program" generate --model run/model.safetensors --prompt "né" --temperature 3 --top-k 0 --top-p 1 --min-p 0 --length 300 >written
  iconv -f utf-8 -t utf-8 written >/dev/null || fail "not UTF-8"
}

test_bad_data() {
  : >empty
  printf 'too short' >short
  for bad in "missing:cannot open the text file" ".:found a folder" "empty:found an empty file"; do
    error "${bad%%:*}: " train "${tiny[@]}" --out run --updates 3 --data "${bad%%:*}"
    contains "$(cat stderr)" "${bad#*:}"
  done
  error "6 lanes of segments of 16 tokens need 97 tokens, found 9" train "${tiny[@]}" --out run --updates 3 --data short
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
  train shared --updates 2
  error "memory_rule recurrent needs share_key_value false" train --data text --out other --start-from shared/model.safetensors --memory-rule recurrent
  error "--resume excludes --start-from" train --data text --out feedback --resume --start-from parallel/model.safetensors
  error "none: cannot open" train --data text --out other --start-from none
  [ ! -e other ] || fail "left a folder"
}

test_curriculum_and_spans() {
  train run --updates 8 --first-segment 2 --growing 0.5 --evaluate-every 1 --span-ramp 3 --span-penalty 0.01
  contains "$output" "the heads look back at most "
  train long --updates 8 --evaluate-every 1 --span-ramp 3 --span-penalty 0.01
  [ "$(sed -n 1p run/metrics.jsonl | grep -o '"train_loss":[^,]*')" != "$(sed -n 1p long/metrics.jsonl | grep -o '"train_loss":[^,]*')" ] ||
    fail "the first segment was as long as the others"
  error "--span-penalty 0.1: expected --span-ramp, too" train "${tiny[@]}" --out other --span-penalty 0.1
  error "the first segment must be between 1 and the 16 steps" train "${tiny[@]}" --out other --first-segment 17
  error "span_ramp must be at least 2" train "${tiny[@]}" --out other --span-ramp 1
  error "memory_layer must be between 0 and 0, found 1" train "${tiny[@]}" --out other --memory-layer 1
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
  error "the learning rate must be above 0" train "${tiny[@]}" --out run --learning-rate nan
  error "--activation: expected one of relu, gelu, geglu, found \"tanh\"" train "${tiny[@]}" --out run --activation tanh
  error "too large for this machine" train "${tiny[@]}" --out run --width 1000000
  error "too large for this machine" train "${tiny[@]}" --out run --window 16000000 --head-size 4096
  error "too large for this machine" train "${tiny[@]}" --out run --segment 1000000000000
  error "--updates must be at least 0, found -1" train "${tiny[@]}" --out run --updates -1
  error "--seconds must be from 0 to 1e9, found nan" train "${tiny[@]}" --out run --seconds nan
  error "--validation-fraction must be at least 0 and below 1, found 1" train "${tiny[@]}" --out run --validation-fraction 1
  error "threads must be between 1 and 1024, found 0" train "${tiny[@]}" --out run --threads 0
  [ ! -e run ] || fail "left a folder"
  succeed train --help
  contains "$output" "--evaluate-every INT=0"
}

test_bad_checkpoint() {
  train run --updates 2
  local model=run/model.safetensors
  local write=(generate --prompt in --model)
  head -c 3000 $model >truncated
  error "truncated: " "${write[@]}" truncated
  head -c 5 $model >stub
  error "stub: expected a safetensors file, found only 5 bytes" "${write[@]}" stub
  error "text: " "${write[@]}" text
  error "run: expected a file" "${write[@]}" run
  error "run/training.safetensors: expected a model written by fbt" "${write[@]}" run/training.safetensors
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
