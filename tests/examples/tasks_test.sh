#!/usr/bin/env bash
# Tests of the program tasks: tasks_test.sh PROGRAM CASE. Every function test_CASE is a test.
. "$(dirname "$0")/program.sh"

tiny=(--width 8 --layers 1 --lanes 4 --examples 40 --tests 12 --length 6 --test-length 9)
# train FLAG...: a training of few updates, with small values of the flags that apply to the task and the rule.
train() {
  local small=("${tiny[@]}")
  [[ " $* " == *" --rule lstm "* ]] || small+=(--heads 2 --window 8)
  [[ " $* " =~ " --task "(copy|reverse|counting|s5)" " ]] || small+=(--first-length 3)
  succeed train "${small[@]}" --updates 6 "$@"
}
# The reports without what depends on the clock.
metrics() { sed -E 's/"(seconds|tokens_per_second)":[^,]*,//g' "$1/metrics.jsonl"; }

test_every_task_by_every_rule() {
  local task rule
  for task in copy reverse counting random_walk algorithmic_3 algorithmic_5 parity modular_5 s5 flip_flop recall; do
    for rule in feedback average top_only recurrent transformer lstm lstm_attention; do
      train --task $task --rule $rule --out $task.$rule
      contains "$(tail -n 1 <<<"$output")" "$task by $rule: "
      [ "$(ls $task.$rule | tr '\n' ' ')" = "metrics.jsonl model.safetensors training.safetensors " ] || fail "$(ls $task.$rule)"
      contains "$(tail -n 1 $task.$rule/metrics.jsonl)" "{\"task\":\"$task\",\"rule\":\"$rule\",\"seed\":1,"
      succeed show --task $task --model $task.$rule/model.safetensors --count 2 --length 5
      contains "$output" "answers are right"
    done
  done
  contains "$(tail -n 1 copy.lstm/metrics.jsonl)" '"sequence_accuracy":'
  contains "$(tail -n 1 random_walk.lstm/metrics.jsonl)" '"accuracy":'
  contains "$(tail -n 1 flip_flop.lstm/metrics.jsonl)" '"sparse_accuracy":'
  train --task parity --test-length 20 --out longer
  [ "$(tail -n 1 longer/metrics.jsonl | grep -oE '"[a-z0-9_]*accuracy":' | tr -d '\n')" = '"accuracy":"length_12_accuracy":"length_20_accuracy":' ] ||
    fail "$(tail -n 1 longer/metrics.jsonl)"
}

test_show() {
  succeed show --task reverse --count 1 --length 4 --seed 3
  [[ $output =~ ^([a-j])\ ([a-j])\ ([a-j])\ ([a-j])\ \>\ ([a-j])\ ([a-j])\ ([a-j])\ ([a-j])\ \.$ ]] || fail "$output"
  local m=("${BASH_REMATCH[@]}")
  [ "${m[1]}${m[2]}${m[3]}${m[4]}" = "${m[8]}${m[7]}${m[6]}${m[5]}" ] || fail "$output"
  succeed show --task counting --count 1 --length 3
  [ "$output" = "a a a > a a a ." ] || fail "$output"
  succeed show --task algorithmic_5 --count 2
  [ "$(grep -c '^END$' <<<"$output")" -eq 2 ] || fail "$output"
  [ "$(grep -cE '^print [xyzpr] ; +[0-9]+$' <<<"$output")" -gt 20 ] || fail "$output"
}

test_show_attention() {
  train --task copy --out run
  succeed show --task copy --model run/model.safetensors --count 1 --length 5 --attention map.html --head 2
  contains "$(cat map.html)" '"panels":[{"layer":1,"head":2,'
  succeed show --task copy --model run/model.safetensors --count 1 --length 5 --attention map.svg
  [ "$(grep -c '>layer 1, head [12]<' map.svg)" -eq 2 ] || fail "expected 2 panels: $(head -c 2000 map.svg)"
  train --task copy --rule lstm --out lstm
  error "expected a model with layers of attention, found an LSTM" show --task copy --model lstm/model.safetensors --attention map.svg
  error "--attention needs the --model that looks" show --task copy --attention map.svg
}

