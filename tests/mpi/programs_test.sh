#!/usr/bin/env bash
# Tests of the programs whose train is done by several processes: programs_test.sh LANGUAGE_MODEL CASE MPIRUN_SH MPIRUN TASKS
# TRANSLATE PLAIN_LANGUAGE_MODEL, the last without MPI. Every function test_CASE is a test.
. "$(dirname "$0")/../examples/program.sh"
mpirun=(bash "$3" "$4") tasks=$5 translate=$6 plain=$7
export TMPDIR=$folder

for i in {1..100}; do printf 'line %02d: in the beginning was the word, and more of it here.\n' $((i % 100)); done >text
tiny=(--data text --width 8 --layers 2 --heads 2 --window 8 --segment 16 --lanes 6 --shards 4 --dropout 0.1 --threads 1)

# together COUNT PROGRAM ARGUMENT...
together() {
  timeout 60 "${mpirun[@]}" "$@" >output 2>&1 || fail "exit code $? of $*: $(cat output)"
}
# refused PART COUNT PROGRAM ARGUMENT...: one line tells, and the exit code is 1.
refused() {
  local part=$1 code=0
  shift
  timeout 60 "${mpirun[@]}" "$@" >output 2>&1 || code=$?
  [ $code -eq 1 ] || fail "expected exit code 1, found $code: $(cat output)"
  [ "$(grep -c "^error: " output)" -eq 1 ] || fail "expected one error: $(cat output)"
  contains "$(grep "^error: " output)" "$part"
}
# begin COUNT PROGRAM ARGUMENT...: in the background, until it has reported an update. Leaves the id of mpirun in $starter.
begin() {
  "${mpirun[@]}" "$@" >output 2>&1 &
  starter=$!
  for ((i = 0; i < 300; ++i)); do
    ! grep -q "^update" output || return 0
    sleep 0.1
  done
  fail "no update: $(cat output)"
}
ranks() { pgrep -f "$program train .*--out $1"'$' || fail "no process of $1"; }
# ended CODE: what has begun ends within 30 seconds so.
ended() {
  local code=0
  timeout 30 tail --pid=$starter -f /dev/null || fail "it goes on: $(cat output)"
  wait $starter || code=$?
  [ $code -eq "$1" ] || fail "expected exit code $1, found $code: $(cat output)"
}

# The last report of a run, without what depends on the clock.
reports() { tail -n 1 "$1/metrics.jsonl" | sed -E 's/"(seconds|tokens_per_second|train_loss)":[^,]*,//g'; }

test_same_bytes() {
  local plainly="$plain" count
  "$plainly" train "${tiny[@]}" --updates 12 --out plain >output
  for count in 1 2 4; do
    together $count "$program" train "${tiny[@]}" --updates 12 --out run$count
    same run$count/model.safetensors plain/model.safetensors
    same run$count/config.toml plain/config.toml
    [ "$(reports run$count)" = "$(reports plain)" ] || fail "other reports: $(reports run$count; reports plain)"
  done
  [ "$(grep -c "all files are in" output)" -eq 1 ] || fail "expected that one process prints: $(cat output)"
  [ "$(ls run4 | tr '\n' ' ')" = "config.toml layer_weights.svg loss.svg metrics.jsonl model.safetensors training.safetensors " ] || fail "$(ls run4)"
}

test_resume() {
  "$plain" train "${tiny[@]}" --updates 5 --out plain >output
  "$plain" train --data text --resume --updates 10 --out plain >output
  "$plain" train --data text --resume --updates 15 --out plain >output
  together 4 "$program" train "${tiny[@]}" --updates 5 --out run
  "$plain" train --data text --resume --updates 10 --out run >output
  together 3 "$program" train --data text --resume --updates 15 --out run
  same run/model.safetensors plain/model.safetensors
  contains "$(tail -1 run/metrics.jsonl)" '"update":15,'
}

test_tasks() {
  local flags=(--task copy --width 8 --layers 1 --heads 2 --examples 60 --tests 40 --updates 8 --shards 3 --threads 1)
  "$tasks" train "${flags[@]}" --out one >output
  together 2 "$tasks" train "${flags[@]}" --out two
  same one/model.safetensors two/model.safetensors
  [ "$(tail -1 one/metrics.jsonl | sed 's/"seconds":[^,]*,//')" = "$(tail -1 two/metrics.jsonl | sed 's/"seconds":[^,]*,//')" ] ||
    fail "other results: $(tail -qn 1 ./*/metrics.jsonl)"
}

