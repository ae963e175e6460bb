# Sourced by tests of language_model: a text of 6,100 characters, and a model and training small enough for a test.
for i in {1..100}; do printf 'line %02d: in the beginning was the word, and more of it here.\n' $((i % 100)); done >text
tiny=(--data text --width 8 --layers 2 --heads 2 --window 8 --segment 16 --lanes 6 --shards 3 --dropout 0.1 --warmup 3)
# choose_text FLAG...: the flags in $flags are those of the tiny training, without its text when the given ones have another.
choose_text() {
  flags=("${tiny[@]}")
  [[ " $* " != *" --data "* ]] || flags=("${tiny[@]:2}")
}
# train FOLDER FLAG...
train() {
  local flags
  choose_text "$@"
  succeed train "${flags[@]}" --out "$@"
}

# The reports without what depends on the clock.
metrics() { sed -E 's/"(seconds|tokens_per_second)":[^,]*,//g' "$1/metrics.jsonl"; }
