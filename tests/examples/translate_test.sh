#!/usr/bin/env bash
# Tests of the program translate: translate_test.sh PROGRAM CASE LANGUAGE_MODEL. Every function test_CASE is a test.
. "$(dirname "$0")/program.sh"
language_model=$3

# Lists of 120 packages of 60 source packages, in the folder lists, and a corpus of them in the folder data.
lists() {
  mkdir -p lists
  local colours=(red blue green black white) Farben=(rot blau grün schwarz weiß) number
  for number in {100..219}; do
    local name=${colours[number % 5]} Name=${Farben[number % 5]} md5=d$number
    printf 'Package: p%d\nDescription-md5: %s\nDescription-en: a %s game, %d\n This is a game with %d pieces,\n  all of them %s.\n .\n You can play it.\n\n' \
      "$number" "$md5" "$name" "$number" "$number" "$name" >>lists/x_Translation-en
    printf 'Package: p%d\nDescription-md5: %s\nDescription-de: ein Spiel in %s, %d\n Dies ist ein Spiel mit %d Steinen,\n alle davon %s.\n .\n Man kann es spielen.\n\n' \
      "$number" "$md5" "$Name" "$number" "$number" "$Name" >>lists/x_Translation-de
    printf 'Package: p%d\nSource: %s (1.0)\nVersion: 1.0-1\n\n' "$number" "source_$(printf '%s' $((number / 2)) | tr 0-9 a-j)" >>lists/x_Packages
  done
}
corpus() {
  lists
  succeed prepare --from lists --out data --vocabulary character "$@"
}
tiny=(--data data --width 8 --encoder-layers 1 --decoder-layers 1 --heads 2 --window 4 --reach 4 --lanes 6 --shards 3 --warmup 3)
train() { succeed train "${tiny[@]}" --out "$@"; }

test_prepare() {
  corpus
  contains "$output" "120 English descriptions, 120 translated, 120 of them paragraph by paragraph; 119 repeated sources left out"
  contains "$output" "a vocabulary of "
  [ "$(ls data | tr '\n' ' ')" = "corpus.json test.tsv train.tsv validation.tsv " ] || fail "$(ls data)"
  [ "$(cat data/*.tsv | wc -l)" -eq 241 ] || fail "$(cat data/*.tsv | wc -l) pairs"
  [ "$(cat data/*.tsv | grep -c $'^You can play it\.\tMan kann es spielen\.$')" -eq 1 ] || fail "a repeated pair"
  contains "$(cat data/*.tsv)" $'This is a game with 112 pieces, all of them green.\tDies ist ein Spiel mit 112 Steinen, alle davon grün.'
  [ "$(wc -l <data/train.tsv)" -gt 180 ] || fail "$(wc -l data/*.tsv)"
  local number other  # of one source package, all pairs are in one file
  for number in {100..218..2}; do
    other=$((number + 1))
    [ "$(cd data; grep -lE "game, $number|with $number " *.tsv)" = "$(cd data; grep -lE "game, $other|with $other " *.tsv)" ] || fail "p$number and p$other"
  done
  cp -r data first
  corpus --task en_de >/dev/null
  for file in train.tsv corpus.json; do same data/$file first/$file; done
}

test_prepare_synopses() {
  corpus --task synopsis
  contains "$output" "120 English descriptions; 0 repeated sources left out"
  contains "$(cat data/*.tsv)" $'This is a game with 112 pieces, all of them green. You can play it.\ta green game, 112'
  rm lists/x_Translation-de
  succeed prepare --task synopsis --from lists --out data --vocabulary byte
  error "lists: expected descriptions in files with Translation-de in their names, found none" prepare --from lists --out data
}

