// A model of text: a FeedbackTransformer and the vocabulary it reads and writes, in one file. A file without a vocabulary,
// such as an imported checkpoint, is a model of the numbers of its tokens. A training file holds a model, too: the newest.
#pragma once

#include "support/path_flag.hpp"

#include "fbt/io/model_file.hpp"
#include "fbt/io/training_file.hpp"
#include "fbt/models/sequence_model.hpp"
#include "fbt/text/vocabulary.hpp"

#include <CLI/CLI.hpp>

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

namespace example {

using Model = fbt::FeedbackTransformer<float>;

struct TextModel {
  Model model;
  fbt::Vocabulary vocabulary;
};

/// Adds the flags --model and --last, of which one has to be given.
inline void add_model_flags(CLI::App& command, std::string& path) {
  auto* const model = add_path_flag(command, "model", path,
                                    "file that train or import_checkpoint wrote, or a folder of train: its best model");
  const auto read = [&path](const std::string& folder) {
    fbt::check(!folder.empty(), "--last: expected a path, found an empty one");
    path = (std::filesystem::path(folder) / "training.safetensors").string();
  };
  command.add_option_function<std::string>("--last", read, "folder of train: its newest model instead of the best")
      ->excludes(model);
}

/// The model in a model file, a training file or a folder of train. Throws std::runtime_error that says what is wrong with
/// it.
inline TextModel load_text_model(std::filesystem::path path) {
  fbt::check(!path.empty(), "expected a model: give --model or --last");
  std::error_code none;
  if (std::filesystem::is_directory(path, none)) path /= "model.safetensors";
  const fbt::TensorFile file = fbt::TensorFile::read(path);
  fbt::ensure(!file.metadata().contains("fbt.session.model"),
              "{}: expected a model, found what generate --save-state wrote; give it as --load-state beside its --model",
              path.string());
  fbt::ensure(!file.metadata().contains("translate.task"), "{}: expected a language model, found one of translate",
              path.string());
  auto [model, metadata] = fbt::is_training(file) ? fbt::load_trained_model<Model>(file) : fbt::load_model<Model>(file);
  const bool has_vocabulary = metadata.contains("vocabulary") || metadata.contains("vocabulary.kind");
  fbt::Vocabulary vocabulary =
      has_vocabulary ? fbt::Vocabulary::read(metadata, path.string()) : fbt::Vocabulary::numbers(model.config().vocabulary);
  fbt::ensure(vocabulary.size() == model.config().vocabulary, "{}: expected a vocabulary of {} tokens, found {}",
              path.string(), model.config().vocabulary, vocabulary.size());
  return {std::move(model), std::move(vocabulary)};
}

}  // namespace example
