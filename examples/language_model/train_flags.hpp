// The flags of `train`, in one list: it makes the command line, is stored with the training, and is compared when a training
// is resumed.
#pragma once

#include "support/config_file.hpp"
#include "support/flags.hpp"
#include "support/path_flag.hpp"
#include "support/stored_flags.hpp"
#include "support/vocabulary_choice.hpp"

#include "fbt/core/processors.hpp"
#include "fbt/io/pytorch/import.hpp"
#include "fbt/models/config.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/batches.hpp"
#include "fbt/training/schedule.hpp"
#include "fbt/training/trainer.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace example {

struct TrainFlags {
  std::vector<std::string> data;  ///< files
  std::string out;
  std::string start_from;  ///< model file; none: random parameters
  bool resume = false;
  std::set<std::string> from_file;  ///< names of the flags that --config has set
  VocabularyChoice vocabulary;
  fbt::Layout layout = fbt::Layout::fbt;
  fbt::Config config;
  fbt::BatchOptions batches;
  fbt::TrainerOptions trainer;
  fbt::AdamOptions adam;
  fbt::Schedule schedule;
  double mimetic = 0;
  double validation_fraction = 0.1;
  fbt::Index evaluate_every = 0;
  // the limits of this run; 0: not given
  fbt::Index updates = 0;
  double seconds = 0;

  /// The recipe: what was best of a megabyte of text in two minutes (bench/learning.md).
  TrainFlags() {
    trainer.threads = fbt::available_processors();
    batches.lanes = 16;
    config.memory_norm = fbt::MemoryNorm::soft;
    trainer.fresh = 0.7;
    adam.weight_decay = 0.1;
    schedule.peak = 0;
  }
  /// A wider model is trained with smaller steps.
  double default_learning_rate() const { return 0.003 * std::sqrt(128 / static_cast<double>(config.width)); }
};

/// Calls f(name, field, on_resume, help) for every flag that is a property of the training.
template <class F, class Flags>
void visit_flags(F&& f, Flags& flags) {
  auto& config = flags.config;
  auto& batches = flags.batches;
  auto& trainer = flags.trainer;
  using enum OnResume;
  f("start-from", flags.start_from, keep,
    "model file to begin with instead of random parameters, with its sizes and vocabulary; the memory rule may be "
    "another: a transformer goes on as feedback");
  f("vocabulary", flags.vocabulary, keep, "what a token is; sentencepiece: N subwords, learned from the text");
  f("layout", flags.layout, keep, "whose model it is, apart from fbt's: one that import_checkpoint can export to PyTorch");
  f("width", config.width, keep, "size of a layer's output and of a memory vector");
  f("layers", config.layers, keep, "number of layers");
  f("heads", config.heads, keep, "attention heads per layer");
  f("head-size", config.head_size, keep, "size of a head; 0: width / heads");
  f("feed-forward", config.feed_forward, keep, "hidden units of the feed-forward part; 0: 4 * width");
  f("activation", config.activation, keep, "of the feed-forward part");
  f("window", config.window, keep, "how many past tokens a token sees");
  f("span-ramp", config.span_ramp, keep,
    "heads learn how far back they look, at most the window, with a ramp of so many tokens; 0: always the window");
  f("memory-rule", config.memory_rule, keep, "what a step leaves to later ones; transformer: the ordinary one");
  f("memory-layer", config.memory_layer, keep, "with the rule layer: which one is remembered, 0: the embedding");
  f("memory-norm", config.memory_norm, keep,
    "what memory vectors go through before they are projected: soft bounds only large ones; block: the norm of the block");
  f("dropout", config.dropout, keep, "rate, at least 0 and below 1");
  f("mimetic", flags.mimetic, keep,
    "strength of the initialization by which attention begins with tokens like the present one; 0: none");
  f("segment", batches.segment, keep, "tokens of a lane between two updates");
  f("lanes", batches.lanes, keep, "places of the text that are read side by side");
  f("shards", trainer.shards, keep, "groups of lanes, which threads take first; part of the result, unlike threads");
  f("seed", batches.seed, keep, "for the initial parameters, dropout and the cuts of the text");
  f("validation-fraction", flags.validation_fraction, keep, "share of the text, at its end, that is held out; 0: none");
  f("learning-rate", flags.schedule.peak, may_change, "peak of the schedule; 0: 0.003 * sqrt(128 / width)");
  f("warmup", flags.schedule.warmup, may_change, "updates until the learning rate is at its peak");
  f("fresh", trainer.fresh, may_change,
    "share of the training, from its start, in which segments begin with an empty memory");
  f("first-segment", trainer.first_segment, may_change,
    "a curriculum: segments begin with so many tokens and are doubled until they have all; 0: none");
  f("growing", trainer.growing, may_change, "share of the training, from its start, in which segments grow");
  f("weight-decay", flags.adam.weight_decay, may_change, "of matrices, per update and unit of the learning rate");
  f("span-penalty", trainer.span_penalty, may_change, "nats per token of the heads' mean span, with --span-ramp");
  f("clip", trainer.clip, may_change, "largest norm of the gradient; 0: no limit");
  f("evaluate-every", flags.evaluate_every, may_change, "updates between evaluations; 0: about five over the run");
  f("recompute", trainer.recompute, may_change,
    "keep the activations of 16 tokens and compute the others twice: less memory for long segments, more time, the same "
    "result");
}

