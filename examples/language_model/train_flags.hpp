// The flags of `train`, in one list: it makes the command line, is stored with the training, and is compared when a training
// is resumed.
#pragma once

#include "support/flags.hpp"
#include "support/path_flag.hpp"

#include "fbt/core/processors.hpp"
#include "fbt/models/config.hpp"
#include "fbt/text/vocabulary.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/batches.hpp"
#include "fbt/training/schedule.hpp"
#include "fbt/training/trainer.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

namespace example {

struct TrainFlags {
  std::string data, out;
  std::string start_from;  ///< model file; none: random parameters
  bool resume = false;
  fbt::TokenKind vocabulary = fbt::TokenKind::character;
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

  /// The recipe: of those tried on a megabyte of text for two minutes, the one with the smallest validation loss.
  TrainFlags() {
    trainer.threads = fbt::available_processors();
    batches.lanes = 16;
    trainer.fresh = 0.7;
    adam.weight_decay = 0.1;
    schedule.peak = 0;
  }
  /// A wider model is trained with smaller steps.
  double default_learning_rate() const { return 0.003 * std::sqrt(128 / static_cast<double>(config.width)); }
};

/// Whether a flag may have another value when a training goes on.
enum class OnResume { keep, may_change };

/// Calls f(name, field, on_resume, help) for every flag that is a property of the training.
template <class F, class Flags>
void visit_flags(F&& f, Flags& flags) {
  auto& config = flags.config;
  auto& batches = flags.batches;
  auto& trainer = flags.trainer;
  using enum OnResume;
  f("vocabulary", flags.vocabulary, keep, "what a token is");
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
}

inline void add_train_flags(CLI::App& command, TrainFlags& flags) {
  add_path_flag(command, "data", flags.data, "text file to learn from")->required();
  add_path_flag(command, "out", flags.out, "folder to write to")->required();
  auto* const resume =
      command.add_flag("--resume", flags.resume, "go on with the training in the folder; flags not given are as they were");
  add_path_flag(
      command, "start-from", flags.start_from,
      "model file to begin with instead of random parameters, with its sizes and vocabulary; the memory rule may be "
      "another: a transformer goes on as feedback")
      ->excludes(resume);
  add_flag(command, "updates", flags.updates, "end after so many updates, earlier runs included; 0: no limit");
  add_flag(command, "seconds", flags.seconds,
           "end after so many seconds of training, evaluations included; with --resume so many more; 0: no limit")
      ->default_str("60, without --updates");
  add_flag(command, "threads", flags.trainer.threads, "most threads to work on");
  visit_flags([&](const char* name, auto& value, OnResume, const char* help) { add_flag(command, name, value, help); },
              flags);
}

namespace detail {

/// A flag's value as JSON.
template <class T>
auto plain(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(fbt::name_of(value));
  } else {
    return value;
  }
}

}  // namespace detail

inline nlohmann::ordered_json write_flags(const TrainFlags& flags) {
  nlohmann::ordered_json json;
  visit_flags([&](const char* name, const auto& value, OnResume, const char*) { json[name] = detail::plain(value); }, flags);
  return json;
}

/// Sets the flags that were not given to those of the file that the training goes on from. Throws std::invalid_argument when
/// one that was given contradicts it; name is the file's, for messages, and otherwise says what else to do.
inline void merge_flags(TrainFlags& flags, const nlohmann::ordered_json& stored, const CLI::App& command,
                        std::string_view name, std::string_view otherwise) {
  visit_flags(
      [&]<class T>(const char* flag, T& value, OnResume on_resume, const char*) {
        if (!stored.contains(flag)) return;  // newer than the file
        const auto text = stored.at(flag).get<decltype(detail::plain(value))>();
        T old;
        if constexpr (std::is_enum_v<T>) {
          old = fbt::from_name<T>(text, fmt::format("{}: {}", name, flag));
        } else {
          old = text;
        }
        if (command.count(fmt::format("--{}", flag)) == 0) {
          value = old;
        } else if (on_resume == OnResume::keep) {
          fbt::check(value == old, "--{}: {} was begun with {}, found {}; leave the flag out, or {}", flag, name,
                     detail::plain(old), detail::plain(value), otherwise);
        }
      },
      flags);
}

/// Throws std::invalid_argument for flags that were given and would have no effect.
inline void refuse_vain_flags(const TrainFlags& flags, const CLI::App& command) {
  if (flags.config.memory_rule != fbt::MemoryRule::layer)
    refuse_flags(command, {"memory-layer"}, "without --memory-rule layer");
  if (flags.trainer.first_segment == 0) refuse_flags(command, {"growing"}, "without --first-segment");
  if (flags.validation_fraction == 0) refuse_flags(command, {"evaluate-every"}, "with --validation-fraction 0");
}

}  // namespace example
