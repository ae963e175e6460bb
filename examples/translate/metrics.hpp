// Measures of a translation or a summary beside what a person wrote, by their standard definitions:
//   BLEU    of a corpus (Papineni et al., 2002), as sacreBLEU counts it: nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp
//   chrF2   of a corpus (Popovic, 2015), as sacreBLEU counts it: nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no
//   ROUGE   -1, -2, -L (Lin, 2004): F1 of each pair, averaged, over lower-case words of letters and digits
#pragma once

#include "fbt/core/check.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace example {

using Words = std::vector<std::string>;

namespace detail {

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Splits where there is white space, of any script.
inline Words split_words(std::string_view text) {
  const auto space_at = [&](std::size_t i) -> std::size_t {  // its bytes, or 0
    const auto byte = [&](std::size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
    if ((byte(0) >= 0x09 && byte(0) <= 0x0d) || (byte(0) >= 0x1c && byte(0) <= 0x20)) return 1;
    if (byte(0) == 0xc2 && (byte(1) == 0x85 || byte(1) == 0xa0)) return 2;
    if (byte(0) == 0xe1 && byte(1) == 0x9a && byte(2) == 0x80) return 3;
    if (byte(0) == 0xe2 && byte(1) == 0x80 &&
        ((byte(2) >= 0x80 && byte(2) <= 0x8a) || byte(2) == 0xa8 || byte(2) == 0xa9 || byte(2) == 0xaf))
      return 3;
    if (byte(0) == 0xe2 && byte(1) == 0x81 && byte(2) == 0x9f) return 3;
    return byte(0) == 0xe3 && byte(1) == 0x80 && byte(2) == 0x80 ? 3 : 0;
  };
  Words words;
  std::string word;
  for (std::size_t i = 0; i < text.size();) {
    if (const std::size_t size = space_at(i); size > 0) {
      if (!word.empty()) words.push_back(std::move(word));
      word.clear();
      i += size;
    } else {
      word += text[i++];
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string result;
  std::string_view rest = text;
  for (std::size_t at = 0; (at = rest.find(from)) != rest.npos; rest.remove_prefix(at + from.size()))
    (result += rest.substr(0, at)) += to;
  text = result += rest;
}

/// The words of mteval-v13a: signs stand apart, but for points and commas between digits, and hyphens that follow none.
inline Words words_13a(std::string text) {
  replace_all(text, "<skipped>", "");
  replace_all(text, "-\n", "");
  replace_all(text, "\n", " ");
  replace_all(text, "&quot;", "\"");
  replace_all(text, "&amp;", "&");
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");
  std::string apart = " ";
  for (const char c : text + " ") {
    const auto within = [c](char first, char last) { return c >= first && c <= last; };
    const bool sign =
        within('{', '~') || within('[', '`') || within(' ', '&') || within('(', '+') || within(':', '@') || c == '/';
    sign ? (apart += ' ', apart += c, apart += ' ') : (apart += c);
  }
  // Each rule reads two characters, of which the second is not read again: what follows a match begins after it.
  const auto pairs = [](const std::string& from, auto&& matches, std::string_view before, std::string_view between,
                        std::string_view after) {
    std::string to;
    std::size_t i = 0;
    while (i < from.size()) {
      if (i + 1 < from.size() && matches(from[i], from[i + 1])) {
        to += before;
        to += from[i];
        to += between;
        to += from[i + 1];
        to += after;
        i += 2;
      } else {
        to += from[i++];
      }
    }
    return to;
  };
  const auto point = [](char c) { return c == '.' || c == ','; };
  apart = pairs(
      apart, [&](char a, char b) { return !is_digit(a) && point(b); }, "", " ", " ");
  apart = pairs(
      apart, [&](char a, char b) { return point(a) && !is_digit(b); }, " ", " ", "");
  apart = pairs(
      apart, [&](char a, char b) { return is_digit(a) && b == '-'; }, "", " ", " ");
  return split_words(apart);
}

/// The characters of UTF-8 text without white space.
inline Words characters(std::string_view text) {
  Words all;
  for (const std::string& word : split_words(text)) {
    for (const char c : word) {
      if ((static_cast<unsigned char>(c) & 0xc0) == 0x80 && !all.empty()) {
        all.back() += c;
      } else {
        all.emplace_back(1, c);
      }
    }
  }
  return all;
}

/// Lower-case words of ASCII letters and digits.
inline Words plain_words(std::string_view text) {
  Words words(1);
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || is_digit(c)) {
      words.back() += c;
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

/// How often each run of n words occurs.
inline std::map<Words, std::int64_t> ngrams(const Words& words, std::size_t n) {
  std::map<Words, std::int64_t> counts;
  for (std::size_t i = 0; i + n <= words.size(); ++i)
    ++counts[Words(words.begin() + static_cast<std::ptrdiff_t>(i), words.begin() + static_cast<std::ptrdiff_t>(i + n))];
  return counts;
}

struct Overlap {
  double found = 0, wanted = 0, common = 0;
};
/// Of the runs of n words, each counted at most as often as it is in both.
inline Overlap overlap(const Words& found, const Words& wanted, std::size_t n) {
  const auto a = ngrams(found, n), b = ngrams(wanted, n);
  Overlap result;
  for (const auto& [run, count] : a) {
    result.found += static_cast<double>(count);
    if (const auto other = b.find(run); other != b.end())
      result.common += static_cast<double>(std::min(count, other->second));
  }
  for (const auto& [run, count] : b) result.wanted += static_cast<double>(count);
  return result;
}

inline std::size_t longest_common_subsequence(const Words& a, const Words& b) {
  std::vector<std::size_t> row(b.size() + 1, 0);
  for (const std::string& word : a) {
    std::size_t diagonal = 0;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = word == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  return row.back();
}

inline double f1(double common, double found, double wanted) { return common > 0 ? 2 * common / (found + wanted) : 0; }

}  // namespace detail

using Texts = std::span<const std::string>;

/// How sacreBLEU names what bleu() counts.
inline constexpr const char* bleu_signature = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp";

/// From 0 to 100. Throws std::invalid_argument unless there is a reference for every text.
inline double bleu(Texts texts, Texts references) {
  fbt::check(texts.size() == references.size(), "BLEU: expected as many references as texts, found {} for {}",
             references.size(), texts.size());
  std::array<detail::Overlap, 4> sums;
  double length = 0, reference_length = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Words text = detail::words_13a(texts[i]), reference = detail::words_13a(references[i]);
    length += static_cast<double>(text.size());
    reference_length += static_cast<double>(reference.size());
    for (std::size_t n = 1; n <= 4; ++n) {
      const detail::Overlap o = detail::overlap(text, reference, n);
      sums[n - 1].common += o.common;
      sums[n - 1].found += o.found;
    }
  }
  double logarithms = 0, smooth = 1;
  if (sums[0].common == 0) return 0;  // and so of all orders
  for (const detail::Overlap& sum : sums) {
    if (sum.found == 0) return 0;
    if (sum.common == 0) smooth *= 2;
    logarithms += std::log(sum.common > 0 ? sum.common / sum.found : 1 / (smooth * sum.found));
  }
  const double brevity = length < reference_length ? std::exp(1 - reference_length / length) : 1;
  return 100 * brevity * std::exp(logarithms / 4);
}

/// From 0 to 100. Throws as bleu().
inline double chrf(Texts texts, Texts references) {
  fbt::check(texts.size() == references.size(), "chrF: expected as many references as texts, found {} for {}",
             references.size(), texts.size());
  std::array<detail::Overlap, 6> sums;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Words text = detail::characters(texts[i]), reference = detail::characters(references[i]);
    for (std::size_t n = 1; n <= 6; ++n) {
      const detail::Overlap o = detail::overlap(text, reference, n);
      sums[n - 1].common += o.common;
      if (o.wanted > 0) sums[n - 1].found += o.found;  // of a reference too short for this order the text's are not counted
      sums[n - 1].wanted += o.wanted;
    }
  }
  double precision = 0, recall = 0, orders = 0;
  for (const detail::Overlap& sum : sums) {
    if (sum.found == 0 || sum.wanted == 0) continue;
    precision += sum.common / sum.found;
    recall += sum.common / sum.wanted;
    ++orders;
  }
  if (precision + recall == 0) return 0;
  precision /= orders;
  recall /= orders;
  constexpr double weight = 4;  // beta = 2: recall counts twice as much
  return 100 * (1 + weight) * precision * recall / (weight * precision + recall);
}

/// From 0 to 100.
struct Rouge {
  double one = 0, two = 0, longest = 0;
};
/// Throws as bleu().
inline Rouge rouge(Texts texts, Texts references) {
  fbt::check(texts.size() == references.size(), "ROUGE: expected as many references as texts, found {} for {}",
             references.size(), texts.size());
  Rouge sum;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Words text = detail::plain_words(texts[i]), reference = detail::plain_words(references[i]);
    const auto runs = [&](std::size_t n) {
      const detail::Overlap o = detail::overlap(text, reference, n);
      return detail::f1(o.common, o.found, o.wanted);
    };
    sum.one += runs(1);
    sum.two += runs(2);
    sum.longest += detail::f1(static_cast<double>(detail::longest_common_subsequence(text, reference)),
                              static_cast<double>(text.size()), static_cast<double>(reference.size()));
  }
  const double percent = texts.empty() ? 0 : 100 / static_cast<double>(texts.size());
  return {percent * sum.one, percent * sum.two, percent * sum.longest};
}

}  // namespace example