inline void add_train_flags(CLI::App& command, TrainFlags& flags) {
  add_path_flag(command, "data", flags.data,
                "text files to learn from, which are read as one text in this order; also as a flag for each")
      ->required()
      ->allow_extra_args()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_path_flag(command, "out", flags.out, "folder to write to")->required();
  add_config_flag(command, flags.from_file);
  add_flag(command, "resume", flags.resume, "go on with the training in the folder; flags not given are as they were")
      ->configurable(false);
  add_flag(command, "updates", flags.updates, "end after so many updates, earlier runs included; 0: no limit");
  add_flag(command, "seconds", flags.seconds,
           "end after so many seconds of training, evaluations included; with --resume so many more; 0: no limit")
      ->default_str("60, without --updates");
  add_flag(command, "threads", flags.trainer.threads, "most threads to work on");
  visit_flags([&](const char* name, auto& value, OnResume, const char* help) { add_flag(command, name, value, help); },
              flags);
  command.get_option("--start-from")->check(refuse_empty_path, "");
  command.footer(
      "When the loss stands still, alone or together: --mimetic 3, so that attention begins with earlier tokens like the\n"
      "present one; --first-segment 8 --fresh 1, short sequences first; or --memory-rule transformer first, and then\n"
      "another training with --start-from its model and --memory-rule feedback.");
}

/// Sets what the model's layout fixes. Throws std::invalid_argument when a flag that was given contradicts it.
inline void apply_layout(TrainFlags& flags, const CLI::App& command) {
  TrainFlags fixed = flags;
  fbt::set_layout(fixed.config, flags.layout);
  merge_flags(training_flags(flags), write_flags(training_flags(fixed)), command,
              fmt::format("--layout {} needs", fbt::name_of(flags.layout)), "do without --layout");
  flags.config = fixed.config;
}

/// The names of flags that have no effect, and why.
inline std::vector<VainFlag> vain_flags(const TrainFlags& flags) {
  std::vector<VainFlag> vain;
  if (flags.config.memory_rule != fbt::MemoryRule::layer)
    vain.push_back({"memory-layer", "memory-rule", "without --memory-rule layer"});
  if (flags.trainer.first_segment == 0) vain.push_back({"growing", "first-segment", "without --first-segment"});
  if (flags.validation_fraction == 0)
    vain.push_back({"evaluate-every", "validation-fraction", "with --validation-fraction 0"});
  return vain;
}

}  // namespace example
