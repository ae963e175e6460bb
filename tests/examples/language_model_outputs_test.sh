#!/usr/bin/env bash
# Tests of what language_model leaves in files and on its outputs, when all goes well and when it does not:
# language_model_outputs_test.sh PROGRAM CASE. Every function test_CASE is a test.
. "$(dirname "$0")/program.sh"
. "$scripts/tiny_training.sh"

no_partial_files() { [ -z "$(find . -name '*.part')" ] || fail "left: $(find . -name '*.part')"; }

# endless FOLDER FLAG...: a training in the background, as process $pid, whose output is read from descriptor 3.
endless() {
  local flags
  choose_text "$@"
  mkfifo "pipe_$1"
  "$program" train "${flags[@]}" --out "$1" --updates 1000000 "${@:2}" >"pipe_$1" 2>"stderr_$1" & pid=$!
  exec 3<"pipe_$1"
}
wait_for_line() { local line; while read -r line <&3; do [[ $line != "$1"* ]] || return 0; done; fail "no line $1"; }
# ends CODE: the background training ends with it.
ends() { local code=0; wait $pid || code=$?; [ $code -eq "$1" ] || fail "expected exit code $1, found $code"; }
last_update() { tail -n 1 "$1/metrics.jsonl" | sed -E 's/.*"update":([0-9]+),.*/\1/'; }
# goes_on FOLDER: a training that can be resumed.
goes_on() { succeed train --data text --out "$1" --resume --updates $(($(last_update "$1") + 2)) --seconds 0; }

# Training in one go, and training that is stopped by a signal after a few updates and resumed, have the same results.
stopped_and_resumed() {
  local signal=$1 expected=$2 code=0 line pid
  train whole --updates 30 --evaluate-every 1 --threads 1
  mkfifo pipe
  "$program" train "${tiny[@]}" --out parts --updates 30 --evaluate-every 1 --threads 2 >pipe & pid=$!
  exec 3<pipe
  while read -r line <&3; do [[ $line != "update      4"* ]] || { kill -"$signal" $pid; break; }; done
  line=$(cat <&3)
  wait $pid 2>/dev/null || code=$?
  [ $code -eq "$expected" ] || fail "expected exit code $expected, found $code"
  [ "$signal" = KILL ] || contains "$line" "interrupted: update "
  [ "$(wc -l <parts/metrics.jsonl)" -lt 30 ] || fail "was not stopped in time"
  echo '{"update":29,"seconds":1,"train_loss":9,"validation_loss":9,"tokens_per_second":9,"learning_rate":9,"gradient_norm":9,"layer_weights":[]}' >>parts/metrics.jsonl
  succeed train --data text --out parts --resume --threads 3
  diff <(metrics whole) <(metrics parts) || fail "the metrics differ"
  same whole/model.safetensors parts/model.safetensors
}
test_interrupt_and_resume() { stopped_and_resumed INT 130; }
test_term_and_resume() { stopped_and_resumed TERM 143; }
test_hangup_and_resume() { stopped_and_resumed HUP 129; }
test_kill_and_resume() { stopped_and_resumed KILL 137; }

test_a_second_interrupt_loses_nothing() {
  for i in {1..60}; do cat text; done >long
  endless run --data long --validation-fraction 0.9 --evaluate-every 2
  wait_for_line "validation: "
  kill -INT $pid
  sleep 0.2
  kill -INT $pid 2>/dev/null || :
  ends 130
  contains "$(cat stderr_run)" "stopping after this update"
  contains "$(tail -n 1 run/metrics.jsonl)" '"update":2,"'
  contains "$(tail -n 1 run/metrics.jsonl)" '"validation_loss":null'
  # the evaluation that was left is made when the training goes on
  succeed train --data long --out run --resume --updates 3
  contains "$(sed -n 1p run/metrics.jsonl)" '"update":2,"'
  contains "$(sed -n 1p run/metrics.jsonl)" '"validation_loss":3.'
}

test_an_interrupted_last_evaluation_is_made_when_it_goes_on() {
  for i in {1..60}; do cat text; done >long
  endless run --data long --validation-fraction 0.9 --updates 2 --evaluate-every 2
  wait_for_line "validation: "
  kill -INT $pid
  ends 130
  succeed train --data long --out run --resume
  contains "$output" "best validation loss"
  [ "$(wc -l <run/metrics.jsonl)" -eq 1 ] || fail "$(cat run/metrics.jsonl)"
  error "has reached its end" train --data long --out run --resume
}

test_a_second_run_is_refused() {
  endless run
  wait_for_line "update "
  error "run: in use by process $pid" train "${tiny[@]}" --out run --updates 3
  error "run: in use by process $pid" train --data text --out run --resume --updates 3
  wait_for_line "update "
  kill -INT $pid
  ends 130
  goes_on run
  endless again
  wait_for_line "update "
  kill -KILL $pid
  ends 137
  goes_on again
}

