// Pairs of texts: a source and its target, in files a pair a line, with a tab between the two.
#pragma once

#include "support/text_file.hpp"

#include "fbt/core/check.hpp"
#include "fbt/text/utf8.hpp"

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace example {

struct TextPair {
  std::string source, target;

  bool operator==(const TextPair&) const = default;
};

/// The pairs of a file. Throws std::runtime_error when it cannot be read or has none, and names the first line that is no
/// pair.
inline std::vector<TextPair> read_pairs(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  std::vector<TextPair> pairs;
  for (std::size_t at = 0, number = 1; at < text.size(); ++number) {
    const std::size_t end = std::min(text.size(), text.find('\n', at));
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto tabs = std::count(line.begin(), line.end(), '\t');
    fbt::ensure(tabs == 1, "{}:{}: expected a source, a tab and a target, found {} tabs", path.string(), number, tabs);
    const std::size_t tab = line.find('\t');
    const TextPair pair{std::string(line.substr(0, tab)), std::string(line.substr(tab + 1))};
    fbt::ensure(!pair.source.empty() && !pair.target.empty(), "{}:{}: expected a source, a tab and a target, found no {}",
                path.string(), number, pair.source.empty() ? "source" : "target");
    fbt::ensure(fbt::is_utf8(line), "{}:{}: expected text in UTF-8, found other bytes", path.string(), number);
    pairs.push_back(pair);
  }
  return pairs;
}

/// What read_pairs() reads. Neither tabs nor line ends may be in the texts.
inline std::string write_pairs(const std::vector<TextPair>& pairs) {
  std::string text;
  for (const TextPair& pair : pairs) text += pair.source + '\t' + pair.target + '\n';
  return text;
}

}  // namespace example