# apt-get -qq -c FILE update, in $PATH: shows the file, and copies the lists to the folder that it names.
fake_apt() {
  mkdir bin
  printf '%s\n' '#!/bin/sh' 'cat "$3"' 'folder=$(sed -n "s/^Dir::State::Lists \"\(.*\)\";$/\1/p" "$3")' 'cp lists/* "$folder"' "$1" >bin/apt-get
  chmod +x bin/apt-get
  PATH=$PWD/bin:$PATH
}

test_prepare_by_apt() {
  lists
  fake_apt "exit 0"
  succeed prepare --out "the data" --vocabulary byte
  contains "$output" "120 English descriptions"
  local config
  config=$(cat "the data/apt/apt.conf")
  contains "$config" 'Acquire::Languages { "en"; "de"; };'
  contains "$config" "Dir::State::Lists \"$PWD/the data/apt/lists\";"
  contains "$config" "Dir::Cache \"$PWD/the data/apt/cache\";"
  contains "$config" "#clear APT::Update::Post-Invoke;"
  succeed prepare --task synopsis --from "the data/apt/lists" --out synopses --vocabulary byte
}

test_prepare_when_apt_fails() {
  lists
  fake_apt "exit 100"
  error "expected the command to succeed, found it failed: apt-get " prepare --out data --vocabulary byte
  rm -r data/apt/lists
  printf '#!/bin/sh\n' >bin/apt-get
  error "lists: expected descriptions in files with Translation-en in their names, found none" prepare --out data --vocabulary byte
}

test_prepare_refuses() {
  error "nowhere: expected a folder with lists of apt, found none" prepare --from nowhere --out data
  mkdir empty
  error "empty: expected descriptions in files with Translation-en in their names, found none" prepare --from empty --out data
  : >empty/x_Translation-en
  error "empty: expected descriptions in files with Translation-en" prepare --from empty --out data
  printf 'Package: p\nDescription-md5: 1\nDescription-en: one\n two\n' >empty/x_Translation-en
  error "expected descriptions of more packages" prepare --task synopsis --from empty --out data --vocabulary byte
  error "--task: expected one of en_de, synopsis, found \"fr_de\"" prepare --task fr_de --from empty --out data
  [ ! -e data ] || fail "a folder is left"
  lists
  gzip -c lists/x_Translation-en | head -c 1000 >lists/z_Translation-en.gz
  ! "$program" prepare --from lists --out cut >stdout 2>stderr || fail "expected a damaged list to be refused"
  contains "$(tail -n 1 stderr)" "error: expected the command to succeed, found it failed: gzip -dc "  # gzip says more
  rm lists/z_Translation-en.gz
  echo "nothing of it" >lists/z_Translation-en
  error "lists/z_Translation-en: expected descriptions of packages, found none" prepare --from lists --out cut
}

test_train_writes_its_files() {
  corpus
  train run --updates 5 --threads 2
  contains "$output" "update      5"
  contains "$output" "best validation loss"
  contains "$output" " pairs to learn from, "
  [ "$(ls run | tr '\n' ' ')" = "config.toml layer_weights.svg loss.svg metrics.jsonl model.safetensors training.safetensors " ] || fail "$(ls run)"
  [ "$(grep -c '"validation_loss":[0-9]' run/metrics.jsonl)" -eq 5 ] || fail "$(cat run/metrics.jsonl)"
  succeed train --config run/config.toml --out again
  same run/model.safetensors again/model.safetensors
  train threads --updates 5 --threads 3
  same run/model.safetensors threads/model.safetensors
  for rule in transformer top_only recurrent average; do train $rule --updates 2 --rule $rule; done
  train layer --updates 2 --rule layer --memory-layer 1
  succeed train --config layer/config.toml --rule feedback --out no.layer
  succeed train --config layer/config.toml --rule feedback --out no.layer --resume --updates 3
}