# Where nothing can be printed, every command says so and ends with 1.
test_outputs_that_take_nothing() {
  train run --updates 2
  local model=run/model.safetensors code
  while read -r -a command; do
    code=0; "$program" "${command[@]}" >/dev/full 2>stderr || code=$?
    [ $code -eq 1 ] || fail "expected exit code 1, found $code: ${command[*]}"
    contains "$(cat stderr)" "error: cannot write "
    code=0; "$program" "${command[@]}" >&- 2>stderr || code=$?
    [ $code -eq 1 ] || fail "expected exit code 1, found $code without a standard output: ${command[*]}"
    contains "$(cat stderr)" "error: cannot write "
  done <<END
evaluate --model $model --data text
generate --model $model --prompt in --length 5
generate --model $model --prompt in --length 5 --count 2
show --model $model --text in --out map.svg
train ${tiny[*]} --out other --updates 2
--help
train --help
--version
END
  # nor does an error lose its exit code where it cannot be printed
  code=0; "$program" evaluate --model none --data text 2>/dev/full || code=$?
  [ $code -eq 1 ] || fail "expected exit code 1, found $code"
  code=0; "$program" evaluate --model none --data text >&- 2>&- || code=$?
  [ $code -eq 1 ] || fail "expected exit code 1, found $code"
}

test_a_reader_that_goes_away_loses_nothing() {
  local codes
  "$program" train "${tiny[@]}" --out run --updates 1000000 --evaluate-every 50 2>stderr | head -n 3 >/dev/null && codes=("${PIPESTATUS[@]}") || codes=("${PIPESTATUS[@]}")
  [ "${codes[0]}" -eq 1 ] || fail "expected exit code 1, found ${codes[0]}"
  contains "$(cat stderr)" "run holds update "
  local update; update=$(sed -E 's/.*run holds update ([0-9]+);.*/\1/' stderr)
  [ "$(last_update run)" -eq "$update" ] || fail "expected update $update: $(tail -n 1 run/metrics.jsonl)"
  goes_on run
}

test_closed_standard_streams_harm_no_file() {
  "$program" train "${tiny[@]}" --out run --updates 3 0>&- 1>&- 2>&- && fail "expected exit code 1"
  "$program" train "${tiny[@]}" --out other --updates 3 0>&- 2>&- >printed || fail "exit code $?"
  succeed evaluate --model other/model.safetensors --data text
  contains "$(cat printed)" "all files are in other"
}

test_links_and_modes_of_outputs() {
  train run --updates 2
  mkdir far
  for name in model.safetensors training.safetensors metrics.jsonl loss.svg layer_weights.svg; do
    mv run/$name far/$name
    chmod 600 far/$name
    ln -s ../far/$name run/$name
  done
  cp -r far before
  succeed train --data text --out run --resume --updates 4
  for name in model.safetensors training.safetensors metrics.jsonl loss.svg layer_weights.svg; do
    [ -L run/$name ] || fail "$name is no link any more"
    ! cmp -s far/$name before/$name || fail "far/$name is as before"
    [ "$(stat -c %a far/$name)" = 600 ] || fail "far/$name has mode $(stat -c %a far/$name)"
  done
  [ "$(ls far | wc -l)" -eq 5 ] || fail "$(ls far)"
}

test_show_to_what_is_no_file() {
  train run --updates 2
  local show=(show --model run/model.safetensors --text in --out)
  succeed "${show[@]}" map.svg
  mkfifo pipe
  cat pipe >read & succeed "${show[@]}" pipe; wait $!
  same map.svg read
  [ -p pipe ] || fail "the pipe is gone"
  "$program" "${show[@]}" /dev/stdout >printed
  same <(head -n -1 printed) map.svg
  "$program" "${show[@]}" /dev/stdout | cat >printed
  same <(head -n -1 printed) map.svg
  echo before >log
  "$program" "${show[@]}" /dev/stdout >>log
  [ "$(head -n 1 log)" = before ] || fail "the file that was printed to was replaced"
  succeed "${show[@]}" /dev/null
  [ -c /dev/null ] || fail "/dev/null is no device any more"
  if [ "$(id -u)" -eq 0 ] && mknod device c 1 3 2>/dev/null; then
    succeed "${show[@]}" device
    [ -c device ] || fail "the device was replaced"
    mknod disk b 7 200
    error "disk: cannot write the file: expected a file, a pipe or a character device" "${show[@]}" disk
    [ -b disk ] || fail "the device was replaced"
  fi
  error "run: cannot write the file: Is a directory" "${show[@]}" run
  error "--out: expected a path, found an empty one" "${show[@]}" ""
  error "--out: expected a path, found an empty one" train "${tiny[@]}" --out "" --updates 3
}

