// Training files, as safetensors files: all that is needed to go on bit for bit. Parameters, Adam's moments and counter, the
// place in the data and the carried memories. A training file has parameters of its own, beside those in a model file, so
// that it does not matter which of the two was written last when a program is killed.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/io/model_file.hpp"
#include "fbt/io/safetensors.hpp"
#include "fbt/training/trainer.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fbt {

/// Identifies a text: FNV-1a over its tokens.
inline std::string fingerprint(Tokens tokens) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const Token token : tokens) hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x100000001b3u;
  return fmt::format("{} tokens {:016x}", tokens.size(), hash);
}

namespace detail {

/// What a training file and the trainer that reads it have to agree on, beside the config, in the same words.
template <class Model>
Metadata training_identity(const Trainer<Model>& trainer) {
  const TrainerOptions& o = trainer.options();
  const Batches& batches = trainer.batches();
  return {{"data", fingerprint(batches.data()) +
                       (batches.labels().empty() ? "" : " with the labels " + fingerprint(batches.labels()))},
          {"lanes", std::to_string(o.lanes)},
          {"segment", std::to_string(o.segment) + (batches.segments() == Segments::independent ? ", independent" : "")},
          {"shards", std::to_string(o.shards)},
          {"seed", std::to_string(o.seed)},
          {"scalar", std::string(dtype_info(dtype_of<typename Model::Scalar>()).name)}};
}

/// Throws std::runtime_error that names the first field in which the config of a file is not the expected one.
template <class AnyConfig>
void expect_config(std::string_view stored, const AnyConfig& expected, std::string_view name) {
  const auto text = []<class T>(const T& value) {
    if constexpr (std::is_enum_v<T>) {
      return name_of(value);
    } else {
      return fmt::to_string(value);
    }
  };
  const AnyConfig config = read_config<AnyConfig>(stored, name);
  visit_config(
      [&](const char* field, const auto& want, const auto& found) {
        ensure(want == found, "{}: the training belongs to another config: expected {} {}, found {}", name, field,
               text(want), text(found));
      },
      expected, config);
}

/// The matrices of a memory in a training file (Memory::load).
template <class Scalar>
struct MemorySource {
  const TensorFile& file;
  std::string prefix;

  Index slots(const std::string& name, Index most) const {
    const TensorView& view = file.get(prefix + name);
    ensure(view.shape.size() == 2 && view.shape[0] <= static_cast<std::uint64_t>(most),
           "{}: {}: expected at most {} slots, found shape {}", file.name(), view.name, most, shape_text(view.shape));
    return static_cast<Index>(view.shape[0]);
  }
  Matrix<Scalar> matrix(const std::string& name, Index rows, Index columns) const {
    const TensorView& view = file.get(prefix + name);
    ensure(view.shape == std::vector<std::uint64_t>{static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns)},
           "{}: {}: expected shape ({}, {}), found {}", file.name(), view.name, rows, columns, shape_text(view.shape));
    Matrix<Scalar> m(rows, columns);
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < columns; ++c)
        m(r, c) = static_cast<Scalar>(view.number(static_cast<std::uint64_t>(r * columns + c)));
    return m;
  }
};

/// What the shards remember, as "memory.SHARD.NAME".
template <class Model>
void add_memories(TensorWriter& writer, const Trainer<Model>& trainer) {
  for (Index s = 0; s < trainer.options().shards; ++s)
    trainer.memory(s).save(
        [&](std::string_view name, const auto& matrix) { writer.add(fmt::format("memory.{}.{}", s, name), matrix); });
}

/// Memories of the model, one per shard of the trainer.
template <class Model>
auto read_memories(const TensorFile& file, const Model& model, const Trainer<Model>& trainer) {
  std::vector<decltype(model.make_memory(1))> memories;
  for (Index s = 0; s < trainer.options().shards; ++s)
    memories.emplace_back(model.make_memory(trainer.memory(s).lanes()))
        .load(MemorySource<typename Model::Scalar>{file, fmt::format("memory.{}.", s)});
  return memories;
}

}  // namespace detail

