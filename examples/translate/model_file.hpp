// A translator: an EncoderDecoder, the vocabulary that it reads and writes, and what its pairs are, in one file. A training
// file holds one, too: the newest.
#pragma once

#include "support/path_flag.hpp"
#include "translate/descriptions.hpp"

#include "fbt/io/model_file.hpp"
#include "fbt/io/training_file.hpp"
#include "fbt/models/encoder_decoder.hpp"
#include "fbt/text/vocabulary.hpp"

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

namespace example {

using PairModel = fbt::EncoderDecoder<float>;

/// The token that a target begins with, and that ends it; the others are those of the vocabulary.
inline fbt::Token boundary_of(const fbt::Vocabulary& vocabulary) { return static_cast<fbt::Token>(vocabulary.size()); }

struct Translator {
  PairModel model;
  fbt::Vocabulary vocabulary;
  PairTask task;
  fbt::Index source_limit;  ///< the most tokens of a source in its training

  fbt::Token boundary() const { return boundary_of(vocabulary); }
};

/// What a model file keeps beside the model.
inline fbt::Metadata translator_metadata(const fbt::Vocabulary& vocabulary, PairTask task, fbt::Index source_limit) {
  fbt::Metadata metadata = vocabulary.metadata();
  metadata["translate.task"] = std::string(fbt::name_of(task));
  metadata["translate.source_limit"] = std::to_string(source_limit);
  return metadata;
}

inline void add_model_flag(CLI::App& command, std::string& path) {
  add_path_flag(command, "model", path, "file that train wrote, or its folder: the best model")->required();
}

/// The translator in a model file, a training file or a folder of train. Throws std::runtime_error that says what is wrong
/// with it.
inline Translator load_translator(std::filesystem::path path) {
  std::error_code none;
  if (std::filesystem::is_directory(path, none)) path /= "model.safetensors";
  const fbt::TensorFile file = fbt::TensorFile::read(path);
  const std::string name = path.string();
  const auto entry = [&](const char* key) -> const std::string& {
    const auto found = file.metadata().find(key);
    fbt::ensure(found != file.metadata().end(),
                "{}: expected a model of translate, found one of another program: no {} in its __metadata__", name, key);
    return found->second;
  };
  const auto task = fbt::from_name<PairTask>(entry("translate.task"), name + ": translate.task");
  const auto source_limit = read_number<fbt::Index>(entry("translate.source_limit"), name + ": translate.source_limit");
  auto [model, metadata] =
      fbt::is_training(file) ? fbt::load_trained_model<PairModel>(file) : fbt::load_model<PairModel>(file);
  fbt::Vocabulary vocabulary = fbt::Vocabulary::read(metadata, name);
  const auto& config = model.config();
  fbt::ensure(vocabulary.size() + 1 == config.decoder.vocabulary && config.source_tokens() == config.decoder.vocabulary,
              "{}: expected a vocabulary of {} tokens, found {}", name, config.decoder.vocabulary - 1, vocabulary.size());
  return {std::move(model), std::move(vocabulary), task, source_limit};
}

}  // namespace example