test_files_of_examples() {
  succeed show --task algorithmic_3 --count 40 --length 6 --seed 5 --official train.txt
  succeed show --task algorithmic_3 --count 12 --length 9 --seed 6 --official test.txt
  [ -z "$output" ] || fail "$output"
  [ "$(wc -l <train.txt) $(wc -l <train.txt.labels)" = "40 40" ] || fail "$(wc -l train.txt*)"
  [ "$(wc -w <train.txt)" = "$(wc -w <train.txt.labels)" ] || fail "$(wc -w train.txt*)"
  [ "$(grep -cvE '^([xyzpr;:=<>]|if|print|[0-9]+|\+\+|--| )+ END$' train.txt)" -eq 0 ] || fail "$(cat train.txt)"
  paste -d'\n' train.txt train.txt.labels | awk 'NR % 2 { n = split($0, w); next } { split($0, l); for (i = 1; i <= n; ++i)
    if ((l[i] != "_") != (w[i] == ";" && w[i - 2] == "print")) { print "line " NR / 2 ", word " i; exit 1 } }' || fail "labels"
  local flags=(--task algorithmic_3 --width 8 --layers 1 --lanes 4 --length 6 --heads 2 --window 8 --seconds 0)
  succeed train "${flags[@]}" --data train.txt --test-data test.txt --updates 6 --curriculum 0 --out read
  succeed train "${flags[@]}" --updates 6 --curriculum 0 --out drawn
  ! cmp -s drawn/model.safetensors read/model.safetensors || fail "--data has no effect"
  flags+=(--first-length 3)
  succeed train "${flags[@]}" --data train.txt --test-data test.txt --updates 3 --out parts
  succeed train --resume --out parts --updates 6
  contains "$(tail -n 1 parts/metrics.jsonl)" '"updates":6,'
  cp train.txt kept; sed 's/ ++ ;/ -- ;/' kept >train.txt
  error "parts/training.safetensors: the training belongs to another text" train --resume --out parts --updates 9
  # mistakes
  error "missing: cannot open the text file" train --task algorithmic_3 --data missing --out run
  error "missing: cannot open the text file" train --task algorithmic_3 --test-data missing --out run
  error "--model has no effect with --official" show --task algorithmic_3 --official x --model y
  rm train.txt.labels
  error "train.txt.labels: cannot open the text file" train --task algorithmic_3 --data train.txt --out run
  printf 'x = 3 ; print x ; END\n' >one; printf '_ _ _ _ _ _ 3 _\n' >one.labels
  error "one: line 1: expected a word of the task, found 'x'" train --task copy --data one --out run
  printf '_ _ _ _ _ _ three _\n' >one.labels
  error "one.labels: line 1: expected a word of the task or _, found 'three'" train --task algorithmic_3 --data one --out run
  printf '_ _ _ _ _ _ 3\n' >one.labels
  error "one.labels: line 1: expected as many words as in one, found only 7" train --task algorithmic_3 --data one --out run
  printf '_ _ _ _ _ _ 3 _ _\n' >one.labels
  error "one.labels: line 1: expected as many words as in one, found more than 8" train --task algorithmic_3 --data one --out run
  printf '_ _ _ _ _ _ 3 _\n_\n' >one.labels
  error "one.labels: expected a line for each of one, found more than 1" train --task algorithmic_3 --data one --out run
  printf '_ _ _ _ _ _ _ _\n' >one.labels
  error "one.labels: expected words to be answered, found only _" train --task algorithmic_3 --data one --out run
  printf 'END\n\n' >one; printf '_\n\n' >one.labels
  error "one: line 2: expected an example, found an empty line" train --task algorithmic_3 --data one --out run
  printf 'END\nEND\n' >one; printf '_\n' >one.labels
  error "one.labels: expected a line for each of one, found only 1" train --task algorithmic_3 --data one --out run
  error "--examples has no effect with --data" train --task algorithmic_3 --data kept --examples 3 --curriculum 0 --out run
  cp test.txt.labels kept.labels
  error "kept.labels: line 1: expected as many words as in kept, found " train --task algorithmic_3 --data kept --out run
  succeed show --task parity --count 5 --length 20 --official few.txt
  error "the data is too short: 32 lanes of segments of 20 tokens need 640 tokens, found 100" train --task parity --data few.txt --out run
  # what is tested on is in the file: one of ten answers is right
  printf 'x = 5 ; print x ; END\n' >one
  local n right=0
  for n in 1 2 3 4 5 6 7 8 9 10; do
    printf '_ _ _ _ _ _ %s _\n' $n >one.labels
    succeed train "${flags[@]}" --test-data one --updates 120 --out answers.$n
    [[ $(tail -n 1 answers.$n/metrics.jsonl) != *'"accuracy":1.0'* ]] || right=$((right + 1))
  done
  [ $right -eq 1 ] || fail "$right answers are right"
  # examples of one length or of several
  succeed show --task parity --count 40 --length 9 --seed 5 --official numbers
  succeed show --task parity --count 40 --length 5 --seed 6 --official shorter
  cat shorter >>numbers; cat shorter.labels >>numbers.labels
  succeed train --task parity --width 8 --layers 1 --heads 2 --lanes 4 --data numbers --test-data shorter --updates 200 --seconds 0 --curriculum 0
  contains "$output" "parity by feedback: accuracy"
  error "--tests has no effect with --test-data" train --task algorithmic_3 --test-data one --tests 3 --out run
  [ ! -e run ] || fail "left: $(ls run)"
}