/// Writes all that a training needs to go on; extra goes into the file's __metadata__. Throws as save_model().
template <class Model>
void save_training(const std::filesystem::path& path, const Trainer<Model>& trainer, const Metadata& extra = {}) {
  TensorWriter writer;
  writer.metadata = extra;
  writer.metadata["fbt.training.config"] = write_config(trainer.model().config());
  for (const auto& [key, value] : detail::training_identity(trainer)) writer.metadata["fbt.training." + key] = value;
  add_parameters(writer, "model.", trainer.model());
  add_parameters(writer, "adam.m.", trainer.adam().m);
  add_parameters(writer, "adam.v.", trainer.adam().v);
  const auto place = trainer.batches().place();
  writer.add("place", std::vector<std::int64_t>{trainer.adam().updates, place.position, place.passes});
  detail::add_memories(writer, trainer);
  writer.write(path);
}

/// Brings a trainer, and its model, to where save_training() left them, so that it carries on bit for bit. Returns the
/// file's metadata. Throws std::runtime_error when the file is damaged or belongs to another model, text, scalar, seed, or
/// number of lanes, shards or steps of a segment; trainer and model are then untouched. The other options may have been
/// changed on purpose: they are the trainer's, not the file's.
template <class Model>
Metadata load_training(const TensorFile& file, Trainer<Model>& trainer) {
  const auto stored = [&](const std::string& key) -> const std::string& {
    const auto found = file.metadata().find("fbt.training." + key);
    ensure(found != file.metadata().end(),
           "{}: expected a training written by fbt, found no fbt.training.{} in its __metadata__", file.name(), key);
    return found->second;
  };
  detail::expect_config(stored("config"), trainer.model().config(), file.name());
  for (const auto& [key, expected] : detail::training_identity(trainer))
    ensure(stored(key) == expected, "{}: the training belongs to another {}: expected {}, found {}", file.name(),
           key == "data" ? "text" : key, expected, stored(key));
  Model model = trainer.model();
  read_parameters(file, "model.", model);
  Adam<Model> adam = trainer.adam();
  read_parameters(file, "adam.m.", adam.m);
  read_parameters(file, "adam.v.", adam.v);
  visit(
      [&](std::string_view name, const auto& v) {
        ensure((v.array() >= 0).all(), "{}: adam.v.{}: expected means of squares, found a number below 0", file.name(),
               name);
      },
      adam.v);

  const TensorView& counters = file.get("place");
  ensure(counters.dtype == Dtype::i64 && counters.size() == 3, "{}: place: expected 3 numbers of dtype I64, found {} of {}",
         file.name(), counters.size(), dtype_info(counters.dtype).name);
  adam.updates = counters.at<std::int64_t>(0);
  const Batches::Place place{counters.at<std::int64_t>(1), counters.at<std::int64_t>(2)};
  constexpr std::int64_t most = std::int64_t(1) << 62;  // so that counting on cannot overflow
  ensure(adam.updates >= 0 && adam.updates < most && place.passes >= 0 && place.passes < most && place.position >= 0 &&
             place.position <= trainer.batches().length(),
         "{}: place: expected a place in the text, found {}, {}, {}", file.name(), adam.updates, place.position,
         place.passes);

  auto memories = detail::read_memories(file, model, trainer);

  trainer.model() = std::move(model);
  trainer.adam() = std::move(adam);
  trainer.batches().set_place(place);
  for (Index s = 0; s < trainer.options().shards; ++s) trainer.memory(s) = std::move(memories[static_cast<std::size_t>(s)]);
  return file.metadata();
}
template <class Model>
Metadata load_training(const std::filesystem::path& path, Trainer<Model>& trainer) {
  return load_training(TensorFile::read(path), trainer);
}

}  // namespace fbt
