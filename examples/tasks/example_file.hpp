// Examples in two text files, as the paper's generator of programs writes them: FILE has a line for each, the words of its
// tokens; FILE.labels has as many lines of as many words, `_` where nothing is scored.
#pragma once

#include "support/text_file.hpp"
#include "tasks/example.hpp"

#include "fbt/core/check.hpp"
#include "fbt/io/atomic_file.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace example {

inline std::filesystem::path labels_path(const std::filesystem::path& path) { return path.string() + ".labels"; }

/// Throws std::runtime_error that names the file and the line when something is not as above, for a word that is none of the
/// given ones, and when nothing is scored at all.
inline std::vector<Example> read_examples(const std::filesystem::path& path, const Words& words) {
  std::map<std::string, fbt::Token, std::less<>> tokens;
  for (const std::string& word : words) tokens.emplace(word, static_cast<fbt::Token>(tokens.size()));
  std::istringstream all(read_text_file(path)), all_labels(read_text_file(labels_path(path)));
  const auto token_of = [&](const std::string& word, const std::filesystem::path& file, std::size_t line,
                            const char* wanted) {
    const auto found = tokens.find(word);
    fbt::ensure(found != tokens.end(), "{}: line {}: expected {}, found '{}'", file.string(), line, wanted, word);
    return found->second;
  };
  std::vector<Example> examples;
  bool any_label = false;
  for (std::string text, labels; std::getline(all, text);) {
    const std::size_t line = examples.size() + 1;
    fbt::ensure(static_cast<bool>(std::getline(all_labels, labels)), "{}: expected a line for each of {}, found only {}",
                labels_path(path).string(), path.string(), line - 1);
    std::istringstream read(text), read_labels(labels);
    Example& example = examples.emplace_back();
    for (std::string word, label; read >> word;) {
      fbt::ensure(static_cast<bool>(read_labels >> label), "{}: line {}: expected as many words as in {}, found only {}",
                  labels_path(path).string(), line, path.string(), example.tokens.size());
      example.add(token_of(word, path, line, "a word of the task"),
                  label == "_" ? unscored : token_of(label, labels_path(path), line, "a word of the task or _"));
      any_label = any_label || example.labels.back() != unscored;
    }
    std::string more;
    fbt::ensure(!(read_labels >> more), "{}: line {}: expected as many words as in {}, found more than {}",
                labels_path(path).string(), line, path.string(), example.tokens.size());
    fbt::ensure(!example.tokens.empty(), "{}: line {}: expected an example, found an empty line", path.string(), line);
  }
  std::string more;
  fbt::ensure(!std::getline(all_labels, more), "{}: expected a line for each of {}, found more than {}",
              labels_path(path).string(), path.string(), examples.size());
  fbt::ensure(any_label, "{}: expected words to be answered, found only _", labels_path(path).string());
  return examples;
}

/// Throws std::runtime_error when a file cannot be written.
inline void write_examples(const std::filesystem::path& path, const std::vector<Example>& examples, const Words& words) {
  std::string text, labels;
  for (const Example& example : examples)
    for (std::size_t t = 0; t < example.tokens.size(); ++t) {
      const char* const after = t + 1 < example.tokens.size() ? " " : "\n";
      const fbt::Token label = example.labels[t];
      text += words[static_cast<std::size_t>(example.tokens[t])] + after;
      labels += (label == unscored ? "_" : words[static_cast<std::size_t>(label)]) + after;
    }
  fbt::write_atomically(labels_path(path), {labels});
  fbt::write_atomically(path, {text});
}

}  // namespace example
