// The flags of `train`, in one list: it makes the command line, is stored with the training, and is compared when a training
// is resumed.
#pragma once

#include "support/config_file.hpp"
#include "support/flags.hpp"
#include "support/path_flag.hpp"
#include "support/stored_flags.hpp"
#include "translate/corpus.hpp"

#include "fbt/core/processors.hpp"
#include "fbt/models/encoder_decoder.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/schedule.hpp"
#include "fbt/training/trainer.hpp"

#include <cmath>
#include <concepts>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

namespace example {

struct PairTrainFlags {
  std::string data, out;  ///< folders
  bool resume = false;
  std::set<std::string> from_file;  ///< names of the flags that --config has set
  fbt::EncoderDecoderConfig config;
  fbt::Index lanes = 32;
  double smoothing = 0.1;
  std::uint64_t seed = 1;
  SourceLimit source_limit;
  fbt::Index target_limit = 256;
  fbt::TrainerOptions trainer;
  fbt::AdamOptions adam;
  fbt::Schedule schedule;
  fbt::Index evaluate_every = 0;
  // the limits of this run; 0: not given
  fbt::Index updates = 0;
  double seconds = 0;

  PairTrainFlags() {
    config.decoder.cross_attention = true;
    config.decoder.layers = 1;
    config.decoder.window = 32;
    config.decoder.dropout = 0.1;
    trainer.threads = fbt::available_processors();
    adam.weight_decay = 0.1;
    schedule.peak = 0;
    schedule.warmup = 200;
  }
  double default_learning_rate() const { return 0.003 * std::sqrt(128 / static_cast<double>(config.decoder.width)); }
};

/// Calls f(name, field, on_resume, help) for every flag that is a property of the training.
template <class F, class Flags>
requires std::same_as<std::remove_const_t<Flags>, PairTrainFlags>
void visit_flags(F&& f, Flags& flags) {
  auto& config = flags.config;
  auto& decoder = config.decoder;
  using enum OnResume;
  f("rule", decoder.memory_rule, keep, "what a step of the decoder leaves to later ones; transformer: the ordinary one");
  f("memory-layer", decoder.memory_layer, keep, "with the rule layer: which one is remembered, 0: the embedding");
  f("encoder-layers", config.encoder_layers, keep, "blocks of the encoder");
  f("decoder-layers", decoder.layers, keep, "blocks of the decoder");
  f("width", decoder.width, keep, "size of a layer's output and of a memory vector");
  f("heads", decoder.heads, keep, "attention heads per layer");
  f("feed-forward", decoder.feed_forward, keep, "hidden units of the feed-forward parts; 0: 4 * width");
  f("window", decoder.window, keep, "how many past tokens of a target a token sees");
  f("reach", config.reach, keep, "how many positions to either side the encoder tells apart");
  f("dropout", decoder.dropout, keep, "rate, at least 0 and below 1");
  f("source-limit", flags.source_limit.tokens, keep, "the most tokens of a source");
  f("long-sources", flags.source_limit.longer, keep, "what is done with longer ones");
  f("target-limit", flags.target_limit, keep, "the most tokens of a target; pairs with a longer one are left out");
  f("lanes", flags.lanes, keep, "pairs that are read side by side, for every update");
  f("shards", flags.trainer.shards, keep, "groups of lanes, which threads take first; part of the result, unlike threads");
  f("seed", flags.seed, keep, "for the initial parameters, dropout and the order of the pairs");
  f("learning-rate", flags.schedule.peak, may_change, "peak of the schedule; 0: 0.003 * sqrt(128 / width)");
  f("warmup", flags.schedule.warmup, may_change, "updates until the learning rate is at its peak");
  f("weight-decay", flags.adam.weight_decay, may_change, "of matrices, per update and unit of the learning rate");
  f("label-smoothing", flags.smoothing, keep, "share of a label that is spread over all tokens; at least 0 and below 1");
  f("clip", flags.trainer.clip, may_change, "largest norm of the gradient; 0: no limit");
  f("evaluate-every", flags.evaluate_every, may_change, "updates between evaluations; 0: about five over the run");
  f("recompute", flags.trainer.recompute, may_change,
    "keep the activations of 16 tokens and compute the others twice: less memory for long segments, more time, the same "
    "result");
}

inline void add_pair_train_flags(CLI::App& command, PairTrainFlags& flags) {
  add_path_flag(command, "data", flags.data, "folder that prepare wrote")->required();
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
}

/// The names of flags that have no effect, and why.
inline std::vector<VainFlag> vain_flags(const PairTrainFlags& flags) {
  std::vector<VainFlag> vain;
  if (flags.config.decoder.memory_rule != fbt::MemoryRule::layer)
    vain.push_back({"memory-layer", "rule", "without --rule layer"});
  return vain;
}

}  // namespace example
