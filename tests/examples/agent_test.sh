#!/usr/bin/env bash
# Tests of the program agent: agent_test.sh PROGRAM CASE TASKS, the last being that program. Every function test_CASE is a test.
. "$(dirname "$0")/program.sh"
tasks=$3

small=(--width 8 --layers 1 --lanes 4 --segment 8 --episodes 12)
tiny=("${small[@]}" --heads 2 --window 4)
train() { succeed train "${tiny[@]}" --updates 6 --seconds 0 "$@"; }
# The reports without what depends on the clock.
metrics() { sed -E 's/"(seconds|frames_per_second)":[^,}]*[,}]//g' "$1/metrics.jsonl"; }

test_every_task_by_every_rule() {
  local task rule
  for task in t_maze maze water_maze cart_pole; do
    for rule in feedback average top_only recurrent transformer lstm none; do
      case $rule in
        lstm | none) succeed train "${small[@]}" --updates 6 --seconds 0 --task $task --rule $rule --length 9 --out $task.$rule ;;
        *) train --task $task --rule $rule --length 9 --out $task.$rule ;;
      esac
      contains "$(tail -n 1 <<<"$output")" "$task by $rule: return "
      [ "$(ls $task.$rule | tr '\n' ' ')" = "metrics.jsonl model.safetensors " ] || fail "$(ls $task.$rule)"
      contains "$(tail -n 1 $task.$rule/metrics.jsonl)" "{\"task\":\"$task\",\"rule\":\"$rule\",\"length\":9,\"seed\":1,"
      contains "$(tail -n 1 $task.$rule/metrics.jsonl)" '"evaluation":{"episodes":12,"return":'
      succeed evaluate --model $task.$rule/model.safetensors --episodes 3 --json
      contains "$output" "{\"task\":\"$task\",\"rule\":\"$rule\",\"episodes\":3,\"return\":"
    done
  done
}

test_metrics() {
  local key
  train --task t_maze --length 3 --out run
  for key in update frames seconds return success places entropy value_loss frames_per_second; do
    contains "$(head -n 1 run/metrics.jsonl)" "\"$key\":"
  done
  contains "$(head -n 1 run/metrics.jsonl)" '"update":6,"frames":192,'
  contains "$(tail -n 1 run/metrics.jsonl)" '"update":6,"frames":192,'
}

test_learns() {
  succeed train --task t_maze --length 4 --width 16 --heads 2 --window 4 --segment 16 --updates 300 --seconds 0 --learning-rate 5e-3
  [[ $(tail -n 1 <<<"$output") =~ success\ (100|9[5-9]) ]] || fail "$output"
}

test_the_same_again() {
  train --task maze --length 20 --out one
  train --task maze --length 20 --out two
  diff <(metrics one) <(metrics two) || fail "the metrics differ"
  same one/model.safetensors two/model.safetensors
  train --task maze --length 20 --out other --seed 2
  ! cmp -s one/model.safetensors other/model.safetensors || fail "the seed has no effect"
}

test_show() {
  train --task t_maze --length 5 --out run
  succeed show --model run/model.safetensors --task t_maze --count 2 --length 3 --plain --out paths.svg
  [ "$(grep -cE '^episode [12]  step +[0-9]+  (forward|left|right) +probability [01]\.[0-9]{3}  value ' <<<"$output")" -ge 6 ] || fail "$output"
  [ "$(grep -cE '^episode [12]: (no )?success, return ' <<<"$output")" -eq 2 ] || fail "$output"
  ! grep -q '[#@]' <<<"$output" || fail "expected no frames: $output"
  [ "$(grep -c '<polyline' paths.svg)" -eq 2 ] || fail "$(cat paths.svg)"
  succeed show --model run/model.safetensors --count 1 --length 3
  [ "$(grep -c '@' <<<"$output")" -eq "$(grep -c '  step ' <<<"$output")" ] || fail "$output"
  ! grep -q $'\x1b' <<<"$output" || fail "expected no escape codes outside of a terminal"
}

test_evaluate() {
  train --task t_maze --length 5 --out run
  succeed evaluate --model run/model.safetensors --episodes 40 --json
  local first=$output
  succeed evaluate --model run/model.safetensors --episodes 40 --json
  [ "${first%,\"seconds\"*}" = "${output%,\"seconds\"*}" ] || fail "$first and $output"
  succeed evaluate --model run/model.safetensors --episodes 40 --length 30
  contains "$output" "t_maze by feedback, 40 episodes: return "
}

test_seconds_bound_the_whole_run() {
  SECONDS=0
  succeed train "${tiny[@]}" --task water_maze --seconds 3
  [ $SECONDS -le 4 ] || fail "took $SECONDS s"
}