test_resume_gives_the_same_model() {
  corpus
  local flags=("${tiny[@]}" --updates 30 --evaluate-every 1 --dropout 0.1) code=0 line pid
  succeed train "${flags[@]}" --out whole
  mkfifo pipe
  "$program" train "${flags[@]}" --out parts >pipe 2>err &
  pid=$!
  exec 3<pipe
  while read -r line <&3; do [[ $line != "update      4"* ]] || { kill -INT $pid; break; }; done
  cat <&3 >rest
  wait $pid || code=$?
  [ $code -eq 130 ] || fail "exit code $code: $(cat err rest)"
  contains "$(cat rest)" "go on with --resume"
  succeed train --data data --out parts --resume
  same whole/model.safetensors parts/model.safetensors
  succeed write --model whole --text "a red game" --beam 1 --length 5; local written=$output
  succeed write --model parts --text "a red game" --beam 1 --length 5
  [ "$output" = "$written" ] || fail "$output is not $written"
  error "parts/training.safetensors was begun with 8, found 16" train --data data --out parts --resume --updates 33 --width 16
  error "has reached its end" train --data data --out parts --resume
  error "already holds model.safetensors" train "${tiny[@]}" --out parts --updates 30
  echo $'more\tmehr' >>data/train.tsv
  error "another text: expected " train --data data --out parts --resume --updates 33
}

test_bad_corpora() {
  corpus
  error "nowhere: expected a folder that translate prepare wrote, found no corpus.json in it" train --data nowhere --out run
  local bad='train.tsv:2: expected a source, a tab and a target, found '
  cp data/train.tsv good
  { head -n 1 good; echo 'no tab'; } >data/train.tsv
  error "${bad}0 tabs" train "${tiny[@]}" --out run --updates 1
  { head -n 1 good; printf 'a\tb\tc\n'; } >data/train.tsv
  error "${bad}2 tabs" train "${tiny[@]}" --out run --updates 1
  { head -n 1 good; printf '\tb\n'; } >data/train.tsv
  error "${bad}no source" train "${tiny[@]}" --out run --updates 1
  { head -n 1 good; printf 'a\t\n'; } >data/train.tsv
  error "${bad}no target" train "${tiny[@]}" --out run --updates 1
  { head -n 1 good; printf 'a\t\xff\n'; } >data/train.tsv
  error "train.tsv:2: expected text in UTF-8" train "${tiny[@]}" --out run --updates 1
  : >data/train.tsv
  error "train.tsv: expected a text, found an empty file" train "${tiny[@]}" --out run --updates 1
  rm data/train.tsv
  error "train.tsv: cannot open" train "${tiny[@]}" --out run --updates 1
  cp good data/train.tsv
  printf '{"task":"en_de","vocabulary.kind":"character","vocabulary":"aa"}' >data/corpus.json
  error "corpus.json: expected every character of a vocabulary once" train "${tiny[@]}" --out run --updates 1
  printf '{"vocabulary.kind":"byte","vocabulary":""}' >data/corpus.json
  error "corpus.json: expected what translate prepare wrote" train "${tiny[@]}" --out run --updates 1
  printf '[1' >data/corpus.json
  error "corpus.json: expected what translate prepare wrote" train "${tiny[@]}" --out run --updates 1
  [ ! -e run ] || fail "a folder is left"
}

test_long_sources() {
  corpus
  error "expected a source of at most 10 tokens, found " train "${tiny[@]}" --out run --updates 1 --source-limit 10 --long-sources refuse
  train run --updates 1 --source-limit 10 --target-limit 40
  contains "$output" " sources cut to 10 tokens"
  contains "$output" " pairs left out that are too long or empty"
  error "train.tsv: expected pairs with sources of characters in the vocabulary and targets of at most 2 tokens, found none among " train "${tiny[@]}" --out other --updates 1 --target-limit 2
  error "--lanes must be from 1 to 4096, found 1000000000" train "${tiny[@]}" --out other --updates 1 --lanes 1000000000
  error "config: width must be between 1 and" train "${tiny[@]}" --out other --updates 1 --width 0
  error "the standard input: cannot be read: " write --model run </
  error "--label-smoothing must be at least 0 and below 1, found 1" train "${tiny[@]}" --out other --updates 1 --label-smoothing 1
  succeed write --model run --text "This is a game with pieces" --beam 1 --length 4
  contains "$output" "warning: text 1: cut from 26 to 10 tokens"
  error "text 1: expected a source of at most 10 tokens, found 26" write --model run --text "This is a game with pieces" --long-sources refuse
  succeed write --model run --text "This is a game with pieces" --beam 1 --length 4 --source-limit 30
  [[ $output != *warning* ]] || fail "$output"
}