test_learns() {
  succeed train --task counting --length 4 --test-length 5 --width 16 --heads 2 --lanes 8 --updates 300 --seconds 0 --examples 500 --tests 40
  local accuracy
  accuracy=$(sed -nE 's/.*trained lengths character accuracy ([0-9]+).*/\1/p' <<<"$output" | tail -n 1)
  [ "$accuracy" -ge 95 ] || fail "$output"
}

test_threads_do_not_change_the_results() {
  train --task algorithmic_3 --out one --threads 1
  train --task algorithmic_3 --out two --threads 2
  diff <(metrics one) <(metrics two) || fail "the metrics differ"
  same one/model.safetensors two/model.safetensors
  train --task algorithmic_3 --out other --seed 2
  ! cmp -s one/model.safetensors other/model.safetensors || fail "the seed has no effect"
}

test_mimetic() {
  train --task algorithmic_3 --out programs
  train --task algorithmic_3 --out three --mimetic 3
  train --task algorithmic_3 --out none --mimetic 0
  same programs/model.safetensors three/model.safetensors
  ! cmp -s programs/model.safetensors none/model.safetensors || fail "--mimetic has no effect"
}

test_position() {
  train --task copy --out strings
  train --task copy --out none --position none
  train --task copy --out relative --position relative_key
  same strings/model.safetensors none/model.safetensors
  ! cmp -s strings/model.safetensors relative/model.safetensors || fail "--position has no effect"
  succeed show --task copy --model relative/model.safetensors --count 1
  # trainings of older versions do not tell what they have: relative positions
  sed -i 's/\\"position\\":\\"relative_key\\",\\"mimetic/\\"notitiop\\":\\"relative_key\\",\\"mimetic/' relative/training.safetensors
  grep -aq notitiop relative/training.safetensors || fail "the file was not changed"
  error "--position: relative/training.safetensors was begun with relative_key, found none" \
    train --resume --out relative --updates 9 --position none
  succeed train --resume --out relative --updates 9
}

test_span_ramp() {
  train --task algorithmic_3 --window 20 --out programs
  train --task algorithmic_3 --window 20 --out twelve --span-ramp 12
  train --task algorithmic_3 --window 20 --out none --span-ramp 0
  train --task algorithmic_3 --window 20 --out beyond --span-ramp 20
  same programs/model.safetensors twelve/model.safetensors
  same none/model.safetensors beyond/model.safetensors
  ! cmp -s programs/model.safetensors none/model.safetensors || fail "--span-ramp has no effect"
}