test_interrupt() {
  local line pid code=0
  mkfifo pipe
  "$program" train "${tiny[@]}" --task maze --out run --updates 100000000 --seconds 0 >pipe 2>stderr & pid=$!
  exec 3<pipe
  while read -r line <&3; do [[ $line != "update "* ]] || { kill -INT $pid; break; }; done
  line=$(cat <&3)
  wait $pid || code=$?
  [ $code -eq 130 ] || fail "expected exit code 130, found $code"
  contains "$line" "interrupted at update "
  contains "$(cat stderr)" "stopping after this update"
  contains "$(tail -n 1 run/metrics.jsonl)" '"interrupted":true'
  succeed show --model run/model.safetensors --count 1 --plain
}

test_interrupt_of_the_results() {
  local pid code=0
  "$program" train "${tiny[@]}" --task cart_pole --out run --updates 1 --seconds 0 --episodes 1000000 >printed 2>stderr & pid=$!
  while ! grep -q "^update " printed; do sleep 0.05; done
  kill -INT $pid
  wait $pid || code=$?
  [ $code -eq 130 ] || fail "expected exit code 130, found $code: $(cat stderr)"
  contains "$(tail -n 1 run/metrics.jsonl)" '"interrupted":true'
}

test_errors() {
  error "--window has no effect with --rule lstm" train --task maze --rule lstm --window 3
  error "--heads has no effect with --rule none" train --task maze --rule none --heads 2
  error "--task: expected one of t_maze, maze, water_maze, cart_pole, found \"chess\"" train --task chess
  error "--rule: expected one of feedback, average, top_only, recurrent, transformer, lstm, none, found \"rnn\"" train --task maze --rule rnn
  error "--task is required" train
  error "--length must be from 1 to 100000, found 0" train --task maze --length 0
  error "--length: expected a whole number from 0 to" train --task t_maze --length -3
  error "lanes must be from 1 to 4096, found 0" train --task maze --lanes 0
  error "segment must be from 1 to 100000, found 0" train --task maze --segment 0
  error "--discount must be from 0 to 1, found 1.5" train --task maze --discount 1.5
  error "--entropy must be at least 0 and finite, found -1" train --task maze --entropy -1
  error "--episodes must be from 1 to 1000000, found 0" train --task maze --episodes 0
  error "config: width 10 is not divisible by heads 4" train --task maze --width 10
  error "the learning rate must be above 0, found 0" train --task maze --learning-rate 0
  error "give a limit" train --task maze --seconds 0
  error "cannot open" evaluate --model none
  train --task maze --length 9 --out run
  error "run: the folder already holds model.safetensors" train --task maze --out run
  error "--delay has no effect with --plain" show --model run/model.safetensors --plain --delay 1
  error "--task: expected one of t_maze, maze, water_maze, cart_pole, found \"\"" show --model run/model.safetensors --task ""
  error "best was given a disallowed flag override" evaluate --model run/model.safetensors --best=3
  error "--count must be from 1 to 1000, found 0" show --model run/model.safetensors --count 0
  error "--length must be from 1 to 100000, found 0" evaluate --model run/model.safetensors --length 0
  error "run/model.safetensors: expected a model of the task t_maze, found one of maze" show --model run/model.safetensors --task t_maze
  error "--task: expected one of t_maze, maze, water_maze, cart_pole, found \"chess\"" show --model run/model.safetensors --task chess
  sed 's/"agent.task":"maze"/"agent.task":"mace"/' run/model.safetensors >wrong
  error "wrong: agent.task: expected one of t_maze, maze, water_maze, cart_pole, found \"mace\"" evaluate --model wrong
  sed 's/"agent.length":"9"/"agent.length":"x"/' run/model.safetensors >wrong
  error "wrong: agent.length: expected a number from 1 to 100000, found \"x\"" evaluate --model wrong
  sed 's/"agent.rule":"feedback"/"agent.rule":"lstm"    /' run/model.safetensors >wrong
  error "wrong: expected a model written by fbt, found no fbt.lstm" evaluate --model wrong
}

test_a_model_of_another_program() {
  "$tasks" train --task copy --out copy --updates 2 --seconds 0 --width 8 --layers 1 --heads 2 --examples 20 --tests 4 >/dev/null
  error "copy/model.safetensors: expected a model that agent train wrote, found no agent.task" evaluate --model copy/model.safetensors
  error "copy/model.safetensors: expected a model that agent train wrote, found no agent.task" show --model copy/model.safetensors
}

run_case
