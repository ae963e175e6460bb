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
  auto [model, metadata] = fbt::load_model<Model>(path);
  const bool has_vocabulary = metadata.contains("vocabulary") || metadata.contains("vocabulary.kind");
  fbt::Vocabulary vocabulary =
      has_vocabulary ? fbt::Vocabulary::read(metadata, path.string()) : fbt::Vocabulary::numbers(model.config().vocabulary);
  fbt::ensure(vocabulary.size() == model.config().vocabulary, "{}: expected a vocabulary of {} tokens, found {}",
              path.string(), model.config().vocabulary, vocabulary.size());
  return {std::move(model), std::move(vocabulary)};
}

}  // namespace example
