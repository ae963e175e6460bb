// `write`: the targets of texts that are given, or of the lines of the standard input as they come.
#pragma once

#include "support/run.hpp"
#include "support/text_file.hpp"
#include "translate/evaluate.hpp"
#include "translate/model_file.hpp"

#include "fbt/generation/beam_search.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

namespace example {

struct WriteFlags {
  std::string model;
  std::vector<std::string> texts;
  WritingFlags writing;
};

inline void add_write_flags(CLI::App& command, WriteFlags& flags) {
  add_model_flag(command, flags.model);
  add_flag(command, "text", flags.texts,
           "a source, also several times; without it every line of the standard input is one, as soon as it is there");
  add_writing_flags(command, flags.writing);
}

namespace detail {

/// The tokens of a source that a user gives; none of a text without words. Says on the standard error stream when it is cut.
inline std::vector<fbt::Token> encode_source(const Translator& translator, const std::string& text, const SourceLimit& limit,
                                             const std::string& name) {
  std::string words;
  add_words(words, text);
  std::vector<fbt::Token> tokens = encode_text(translator.vocabulary, words, name);
  const std::size_t all = tokens.size();
  if (cut_source(tokens, limit, name))
    fmt::print(stderr, "warning: {}: cut from {} to {} tokens\n", name, all, limit.tokens);
  return tokens;
}

}  // namespace detail

inline void write(WriteFlags flags, const CLI::App& command) {
  const Translator translator = load_translator(flags.model);
  flags.writing.fit(translator, command);
  const auto write_one = [&](const std::string& text, const std::string& name) {
    const auto source = detail::encode_source(translator, text, flags.writing.source_limit, name);
    std::string target;
    if (!source.empty()) {
      const auto found = fbt::beam_search(translator.model, std::span(&source, 1), flags.writing.search,
                                          flags.writing.search.beams, flags.writing.execution);
      target = translator.vocabulary.decode(found.front().front().tokens);
    }
    print_now("{}\n", target);
  };
  std::size_t number = 0;
  for (const std::string& text : flags.texts) write_one(text, fmt::format("text {}", ++number));
  if (!flags.texts.empty()) return;
  for (std::string line; read_line(line);) write_one(line, fmt::format("line {}", ++number));
}

}  // namespace example
