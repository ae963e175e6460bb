// `show`: what a model looks at while it reads a text, as a picture.
#pragma once

#include "language_model/model_file.hpp"
#include "support/attention_map.hpp"
#include "support/flags.hpp"
#include "support/path_flag.hpp"
#include "support/text_file.hpp"

#include "fbt/io/safetensors.hpp"

#include <string>
#include <vector>

namespace example {

struct ShowFlags {
  std::string model, text, text_file, out = "attention.svg";
};

inline void add_show_flags(CLI::App& command, ShowFlags& flags) {
  add_flag(command, "model", flags.model, "model file that train or import_checkpoint wrote")->required();
  auto* const text = add_flag(command, "text", flags.text, "text to read, at most 200 tokens");
  add_flag(command, "text-file", flags.text_file, "file with the text to read")->excludes(text);
  add_path_flag(command, "out", flags.out, "picture to write");
}

inline void show(const ShowFlags& flags) {
  const auto [model, vocabulary] = load_text_model(flags.model);
  const bool from_file = !flags.text_file.empty();
  const std::vector<fbt::Token> tokens =
      vocabulary.encode(from_file ? read_text_file(flags.text_file) : flags.text, from_file ? flags.text_file : "the text");
  fbt::check(!tokens.empty(), "expected a text: give --text or --text-file");
  std::vector<std::string> names;
  for (const fbt::Token token : tokens) names.push_back(vocabulary.label(token));
  const AttentionMap map(model, tokens, names);
  fbt::write_atomically(flags.out, {map.svg()});
  fmt::print("the attention of {} layers and {} heads over {} tokens is in {}\n", model.config().layers,
             model.config().heads, tokens.size(), flags.out);
}

}  // namespace example