test_seconds_bound_the_whole_run() {
  SECONDS=0
  succeed train "${tiny[@]}" --task random_walk --seconds 3
  [ $SECONDS -le 4 ] || fail "took $SECONDS s"
}

test_interrupt() {
  local line pid code=0
  mkfifo pipe
  "$program" train "${tiny[@]}" --task copy --out run --updates 1000000 --seconds 0 >pipe 2>stderr & pid=$!
  exec 3<pipe
  while read -r line <&3; do [[ $line != "update "* ]] || break; done
  error "run: in use by process $pid" train "${tiny[@]}" --task copy --out run
  kill -INT $pid
  line=$(cat <&3)
  wait $pid || code=$?
  [ $code -eq 130 ] || fail "expected exit code 130, found $code"
  contains "$line" "interrupted at update "
  contains "$(cat stderr)" "stopping after this update"
  contains "$(tail -n 1 run/metrics.jsonl)" '"interrupted":true'
  succeed show --task copy --model run/model.safetensors
}

# A test that takes long is left at once. How long one takes differs from machine to machine: it grows until it is met.
test_interrupt_of_a_test() {
  local tests pid code
  for tests in 4000 16000 64000 256000; do
    rm -rf run
    code=0
    "$program" train "${tiny[@]}" --tests $tests --task copy --out run --updates 1 --seconds 0 >printed 2>stderr & pid=$!
    while [ ! -s printed ]; do sleep 0.05; done
    sleep 0.3
    { kill -TERM $pid && kill -TERM $pid; } 2>/dev/null || true
    wait $pid || code=$?
    ! grep -q "interrupted at update 1;" printed || break
  done
  [ $code -eq 143 ] || fail "expected exit code 143, found $code: $(cat stderr printed)"
  contains "$(cat printed)" "copy by feedback: not tested"
  succeed show --task copy --model run/model.safetensors
  # the test is all that is left
  succeed train --resume --out run
  contains "$output" "copy by feedback: character accuracy"
  contains "$(tail -n 1 run/metrics.jsonl)" '"updates":1,'
  error "the training in run has reached its end" train --resume --out run
}

test_outputs_that_take_nothing() {
  local codes code=0
  train --task copy --out run
  "$program" show --task copy --model run/model.safetensors >/dev/full 2>stderr || code=$?
  [ $code -eq 1 ] || fail "expected exit code 1, found $code"
  contains "$(cat stderr)" "No space left on device"
  code=0; "$program" show --task copy >&- 2>stderr || code=$?
  [ $code -eq 1 ] || fail "expected exit code 1, found $code"
  "$program" train "${tiny[@]}" --task copy --out other --updates 1000000 --seconds 0 2>stderr | head -n 2 >/dev/null && codes=("${PIPESTATUS[@]}") || codes=("${PIPESTATUS[@]}")
  [ "${codes[0]}" -eq 1 ] || fail "expected exit code 1, found ${codes[0]}"
  [[ $(cat stderr) =~ "; the model of update "[0-9]+" is in other" ]] || fail "$(cat stderr)"
  succeed show --task copy --model other/model.safetensors
}

test_an_error_keeps_the_last_good_model() {
  train --task copy --out run
  error "expected a finite" train "${tiny[@]}" --task copy --out bad --updates 60 --learning-rate 1e30 --clip 0 --warmup 0
  [ ! -e bad ] || fail "left: $(ls bad)"
}

