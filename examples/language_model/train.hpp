// `train`: learns a text for a number of updates or seconds, and writes to a folder
//   model.safetensors      the model with the smallest validation loss so far, or the latest while there is none
//   training.safetensors   all that --resume needs, and the latest model
//   config.toml            the flags, for --config
//   metrics.jsonl          a line per report
//   loss.svg, layer_weights.svg
#pragma once

#include "language_model/model_file.hpp"
#include "language_model/start_from.hpp"
#include "language_model/text_task.hpp"
#include "language_model/train_flags.hpp"
#include "support/physical_memory.hpp"
#include "support/processes.hpp"
#include "support/run.hpp"
#include "support/stored_training.hpp"
#include "support/text_file.hpp"
#include "support/training_run.hpp"

#include "fbt/core/random.hpp"
#include "fbt/io/folder_lock.hpp"
#include "fbt/models/mimetic.hpp"
#include "fbt/text/vocabulary.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace example {

namespace detail {

/// How many tokens to hold out. Throws std::invalid_argument when there are too few.
inline std::size_t choose_held_out(const TrainFlags& flags, std::size_t tokens) {
  const fbt::BatchOptions& batches = flags.batches;
  const double fraction = flags.validation_fraction;
  fbt::check(fraction >= 0 && fraction < 1, "--validation-fraction must be at least 0 and below 1, found {}", fraction);
  const auto held_out = static_cast<std::size_t>(fraction * static_cast<double>(tokens));
  const double needed = static_cast<double>(batches.lanes) * static_cast<double>(batches.segment) + 1;
  fbt::check(static_cast<double>(tokens - held_out) >= needed,
             "{}: the text is too short: {} lanes of segments of {} tokens need {} tokens, found {} and {} held out; lower "
             "--lanes, --segment or --validation-fraction",
             fmt::join(flags.data, ", "), batches.lanes, batches.segment, needed, tokens - held_out, held_out);
  fbt::check(
      fraction == 0 || held_out >= 2,
      "{}: the text is too short: an evaluation needs 2 tokens, found {} held out; raise --validation-fraction, or set "
      "it to 0",
      fmt::join(flags.data, ", "), held_out);
  return held_out;
}

/// Throws std::invalid_argument when the machine cannot hold what a training needs.
inline void check_memory(const fbt::Config& config, const fbt::BatchOptions& batches, const fbt::TrainerOptions& trainer,
                         const Processes& processes) {
  // the model, its moments, a gradient per shard, of several processes also what they exchange; keys and values of twice the
  // window and their gradients; of a segment the outputs of layers, and of the steps whose activations are kept hidden
  // units, for gelu and geglu also what they are made from, and attention weights
  const auto number = [](auto... factors) { return (static_cast<double>(factors) * ...); };
  const auto [first, end] = processes.own_part(trainer.shards);
  const double own = static_cast<double>(end - first), share = own / static_cast<double>(trainer.shards);
  const double models = processes.count() == 1 ? 3 + own : 2 + 2 * own + 4 * share;
  const double slot = share * 2 * number(batches.lanes, config.heads, config.head_columns(), config.key_values());
  const fbt::Index kept = trainer.recompute ? std::min(batches.segment, fbt::delta_steps) : batches.segment;
  const fbt::Index hidden = config.activation == fbt::Activation::relu   ? 1
                            : config.activation == fbt::Activation::gelu ? 2
                                                                         : 3;
  const double activations =
      number(batches.segment, config.layers + 1, config.width) +
      number(kept, config.layers, hidden * config.hidden_units() + config.heads * std::min(config.window, batches.segment));
  const double needed = sizeof(float) * (models * config.parameters() + 4 * static_cast<double>(config.window) * slot +
                                         share * static_cast<double>(batches.lanes) * activations);
  const double present = physical_memory();
  fbt::check(
      needed < present,
      "too large for this machine: {:.3g} parameters, {} lanes, segments of {} and a window of {} tokens need more than "
      "{:.0f} GB of memory, found {:.0f} GB",
      config.parameters(), batches.lanes, batches.segment, config.window, needed / 1e9, present / 1e9);
}

/// The texts to learn from. Of a large one the user is told, as it takes a while to read.
inline std::vector<NamedText> read_data(const std::vector<std::string>& paths) {
  std::vector<NamedText> texts;
  for (const std::string& path : paths) {
    std::error_code none;
    constexpr double large = 1e7;
    const std::filesystem::path file = path;
    if (std::filesystem::is_regular_file(file, none))
      if (const auto size = static_cast<double>(std::filesystem::file_size(file, none)); size > large)
        print_now("reading {}, {:.0f} MB\n", path, size / 1e6);
    texts.push_back({path, read_text_file(file)});
  }
  return texts;
}

}  // namespace detail

