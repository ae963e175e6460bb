// Training files, as safetensors files: all that is needed to go on bit for bit. Parameters, the optimiser's moments and
// counter, the place in the data and the carried memories. A training file has parameters of its own, beside those in a
// model file, so that it does not matter which of the two was written last when a program is killed.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/io/fingerprint.hpp"
#include "fbt/io/memory_tensors.hpp"
#include "fbt/io/model_file.hpp"
#include "fbt/io/safetensors.hpp"
#include "fbt/training/pair_batches.hpp"
#include "fbt/training/trainer.hpp"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fbt {

/// Identifies vectors, by the bits of their numbers.
template <class Scalar>
std::string fingerprint(const Vectors<Scalar>& vectors) {
  Fingerprint hash;
  hash.add_numbers(vectors);
  return fmt::format("{} vectors of {} {:016x}", vectors.cols(), vectors.rows(), hash.value());
}

/// Identifies pairs, by their tokens.
inline std::string fingerprint(std::span<const TokenPair> pairs) {
  Fingerprint hash;
  for (const TokenPair& pair : pairs) {
    for (const auto* tokens : {&pair.source, &pair.target}) {
      hash.add(static_cast<std::uint32_t>(tokens->size()));
      for (const Token token : *tokens) hash.add(static_cast<std::uint32_t>(token));
    }
  }
  return fmt::format("{} pairs {:016x}", pairs.size(), hash.value());
}

namespace detail {

/// Identifies what batches are of.
template <class AnyBatches>
std::string data_identity(const AnyBatches& batches) {
  std::string data = fingerprint(batches.data());
  if (!batches.predicts_next()) data += " with the labels " + fingerprint(batches.goals());
  if (!batches.all_starts().empty()) {
    Fingerprint starts;
    for (const std::uint8_t start : batches.all_starts()) starts.add(std::uint32_t{start != 0});
    data += fmt::format(" with the starts {:016x}", starts.value());
  }
  return data;
}
inline std::string data_identity(const PairBatches& batches) {
  return fmt::format("{} from {} to {}", fingerprint(batches.pairs()), batches.options().begin, batches.options().end);
}

/// What a training file and the trainer that reads it have to agree on, beside the config, in the same words.
template <class AnyTrainer>
Metadata training_identity(const AnyTrainer& trainer) {
  const auto& batches = trainer.batches();
  std::string segment = std::to_string(batches.segment());
  if constexpr (requires { batches.segments(); })
    if (batches.segments() == Segments::independent) segment += ", independent";
  return {{"data", data_identity(batches)},
          {"lanes", std::to_string(batches.lanes())},
          {"segment", segment},
          {"shards", std::to_string(trainer.options().shards)},
          {"seed", std::to_string(batches.seed())},
          {"scalar", std::string(dtype_info(dtype_of<typename AnyTrainer::Scalar>()).name)}};
}

/// Throws std::runtime_error that names the first field in which the config of a file is not the expected one.
template <class AnyConfig>
void expect_config(std::string_view stored, const AnyConfig& expected, std::string_view name) {
  const AnyConfig config = read_config<AnyConfig>(stored, name);
  visit_config(
      [&](const char* field, const auto& want, const auto& found) {
        ensure(want == found, "{}: the training belongs to another config: expected {} {}, found {}", name, field,
               field_text(want), field_text(found));
      },
      expected, config);
}

/// Memories of the model, one per shard of the trainer.
template <class Model, class AnyTrainer>
auto read_memories(const TensorFile& file, const Model& model, const AnyTrainer& trainer) {
  std::vector<decltype(model.make_memory(1))> memories;
  for (Index s = 0; s < trainer.options().shards; ++s)
    memories.push_back(read_memory(file, fmt::format("memory.{}.", s), model, trainer.memory(s).lanes()));
  return memories;
}

inline void expect_full_weights(const TensorFile& file) {
  ensure(stored_weights(file) == WeightFormat::full, "{}: expected a training of full weights, found weights of {}",
         file.name(), name_of(stored_weights(file)));
}

}  // namespace detail

