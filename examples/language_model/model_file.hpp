// A model of text: a FeedbackTransformer and the vocabulary it reads and writes, in one file. A file without a vocabulary,
// such as an imported checkpoint, is a model of the numbers of its tokens.
#pragma once

#include "fbt/io/model_file.hpp"
#include "fbt/models/sequence_model.hpp"
#include "fbt/text/vocabulary.hpp"

#include <filesystem>

namespace example {

using Model = fbt::FeedbackTransformer<float>;

struct TextModel {
  Model model;
  fbt::Vocabulary vocabulary;
};

/// Throws std::runtime_error that says what is wrong with the file.
inline TextModel load_text_model(const std::filesystem::path& path) {
  const fbt::TensorFile file = fbt::TensorFile::read(path);
  fbt::ensure(!file.metadata().contains("fbt.training.config"),
              "{}: expected a model, found a training; give the model.safetensors beside it, or go on with the training by "
              "train --resume",
              path.string());
  fbt::ensure(!file.metadata().contains("fbt.session.model"),
              "{}: expected a model, found what generate --save-state wrote; give it as --load-state beside its --model",
              path.string());
  auto [model, metadata] = fbt::load_model<Model>(file);
  const bool has_vocabulary = metadata.contains("vocabulary") || metadata.contains("vocabulary.kind");
  fbt::Vocabulary vocabulary =
      has_vocabulary ? fbt::Vocabulary::read(metadata, path.string()) : fbt::Vocabulary::numbers(model.config().vocabulary);
  fbt::ensure(vocabulary.size() == model.config().vocabulary, "{}: expected a vocabulary of {} tokens, found {}",
              path.string(), model.config().vocabulary, vocabulary.size());
  return {std::move(model), std::move(vocabulary)};
}

}  // namespace example