test_damaged_metrics() {
  train run --updates 4 --evaluate-every 1
  cp run/metrics.jsonl kept
  local resume=(train --data text --out run --resume --updates)
  head -c -20 kept >run/metrics.jsonl  # a partial last line
  succeed "${resume[@]}" 5
  contains "$output" "warning: run/metrics.jsonl: 1 of 4 lines are no reports, the first of them line 4; they are left out"
  [ "$(sed -E 's/.*"update":([0-9]+),.*/\1/' run/metrics.jsonl | tr '\n' ' ')" = "1 2 3 5 " ] || fail "$(cat run/metrics.jsonl)"
  : >run/metrics.jsonl
  succeed "${resume[@]}" 6
  [ "$(wc -l <run/metrics.jsonl)" -eq 1 ] || fail "$(cat run/metrics.jsonl)"
  { head -n 2 kept; echo nonsense; echo '{"update":3}'; echo 7; echo; tail -n 1 kept; head -c 1000 /dev/zero; } >run/metrics.jsonl
  succeed "${resume[@]}" 7
  contains "$output" "5 of 8 lines are no reports, the first of them line 3"
  [ "$(wc -l <run/metrics.jsonl)" -eq 4 ] || fail "$(cat run/metrics.jsonl)"
  rm run/metrics.jsonl
  succeed "${resume[@]}" 8
}

test_another_held_out_text() {
  train run --updates 20 --evaluate-every 20
  cp run/model.safetensors first
  # the same text to learn from, and another after it
  head -c 5490 text >other
  tail -c 610 text | rev >>other
  succeed train --data other --out run --resume --updates 40 --evaluate-every 20 --learning-rate 1e-9
  contains "$output" "the held-out text, or the way it is read, is another than before: the best model so far, of update 20, has a validation loss of "
  local again; again=$(grep -oE 'loss of [0-9.]+ now' <<<"$output" | grep -oE '[0-9]+\.[0-9]+')
  succeed evaluate --model first --data other --fraction 0.1 --lanes 1
  contains "$output" "$again nats per token"
  # the same again says nothing
  succeed train --data other --out run --resume --updates 41
  [[ $output != *"another than before"* ]] || fail "$output"
  # without the best model a new one is looked for
  rm run/model.safetensors
  succeed train --data text --out run --resume --updates 42
  contains "$output" "another than before: a new best model is looked for"
  [ -s run/model.safetensors ] || fail "no model"
}

test_a_large_text_is_told_of_and_not_timed() {
  cp text large
  for i in {1..11}; do cat large large >larger; mv larger large; done
  train run --data large --seconds 2 --validation-fraction 0.001
  contains "$output" "reading large, 12 MB"
  contains "$(tail -n 1 run/metrics.jsonl)" '"validation_loss":'
}

test_one_lane() {
  train run --updates 2 --lanes 1 --shards 1
  succeed train --data text --width 8 --layers 2 --heads 2 --window 8 --segment 16 --lanes 1 --out other --updates 2
  error "shards must be between 1 and the 1 lanes, found 2" train "${tiny[@]}" --lanes 1 --shards 2 --out third
  [ ! -e third ] || fail "left a folder"
}

test_bad_folder() {
  error "text" train "${tiny[@]}" --out text/run --updates 3
  error "/proc" train "${tiny[@]}" --out /proc/run --updates 3
  no_partial_files
}

test_full_disk() {
  trap '' XFSZ  # a write beyond the limit fails instead of killing
  train run --updates 2
  (cd run && sha256sum -- *) >before
  (
    ulimit -f 8
    error "run/training.safetensors: cannot write the file: File too large" train --data text --out run --resume --updates 4
    error "fresh/training.safetensors: cannot write the file: File too large" train "${tiny[@]}" --out fresh --updates 4
  )
  (cd run && sha256sum --quiet -c ../before) || fail "a file was overwritten"
  [ ! -e fresh ] || fail "left: $(ls fresh)"
  no_partial_files
}

test_a_best_model_that_cannot_be_written_is_made_again() {
  train run --updates 2
  mv run/model.safetensors first
  mkdir -p run/model.safetensors/in_the_way
  error "run holds update 4 (" train --data text --out run --resume --updates 4 --evaluate-every 4
  rm -r run/model.safetensors
  succeed train --data text --out run --resume
  contains "$output" ", at update 4"
  ! cmp -s first run/model.safetensors || fail "the model of update 2"
  succeed evaluate --model run/model.safetensors --data text
}

test_divergence_keeps_the_last_good_checkpoint() {
  train run --updates 3
  error "expected a finite" train --data text --out run --resume --updates 20 --learning-rate 1e30 --clip 0 --warmup 0 --evaluate-every 100
  succeed train --data text --out run --resume --updates 6 --learning-rate 1e-3 --clip 1
  contains "$(tail -n 1 run/metrics.jsonl)" '"update":6,'
}

run_case