/// Writes all that a training needs to go on; extra goes into the file's __metadata__ as for save_model(). Throws as that.
template <class AnyTrainer>
void save_training(const std::filesystem::path& path, const AnyTrainer& trainer, const Metadata& extra = {}) {
  TensorWriter writer;
  writer.metadata = detail::without_own(extra);
  writer.metadata["fbt.training.config"] = write_config(trainer.model().config());
  for (const auto& [key, value] : detail::training_identity(trainer)) writer.metadata["fbt.training." + key] = value;
  add_parameters(writer, "model.", trainer.model());
  trainer.optimizer().visit_moments(
      [&](std::string_view name, const auto& moment) { add_parameters(writer, fmt::format("{}.", name), moment); });
  const auto place = trainer.batches().place();
  writer.add("place", std::vector<std::int64_t>{trainer.optimizer().updates, place.position, place.passes});
  for (Index s = 0; s < trainer.options().shards; ++s) add_memory(writer, fmt::format("memory.{}.", s), trainer.memory(s));
  writer.write(path);
}

/// Whether a file is one that save_training() wrote.
inline bool is_training(const TensorFile& file) { return file.metadata().contains("fbt.training.config"); }

/// The model in a file that save_training() wrote, without the rest of the training, and the file's metadata. Throws
/// std::runtime_error that says what is wrong.
template <class Model>
LoadedModel<Model> load_trained_model(const TensorFile& file) {
  ensure(is_training(file), "{}: expected a training written by fbt, found no fbt.training.config in its __metadata__",
         file.name());
  detail::expect_full_weights(file);
  return detail::load_parameters<Model>(file, file.metadata().at("fbt.training.config"), "model.");
}

/// Brings a trainer, and its model, to where save_training() left them, so that it carries on bit for bit. Returns the
/// file's metadata. Throws std::runtime_error when the file is damaged or belongs to another model, text, scalar, seed, or
/// number of lanes, shards or steps of a segment; trainer and model are then untouched. The other options may have been
/// changed on purpose: they are the trainer's, not the file's.
template <class AnyTrainer>
Metadata load_training(const TensorFile& file, AnyTrainer& trainer) {
  const auto stored = [&](const std::string& key) -> const std::string& {
    const auto found = file.metadata().find("fbt.training." + key);
    ensure(found != file.metadata().end(),
           "{}: expected a training written by fbt, found no fbt.training.{} in its __metadata__", file.name(), key);
    return found->second;
  };
  detail::expect_full_weights(file);
  detail::expect_config(stored("config"), trainer.model().config(), file.name());
  for (const auto& [key, expected] : detail::training_identity(trainer))
    ensure(stored(key) == expected, "{}: the training belongs to another {}: expected {}, found {}", file.name(),
           key == "data" ? "text" : key, expected, stored(key));
  auto model = trainer.model();
  read_parameters(file, "model.", model);
  auto optimizer = trainer.optimizer();
  optimizer.visit_moments(
      [&](std::string_view name, auto& moment) { read_parameters(file, fmt::format("{}.", name), moment); });
  optimizer.check_moments(file.name());

  const TensorView& counters = file.get("place");
  ensure(counters.dtype == Dtype::i64 && counters.size() == 3, "{}: place: expected 3 numbers of dtype I64, found {} of {}",
         file.name(), counters.size(), dtype_info(counters.dtype).name);
  optimizer.updates = counters.at<std::int64_t>(0);
  const auto position = counters.at<std::int64_t>(1), passes = counters.at<std::int64_t>(2);
  constexpr std::int64_t most = std::numeric_limits<Index>::max() / 2;  // so that counting on cannot overflow
  ensure(optimizer.updates >= 0 && optimizer.updates <= most && passes >= 0 && passes <= most && position >= 0 &&
             position <= trainer.batches().length(),
         "{}: place: expected a place in the text, found {}, {}, {}", file.name(), optimizer.updates, position, passes);
  const typename AnyTrainer::Place place{static_cast<Index>(position), static_cast<Index>(passes)};

  auto memories = detail::read_memories(file, model, trainer);

  trainer.model() = std::move(model);
  trainer.optimizer() = std::move(optimizer);
  trainer.batches().set_place(place);
  for (Index s = 0; s < trainer.options().shards; ++s) trainer.memory(s) = std::move(memories[static_cast<std::size_t>(s)]);
  return file.metadata();
}
template <class AnyTrainer>
Metadata load_training(const std::filesystem::path& path, AnyTrainer& trainer) {
  return load_training(TensorFile::read(path), trainer);
}

}  // namespace fbt
