// `train`: learns the pairs of a corpus for a number of updates or seconds, and writes to a folder
//   model.safetensors      the model with the smallest validation loss so far, or the latest while there is none
//   training.safetensors   all that --resume needs, and the latest model
//   config.toml            the flags, for --config
//   metrics.jsonl          a line per report
//   loss.svg, layer_weights.svg
#pragma once

#include "support/config_file.hpp"
#include "support/processes.hpp"
#include "support/stored_training.hpp"
#include "support/training_run.hpp"
#include "translate/corpus.hpp"
#include "translate/model_file.hpp"
#include "translate/pair_loss.hpp"
#include "translate/train_flags.hpp"

#include "fbt/core/random.hpp"
#include "fbt/io/folder_lock.hpp"
#include "fbt/training/pair_batches.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace example {

/// What is learned, for Training.
class PairsTask {
 public:
  using Model = PairModel;
  using Batches = fbt::PairBatches;
  using Validation = PairValidation;
  using Flags = PairTrainFlags;

  PairsTask(const PairTrainFlags& flags, const CorpusInfo& info) : flags_(flags), info_(info) {
    const auto read = [&](const char* part) {
      const std::filesystem::path path = std::filesystem::path(flags.data) / fmt::format("{}.tsv", part);
      EncodedPairs result =
          encode_pairs(info.vocabulary, read_pairs(path), flags.source_limit, flags.target_limit, path.string());
      print_now("{}: {} pairs{}\n", path.string(), result.pairs.size(), result.remarks(flags.source_limit.tokens));
      return std::move(result.pairs);
    };
    pairs_ = read(corpus_parts[0]);
    held_out_ = read(corpus_parts[1]);
  }

  Batches batches() const {
    const fbt::Token boundary = boundary_of(info_.vocabulary);
    return {pairs_, {.lanes = flags_.lanes, .begin = boundary, .end = boundary, .seed = flags_.seed}};
  }
  fbt::CrossEntropy loss() const { return {flags_.smoothing}; }
  Validation validation() const { return {held_out_, boundary_of(info_.vocabulary)}; }
  double tokens_per_update() const {
    return static_cast<double>(flags_.lanes) * Validation(pairs_, 0).work() / static_cast<double>(pairs_.size());
  }
  std::string summary() const {
    return fmt::format("{} pairs to learn from, {} held out, a vocabulary of {}", pairs_.size(), held_out_.size(),
                       info_.vocabulary.size());
  }
  fbt::Metadata metadata() const { return translator_metadata(info_.vocabulary, info_.task, flags_.source_limit.tokens); }
  static const auto& core(const Model& model) { return model.decoder.core; }
  static Model load(const std::filesystem::path& path) { return load_translator(path).model; }
  bool is_sound(const Model& model) const {
    return std::isfinite(fbt::squared_norm(model)) &&
           std::isfinite(pair_loss(model, std::span(pairs_).first(1), boundary_of(info_.vocabulary), 1).mean());
  }
  std::string config(const Limits& limits) const {
    nlohmann::ordered_json flags{{"data", flags_.data}, {"updates", limits.updates}, {"seconds", limits.seconds}};
    flags.update(write_flags(training_flags(flags_)));
    for (const VainFlag& vain : vain_flags(flags_)) flags.erase(vain.name);
    return "# the same training again: translate train --config THIS_FILE --out FOLDER\n" + write_config_lines(flags);
  }
  void conclude(const Model&) const {}
  /// Of the pairs, those held out included.
  std::string identity() const { return fbt::fingerprint(pairs_) + ", " + fbt::fingerprint(held_out_); }

 private:
  const PairTrainFlags& flags_;
  const CorpusInfo& info_;
  std::vector<fbt::TokenPair> pairs_, held_out_;
};

/// command: which flags were given. Returns the exit code of the program.
inline int train(PairTrainFlags flags, const CLI::App& command, Processes& processes) {
  std::optional<fbt::FolderLock> lock;
  processes.first_does([&] { lock.emplace(flags.out); });
  const CorpusInfo info = read_corpus_info(flags.data);
  drop_overruled_layer(flags, flags.config.decoder, command);
  const auto stored = open_training(flags, command, [&](const fbt::Metadata& metadata, const std::string& file) {
    fbt::ensure(metadata.contains("translate.task"), "{}: expected a training of translate, found one of another program",
                file);
    fbt::ensure(metadata.at("translate.task") == fbt::name_of(info.task),
                "{}: the training is one of the task {}, found {} in {}", file, metadata.at("translate.task"),
                fbt::name_of(info.task), flags.data);
    fbt::ensure(fbt::Vocabulary::read(metadata, file).metadata() == info.vocabulary.metadata(),
                "{}: the training belongs to another vocabulary than that of {}", file, flags.data);
    return fbt::read_config<fbt::EncoderDecoderConfig>(metadata.at("fbt.training.config"), file);
  });
  const Standing standing = choose_standing(flags, stored, command);
  if (!stored && command.count("--shards") == 0)
    flags.trainer.shards = std::clamp<fbt::Index>(flags.lanes, 1, flags.trainer.shards);
  fbt::check(flags.source_limit.tokens >= 1 && flags.target_limit >= 1,
             "--source-limit and --target-limit must be at least 1, found {} and {}", flags.source_limit.tokens,
             flags.target_limit);
  fbt::check(flags.smoothing >= 0 && flags.smoothing < 1, "--label-smoothing must be at least 0 and below 1, found {}",
             flags.smoothing);
  fbt::check(flags.lanes >= 1 && flags.lanes <= 4096, "--lanes must be from 1 to 4096, found {}", flags.lanes);
  refuse_vain_flags(flags, command);
  fbt::Config& decoder = flags.config.decoder;
  decoder.vocabulary = info.vocabulary.size() + 1;
  decoder.share_key_value = !decoder.remembers_per_layer();
  flags.config.validate();
  if (flags.schedule.peak == 0) flags.schedule.peak = flags.default_learning_rate();
  flags.schedule.validate();
  flags.adam.validate();

  const PairsTask task(flags, info);
  fbt::Random random(flags.seed);
  processes.meet(task.identity());
  Training training(task, flags, PairModel(flags.config, random), standing, processes);
  if (stored) training.load();
  return training.run();
}

}  // namespace example