test_models_of_another_kind() {
  corpus
  train run --updates 1
  cat data/train.tsv | tr '\t' '\n' >text
  "$language_model" train --data text --out lm --updates 1 --width 8 --layers 1 --heads 2 --segment 8 --lanes 2 >/dev/null
  error "lm/model.safetensors: expected a model of translate, found one of another program" write --model lm --text a
  error "lm/training.safetensors: expected a model of translate, found one of another program" write --model lm/training.safetensors --text a
  error "lm/training.safetensors: expected a training of translate, found one of another program" train --data data --out lm --resume --updates 2
  program=$language_model
  error "run/model.safetensors: expected a language model, found one of translate" generate --model run --prompt a
  error "run/training.safetensors: expected a language model, found one of translate" generate --last run --prompt a
  error "run/training.safetensors: " train --data text --out run --resume --updates 2
}

test_vocabularies_that_do_not_fit() {
  corpus
  train run --updates 1
  error "text 1: expected only characters of the model's vocabulary of" write --model run --text "Ω"
  succeed prepare --from lists --out other --vocabulary byte
  error "belongs to another vocabulary than that of other" train --data other --out run --resume --updates 2
  cp -r data renamed; sed -i 's/en_de/synopsis/' renamed/corpus.json
  error "the training is one of the task en_de, found synopsis in renamed" train --data renamed --out run --resume --updates 2
  succeed prepare --task synopsis --from lists --out synopses --vocabulary byte
  error "synopses: expected pairs of the model's task en_de, found synopsis" evaluate --model run --data synopses
  printf 'a\tx\nΩ\tx\n' >data/test.tsv
  error "expected sources of characters in the model's vocabulary" evaluate --model run --data data
  printf 'a Ω\tx\n' >data/test.tsv
  succeed evaluate --model run --data data --length 4
  contains "$output" "2 characters left out that are not in the vocabulary"
}

test_evaluate() {
  corpus
  train run --updates 5
  local count
  count=$(wc -l <data/test.tsv)
  succeed evaluate --model run --data data --beam 2 --length 10 --out written
  contains "$output" "$count pairs of data/test.tsv"
  contains "$output" "BLEU 0.00, chrF "
  contains "$output" "(nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp)"
  contains "$output" "the source itself: BLEU "
  contains "$output" " sentences/s, "
  [ "$(wc -l <written)" -eq "$count" ] || fail "$(wc -l written)"
  # one by one as all together, with any number of lanes and threads
  cut -f 1 data/test.tsv >sources
  succeed write --model run --beam 2 --length 10 <sources
  [ "$output" = "$(cat written)" ] || fail "$output is not $(cat written)"
  succeed evaluate --model run --data data --beam 2 --length 10 --out other --lanes 1 --threads 1
  same written other
  succeed evaluate --model run --data data --split validation --limit 2 --beam 1 --length 5 --json
  [[ $output =~ ^'{"task":"en_de","split":"validation","pairs":2,"beam":1,"bleu":'[0-9.e-]+',"chrf":'[0-9.]+',"signature":"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp","nats_per_token":'[0-9.]+',"baseline_name":"the source itself","baseline":{"bleu":'[0-9.]+',"chrf":'[0-9.]+'},"unfinished":'[0-9]+',"sources_cut":0,"seconds":'.*',"sentences_per_second":'.*',"tokens_per_second":'.*'}'$ ]] || fail "$output"
  succeed evaluate --model run --data data --limit 2 --beam 1 --length 5 --weights int8
  contains "$output" "nats per token by the full weights: weights of int8 cost "
  succeed write --model run --beam 2 --length 10 --weights bf16 <sources; local rounded=$output
  succeed convert --model run --weights bf16 --out bf16.safetensors
  succeed write --model bf16.safetensors --beam 2 --length 10 <sources; [ "$output" = "$rounded" ] || fail "$output, not $rounded"
  succeed evaluate --model bf16.safetensors --data data --limit 2 --beam 1 --length 5 --json; contains "$output" '"weights":"bf16"'
  [ "$(wc -l <<<"$rounded")" -eq "$count" ] || fail "$rounded"
  error "--split: expected one of train, validation, test, found \"dev\"" evaluate --model run --data data --split dev
}