# Flags that would have no effect are refused.
test_vain_flags() {
  local flag
  for flag in "--window 1" "--heads 2" "--span-ramp 4" "--position none" "--mimetic 1"; do
    error "${flag% *} has no effect with --rule lstm" train --task random_walk --rule lstm --out run $flag
  done
  for flag in "--span-ramp 4" "--position none" "--mimetic 1"; do
    error "${flag% *} has no effect with --rule lstm_attention" train --task random_walk --rule lstm_attention --out run $flag
  done
  for flag in "--segment 8" "--fresh 0.5"; do
    error "${flag% *} has no effect with --task random_walk" train --task random_walk --out run $flag
    error "${flag% *} has no effect with --task copy" train --task copy --out run $flag
  done
  for flag in "--first-length 3" "--advance 0.1"; do
    error "${flag% *} has no effect without a --curriculum above 0" train --task copy --out run $flag
    error "${flag% *} has no effect without a --curriculum above 0" train --task algorithmic_3 --curriculum 0 --out run $flag
  done
  error "--first-length has no effect without a --curriculum above 0, and examples shorter than --length to begin with" \
    train --task random_walk --length 9 --first-length 9 --out run
  error "--curriculum has no effect without examples shorter than --length to begin with" \
    train --task random_walk --length 20 --curriculum 0.5 --out run
  error "--first-length has no effect" train --task algorithmic_3 --length 10 --first-length 12 --out run
  error "--first-length must be from 2 to 1000000, found 1" train --task flip_flop --first-length 1 --out run
  error "nothing is scored in test examples of a --length of 1 and a --test-length of 1" \
    train --task algorithmic_3 --length 1 --test-length 1 --out run
  error "--first-length has no effect with --task s5" train --task s5 --first-length 3 --out run
  error "--test-length of recall must be at most 32, the number of keys, found 33" train --task recall --length 33 --out run
  error "--length of flip_flop must be at least 2" train --task flip_flop --length 1 --out run
  error "--test-length must be from 6 to 1000000, found 5" train --task parity --length 6 --test-length 5 --out run
  error "expected a length from 1 to 32 pairs, found 33" show --task recall --length 33
  for flag in "--layer 1" "--head 1"; do
    error "${flag% *} has no effect without --attention" show --task copy $flag
  done
  [ ! -e run ] || fail "left a folder"
}

test_typos_and_numbers() {
  error "unexpected trian; did you mean train?" trian --task copy
  error "unexpected --currciulum; did you mean --curriculum?" train --task copy --currciulum 1
  error '--updates: expected a whole number from 0 to 9223372036854775807, found "-1"' train --task copy --updates -1
  error '--seed: expected a whole number from 0 to 18446744073709551615, found "-1"' show --task copy --seed -1
  error '--dropout: expected a decimal number, found "nan"' train --task copy --dropout nan
  succeed show --task copy --count 02 --length 010
  [ "$(grep -cE '^([a-j] ){10}> ' <<<"$output")" -eq 2 ] || fail "$output"
  succeed completion bash
  contains "$output" "random_walk"
}