test_translate() {
  mkdir lists
  for i in {100..219}; do
    name=$(tr 0-9 a-j <<<"$i")
    printf 'Package: %s\nDescription-md5: %d\nDescription-en: game %d\n A game with %d pieces.\n\n' "$name" "$i" "$i" "$i" >>lists/x_Translation-en
    printf 'Package: %s\nVersion: 1.0-1\n\n' "$name" >>lists/x_Packages
  done
  "$translate" prepare --task synopsis --from lists --out corpus --vocabulary character >output
  local flags=(--data corpus --width 8 --encoder-layers 1 --decoder-layers 1 --heads 2 --window 4 --reach 4 --lanes 6 --shards 3 --updates 8 --threads 1)
  "$translate" train "${flags[@]}" --out one >output
  together 2 "$translate" train "${flags[@]}" --out two
  same one/model.safetensors two/model.safetensors
}

test_a_killed_process_ends_the_others() {
  begin 3 "$program" train "${tiny[@]}" --seconds 100 --out "$folder/run"
  kill -9 "$(ranks "$folder/run" | tail -1)"
  ended 137
}

test_a_signal_to_one_process_saves_and_ends_all() {
  begin 2 "$program" train "${tiny[@]}" --seconds 100 --out "$folder/run"
  kill -TERM "$(ranks "$folder/run" | tail -1)"
  ended 143
  contains "$(cat output)" "interrupted: update"
  together 2 "$program" train --data text --out run --resume --updates 1000000 --seconds 2
}

test_what_differs_is_refused() {
  local train=("$program" train "${tiny[@]}" --out run)
  refused "expected at least as many shards as processes, found 4 shards for 5 processes" 5 "${train[@]}" --updates 3
  refused "process 1: expected the same flags as process 0 has, " 1 "${train[@]}" --updates 3 : -np 1 "${train[@]}" --updates 4
  mkdir here there
  sed 's/word/verb/' text >there/text
  cp text here/text
  # -wdir is for one of them
  local data=("$program" train "${tiny[@]}" --updates 3 --out "$PWD/run")
  refused "process 1: expected the same data as process 0 has, 6100 tokens " 1 sh -c 'cd here; exec "$@"' - "${data[@]}" : \
    -np 1 sh -c 'cd there; exec "$@"' - "${data[@]}"
  rm there/text
  refused "process 1: text: cannot open the text file" 1 sh -c 'cd here; exec "$@"' - "${data[@]}" : \
    -np 1 sh -c 'cd there; exec "$@"' - "${data[@]}"
  refused "unexpected --updats; did you mean --updates?" 2 "${train[@]}" --updats 3
  refused "expected 1 process, found 2: only train is done by several" 2 "$program" generate --model run/model.safetensors
  [ ! -e run ] || fail "$(ls run)"
}

test_a_loss_that_is_not_finite_ends_all() {
  refused "expected a finite" 2 "$program" train "${tiny[@]}" --learning-rate 1e30 --clip 0 --updates 30 --out run
  contains "$(cat output)" "run holds update "
}

test_an_error_of_one_process_ends_all() {
  local train=("$program" train "${tiny[@]}" --updates 500 --out run)
  refused "process 0: cannot write to the standard output" 1 sh -c 'exec "$@" >/dev/full' - "${train[@]}" : -np 1 "${train[@]}"
}

test_a_folder_in_use_is_refused() {
  begin 1 "$program" train "${tiny[@]}" --seconds 100 --out "$folder/run"
  mv output first
  refused "in use by process" 2 "$program" train "${tiny[@]}" --updates 3 --out "$folder/run"
  kill -TERM "$(ranks "$folder/run" | tail -1)"
  ended 143
}

test_what_cannot_be_written_ends_all() {
  mkdir -p run/metrics.jsonl
  refused "process 0: run/metrics.jsonl: " 2 "$program" train "${tiny[@]}" --updates 5 --out run
}

run_case
