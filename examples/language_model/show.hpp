// `show`: what a model looks at while it reads a text, as a picture or a page.
#pragma once

#include "language_model/model_file.hpp"
#include "support/attention_map.hpp"
#include "support/attention_page.hpp"
#include "support/path_flag.hpp"
#include "support/text_file.hpp"

#include "fbt/io/safetensors.hpp"

#include <string>
#include <vector>

namespace example {

struct ShowFlags {
  std::string model, text, text_file, out = "attention.svg";
  Shown shown;
};

inline void add_show_flags(CLI::App& command, ShowFlags& flags) {
  add_model_flags(command, flags.model);
  auto* const text = add_flag(command, "text", flags.text, "text to read, at most 200 tokens");
  add_path_flag(command, "text-file", flags.text_file, "file with the text to read; -: the standard input")->excludes(text);
  add_flag(command, "layer", flags.shown.layer, "show only this layer, counted from 1; 0: all");
  add_flag(command, "head", flags.shown.head, "show only this head, counted from 1; 0: all");
  add_path_flag(command, "out", flags.out,
                "picture to write, or with a name that ends with .html a page: pointing at a token shows what it looked at");
}

inline void show(const ShowFlags& flags) {
  const TextModel text_model = load_text_model(flags.model);
  const fbt::Vocabulary& vocabulary = text_model.vocabulary;
  const bool from_file = !flags.text_file.empty();
  const std::vector<fbt::Token> tokens = encode_text(vocabulary, from_file ? read_text_file(flags.text_file) : flags.text,
                                                     from_file ? flags.text_file : "the text");
  fbt::check(!tokens.empty(), "expected a text: give --text or --text-file");
  std::vector<std::string> names;
  for (const fbt::Token token : tokens) names.push_back(vocabulary.label(token));
  const AttentionMap map(text_model.model, tokens, names, flags.shown);
  fbt::write_atomically(flags.out, {attention_file(map, flags.out)});
  const auto count = [](fbt::Index chosen, fbt::Index all, const char* name) {
    return chosen > 0 ? fmt::format("{} {}", name, chosen) : fmt::format("{} {}s", all, name);
  };
  const fbt::Config& config = text_model.model.config();
  fmt::print("the attention of {} and {} over {} tokens is in {}\n", count(flags.shown.layer, config.layers, "layer"),
             count(flags.shown.head, config.heads, "head"), tokens.size(), flags.out);
}

}  // namespace example