test_evaluate_synopses() {
  corpus --task synopsis
  train run --updates 2
  succeed evaluate --model run --data data --length 10
  contains "$output" "ROUGE-1 "
  contains "$output" "the first 4 words of the description: ROUGE-1 "
}

test_learns() {
  corpus
  head -n 4 data/train.tsv >few
  for part in train validation test; do cp few data/$part.tsv; done
  succeed train --data data --out run --updates 400 --width 32 --encoder-layers 1 --lanes 4 --shards 1 --dropout 0 --warmup 20 --evaluate-every 100
  succeed evaluate --model run --data data
  contains "$output" "BLEU 100.00, chrF 100.00"
  succeed write --model run --text "  $(head -n 1 few | cut -f 1) "
  [ "$output" = "$(head -n 1 few | cut -f 2)" ] || fail "$output"
}

test_write_reads_lines() {
  corpus
  train run --updates 1
  printf 'a red game\n\na blue game' >lines
  succeed write --model run --beam 2 --length 5 <lines
  [ "$(printf '%s\n' "$output" | wc -l)" -eq 3 ] || fail "$output"
  local lines=$output
  succeed write --model run --beam 2 --length 5 --text "a red game" --text "" --text "a blue game"
  [ "$output" = "$lines" ] || fail "$output is not $lines"
  error "--beam must be from 1 to 1024, found 0" write --model run --text a --beam 0
  error "--length-penalty has no effect with --beam 1" evaluate --model run --data data --beam 1 --length-penalty 2
  error "--length-penalty must be at least 0, found -1" evaluate --model run --data data --length-penalty -1
  error "--lanes must be at least 1, found 0" evaluate --model run --data data --lanes 0
  error "--beam must be from 1 to 1024, found 9223372036854775807" evaluate --model run --data data --beam 9223372036854775807
  error "--length must be from 1 to 1000000, found 10000000" write --model run --text a --length 10000000
}

test_show() {
  corpus
  train run --updates 1 --decoder-layers 2
  succeed show --model run --text "a red game" --target "ein" --out picture.svg
  contains "$output" "what its 3 tokens and its end looked at of the 10 of the source is in picture.svg"
  contains "$(cat picture.svg)" "layer 2, head 2"
  contains "$(cat picture.svg)" "(end)"
  succeed show --model run --text "a red game" --length 6 --out picture.svg
  contains "$output" "what its 6 tokens looked at of the 10 of the source is in picture.svg"
  [[ $(cat picture.svg) != *"(end)"* ]] || fail "an end that was not written"
  succeed show --model run --text "a red game" --out picture.svg  # which it does not end, either
  contains "$output" "what its 200 tokens looked at"
  error "--length must be at most 200, which a picture has room for, found 201" show --model run --text a --length 201
  error "--text: expected a source, found no words" show --model run --text " "
  error "--beam has no effect with --target" show --model run --text a --target b --beam 2
  error "threads must be between 1 and 1024, found 0" show --model run --text a --threads 0
}

run_case
