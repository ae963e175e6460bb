// Descriptions of Debian's packages, which are there in several languages, translated by people: pairs of texts are made of
// them. A description is a synopsis of one line, and paragraphs.
#pragma once

#include "translate/pairs.hpp"

#include "fbt/core/names.hpp"
#include "fbt/core/random.hpp"
#include "fbt/io/fingerprint.hpp"
#include "fbt/text/utf8.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace example {

/// What a source and a target are: English and German synopses and paragraphs; or whole descriptions and their synopses.
enum class PairTask { en_de, synopsis };

}  // namespace example

template <>
struct fbt::Names<example::PairTask> {
  static constexpr std::array<std::pair<std::string_view, example::PairTask>, 2> list{
      {{"en_de", example::PairTask::en_de}, {"synopsis", example::PairTask::synopsis}}};
};

namespace example {

struct Description {
  std::string package, md5;  ///< md5: of the English text, also in its translations
  std::string synopsis;
  std::vector<std::string> paragraphs;
};

namespace detail {

/// Calls f(field, value) for every field of every stanza of a control file, and end() after each stanza. The lines of a
/// value are joined by line ends.
template <class F, class End>
void for_each_field(std::string_view text, F&& f, End&& end) {
  std::string_view field;
  std::string value;
  bool open = false;
  const auto finish = [&] {
    if (!field.empty()) f(field, value);
    field = {};
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t line_end = std::min(text.size(), text.find('\n', at));
    std::string_view line = text.substr(at, line_end - at);
    at = line_end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) {
      finish();
      if (open) end();
      open = false;
    } else if (line.front() == ' ' || line.front() == '\t') {
      (value += '\n') += line.substr(1);
    } else if (const std::size_t colon = line.find(':'); colon != line.npos) {
      finish();
      open = true;
      field = line.substr(0, colon);
      value = line.substr(std::min(line.size(), line.find_first_not_of(' ', colon + 1)));
    }
  }
  finish();
  if (open) end();
}

/// Adds a line to a text, with one space between two words.
inline void add_words(std::string& text, std::string_view line) {
  constexpr std::string_view spaces = " \t\r\v\f";
  for (std::size_t at = line.find_first_not_of(spaces); at != line.npos;) {
    const std::size_t end = std::min(line.size(), line.find_first_of(spaces, at));
    if (!text.empty()) text += ' ';
    text += line.substr(at, end - at);
    at = line.find_first_not_of(spaces, end);
  }
}

}  // namespace detail

/// The descriptions in the text of a Translation file. Stanzas without one are left out.
inline std::vector<Description> read_descriptions(std::string_view text) {
  std::vector<Description> descriptions;
  Description next;
  const auto field = [&](std::string_view name, const std::string& value) {
    if (name == "Package") {
      next.package = value;
    } else if (name == "Description-md5") {
      next.md5 = value;
    } else if (name.starts_with("Description-")) {
      const std::size_t first = std::min(value.size(), value.find('\n'));
      detail::add_words(next.synopsis, value.substr(0, first));
      std::string paragraph;
      const auto finish = [&] {
        if (!paragraph.empty()) next.paragraphs.push_back(std::exchange(paragraph, ""));
      };
      for (std::size_t at = first + 1; at < value.size();) {
        const std::size_t end = std::min(value.size(), value.find('\n', at));
        const std::string_view line = std::string_view(value).substr(at, end - at);
        at = end + 1;
        line == "." ? finish() : detail::add_words(paragraph, line);
      }
      finish();
    }
  };
  detail::for_each_field(text, field, [&] {
    if (!next.package.empty() && !next.md5.empty() && !next.synopsis.empty()) descriptions.push_back(next);
    next = {};
  });
  return descriptions;
}

/// Which source package each package is built from, where that has another name: of the text of a Packages file.
using SourcePackages = std::map<std::string, std::string>;
inline void read_source_packages(std::string_view text, SourcePackages& sources) {
  std::string package, source;
  const auto field = [&](std::string_view name, const std::string& value) {
    if (name == "Package") package = value;
    if (name == "Source") source = value.substr(0, value.find(' '));
  };
  detail::for_each_field(text, field, [&] {
    if (!package.empty() && !source.empty()) sources.emplace(package, source);
    package = source = "";
  });
}

/// The parts of a corpus: most of it is to learn from.
inline constexpr std::array<const char*, 3> corpus_parts{"train", "validation", "test"};

/// The part to which all descriptions of a source package belong, since they repeat one another. So do the versions of one
/// thing that are packages of their own, which differ in the digits of their names.
inline std::size_t part_of(std::string_view source_package) {
  fbt::Fingerprint hash;
  for (const char c : source_package)
    if ((c < '0' || c > '9') && c != '.') hash.add(static_cast<std::uint32_t>(static_cast<unsigned char>(c)));
  const std::uint64_t twentieth = fbt::mix_seed(hash.value()) % 20;
  return twentieth < 18 ? 0 : twentieth - 17;
}

/// Pairs of texts, and how many there were before those were left out that repeat one another.
struct Corpus {
  std::array<std::vector<TextPair>, corpus_parts.size()> parts;
  std::size_t descriptions = 0;  ///< in English
  std::size_t translated = 0;    ///< of those, into German; and whose paragraphs pair up one to one
  std::size_t aligned = 0;
  std::size_t repeated = 0;  ///< pairs whose source came before
};

/// The pairs of a task, in an order by chance. A source comes once. german: for en_de.
inline Corpus make_corpus(PairTask task, const std::vector<Description>& english, const std::vector<Description>& german,
                          const SourcePackages& sources) {
  std::unordered_map<std::string_view, const Description*> translations;
  for (const Description& description : german) translations.emplace(description.md5, &description);
  Corpus corpus;
  std::set<std::string_view> read;  // md5: several packages may have one description, and several files one package
  std::set<std::string, std::less<>> seen;
  for (const Description& description : english) {
    if (!read.insert(description.md5).second) continue;
    ++corpus.descriptions;
    const auto other = sources.find(description.package);
    auto& part = corpus.parts[part_of(other != sources.end() ? other->second : description.package)];
    const auto add = [&](const std::string& source, const std::string& target) {
      const auto is_text = [](const std::string& s) { return !s.empty() && fbt::is_utf8(s) && s.find('\0') == s.npos; };
      if (!is_text(source) || !is_text(target)) return;
      if (seen.insert(source).second) {
        part.push_back({source, target});
      } else {
        ++corpus.repeated;
      }
    };
    if (task == PairTask::synopsis) {
      std::string whole;
      for (const std::string& paragraph : description.paragraphs) detail::add_words(whole, paragraph);
      add(whole, description.synopsis);
      continue;
    }
    const auto found = translations.find(description.md5);
    if (found == translations.end()) continue;
    ++corpus.translated;
    const Description& translation = *found->second;
    add(description.synopsis, translation.synopsis);
    if (description.paragraphs.size() != translation.paragraphs.size()) continue;
    ++corpus.aligned;
    for (std::size_t i = 0; i < description.paragraphs.size(); ++i)
      add(description.paragraphs[i], translation.paragraphs[i]);
  }
  fbt::Random random(1);
  for (auto& part : corpus.parts)
    for (std::size_t i = part.size(); i > 1; --i)
      std::swap(part[i - 1], part[static_cast<std::size_t>(random.below(static_cast<fbt::Index>(i)))]);
  return corpus;
}

}  // namespace example