/// command: which flags were given. Returns the exit code of the program.
inline int train(TrainFlags flags, const CLI::App& command, Processes& processes) {
  std::optional<fbt::FolderLock> lock;
  processes.first_does([&] { lock.emplace(flags.out); });
  drop_overruled_layer(flags, flags.config, command);
  std::optional<fbt::Vocabulary> stored_vocabulary;
  const auto stored = open_training(flags, command, [&](const fbt::Metadata& metadata, const std::string& file) {
    stored_vocabulary = fbt::Vocabulary::read(metadata, file);
    return fbt::read_config(metadata.at("fbt.training.config"), file);
  });
  if (stored && !stored->flags.contains("start-from") && !flags.from_file.contains("start-from"))
    refuse_flags(command, {"start-from"}, "with --resume");  // of an older training it is not known
  std::optional<TextModel> start;
  if (!stored && flags.start_from.empty()) apply_layout(flags, command);
  if (!stored && !flags.start_from.empty()) start = read_start(flags, command);
  const Standing standing = choose_standing(flags, stored, command);
  if (!stored && command.count("--shards") == 0)
    flags.trainer.shards = std::clamp<fbt::Index>(flags.batches.lanes, 1, flags.trainer.shards);
  fbt::check(flags.config.width >= 1, "--width must be at least 1, found {}", flags.config.width);  // the rate depends on it
  if (flags.schedule.peak == 0) flags.schedule.peak = flags.default_learning_rate();
  flags.batches.validate();
  flags.trainer.validate(flags.batches.lanes, flags.batches.segment);
  flags.schedule.validate();
  flags.adam.validate();
  fbt::check(flags.trainer.span_penalty == 0 || flags.config.span_ramp > 0,
             "--span-penalty {}: expected --span-ramp, too; without it no span is learned", flags.trainer.span_penalty);
  fbt::check(flags.mimetic >= 0 && flags.mimetic <= 100, "--mimetic must be from 0 to 100, found {}", flags.mimetic);
  fbt::check(!start || flags.mimetic == 0,
             "--mimetic {}: expected random parameters, found those of --start-from; leave out one of the flags",
             flags.mimetic);
  refuse_vain_flags(flags, command);

  std::vector<NamedText> texts = detail::read_data(flags.data);
  const fbt::Vocabulary vocabulary = stored  ? *stored_vocabulary
                                     : start ? choose_vocabulary(start->vocabulary, flags.vocabulary, texts)
                                             : learn_vocabulary(flags.vocabulary, texts);
  const std::vector<fbt::Token> tokens = encode_texts(vocabulary, texts);
  texts = {};
  if (!stored) flags.config.vocabulary = vocabulary.size();
  if (!stored && !start) flags.config.share_key_value = !flags.config.remembers_per_layer();
  flags.config.validate();
  detail::check_memory(flags.config, flags.batches, flags.trainer, processes);
  const std::size_t held_out = detail::choose_held_out(flags, tokens.size());
  fbt::Random random(flags.batches.seed);
  Model model = start ? with_vocabulary(*start, flags.config, vocabulary, random) : Model(flags.config, random);
  if (flags.mimetic > 0) fbt::initialize_mimetic(model, flags.mimetic);
  const TextTask task(flags, vocabulary, tokens, held_out);
  processes.meet(fbt::fingerprint(tokens));
  Training training(task, flags, std::move(model), standing, processes);
  if (stored) training.load();
  return training.run();
}

}  // namespace example