# A training in one go, and one that is interrupted at some update and resumed, have the same results.
test_resume() {
  local task line pid
  for task in algorithmic_3 copy random_walk; do
    local flags=("${tiny[@]}" --heads 2 --window 8 --task $task --updates 260 --seconds 0 --dropout 0.1)
    [ $task = copy ] || flags+=(--first-length 3 --advance 9)
    succeed train "${flags[@]}" --out $task.whole --threads 1
    mkfifo $task.pipe
    "$program" train "${flags[@]}" --out $task.parts --threads 2 >$task.pipe 2>stderr & pid=$!
    exec 3<$task.pipe
    while read -r line <&3; do [[ $line != "update "* ]] || { kill -INT $pid; break; }; done
    line=$(cat <&3)
    wait $pid || true
    contains "$line" "interrupted"
    succeed train --resume --out $task.parts --threads 1
    same $task.whole/model.safetensors $task.parts/model.safetensors
    diff <(tail -n 1 $task.whole/metrics.jsonl | sed 's/"seconds":[^,]*,//') <(tail -n 1 $task.parts/metrics.jsonl | sed 's/"seconds":[^,]*,//') || fail "other results"
    [ "$(grep -c '"task"' $task.parts/metrics.jsonl)" -eq 1 ] || fail "$(cat $task.parts/metrics.jsonl)"
  done
  succeed train "${tiny[@]}" --task copy --rule lstm --out lstm --updates 10 --seconds 0
  succeed train --resume --out lstm --updates 20 --learning-rate 1e-4 --length 6
  contains "$(tail -n 1 lstm/metrics.jsonl)" '"updates":20,'
  error "the training in lstm has reached its end; give --updates (in all) or --seconds (more)" train --resume --out lstm
  error "--updates: expected more than the 20 that the training in lstm has, found 5" train --resume --out lstm --updates 5
  error "--width: lstm/training.safetensors was begun with 8, found 16; leave the flag out" train --resume --out lstm --updates 30 --width 16
  error "--task: lstm/training.safetensors was begun with copy, found reverse" train --resume --out lstm --updates 30 --task reverse
  error "--rule: lstm/training.safetensors was begun with lstm, found feedback" train --resume --out lstm --updates 30 --rule feedback
  error "--resume: expected the folder of a training, too; give --out" train --resume
  error "none/training.safetensors: cannot open" train --resume --out none
  cp lstm/model.safetensors copy.whole/training.safetensors
  error "copy.whole/training.safetensors: expected a training of this program" train --resume --out copy.whole
  succeed train --resume --out lstm --seconds 1
  # what cannot go on leaves the folder as it was
  cp -r lstm before
  error "threads must be between 1 and 1024, found 0" train --resume --out lstm --updates 1000000 --threads 0
  error "clip must be at least 0" train --resume --out lstm --updates 1000000 --clip -1
  sed 's/\\"tests\\":[0-9][0-9],/\\"tests\\": 0,/' before/training.safetensors >lstm/training.safetensors
  ! cmp -s before/training.safetensors lstm/training.safetensors || fail "the file was not changed"
  cp lstm/training.safetensors damaged
  error "--tests must be from 1 to 1000000, found 0" train --resume --out lstm --updates 1000000
  same damaged lstm/training.safetensors
  for file in model.safetensors metrics.jsonl; do same before/$file lstm/$file; done
}

test_errors() {
  error "--task: expected one of copy, reverse, counting, random_walk, algorithmic_3, algorithmic_5, parity, modular_5, s5, flip_flop, recall, found \"sorting\"" show --task sorting
  error "--rule: expected one of feedback, average, top_only, recurrent, transformer, lstm, lstm_attention, found \"rnn\"" train --task copy --rule rnn
  error "--task is required" train
  error "--colour" train --task copy --colour red
  error "--length must be from 1 to 1000000, found 0" train --task copy --length 0
  error "--test-length must be from 21 to 1000000, found 20" train --task copy --test-length 20
  error "--curriculum must be from 0 to 1, found 2" train --task copy --curriculum 2
  error "--mimetic must be from 0 to 100, found -1" train --task copy --mimetic -1
  error "give a limit" train --task copy --seconds 0
  succeed train "${tiny[@]}" --task copy --updates 2 --seconds 0 --out limited
  error "give a limit" train --resume --seconds 0 --out limited
  error "config: width 10 is not divisible by heads 4" train --task copy --width 10
  error "--lanes must be from 1 to 1000000, found 0" train --task copy --lanes 0
  error "--count must be from 1 to 1000, found 0" show --task copy --count 0
  error "cannot open" show --task copy --model none
  error "--out: expected a path, found an empty one" train --task copy --out ""
  error "--attention: expected a path, found an empty one" show --task copy --attention ""
  error "lanes" train "${tiny[@]}" --task copy --updates 1 --lanes 2 --shards 3
  train --task copy --lanes 1
  succeed train --task copy --length 50 --updates 1 --seconds 0 --width 8 --layers 1 --heads 2 --examples 100 --tests 4
  train --task copy --out run
  error "run: the folder already holds model.safetensors; add --resume" train --task copy --out run
  error "run/model.safetensors: expected a model of the task reverse, found one of copy" show --task reverse --model run/model.safetensors
  train --task algorithmic_3 --out three
  sed 's/algorithmic_3/algorithmic_5/' three/model.safetensors >five
  error "five: expected a vocabulary of " show --task algorithmic_5 --model five
}

run_case
