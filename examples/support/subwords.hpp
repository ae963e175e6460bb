// Subwords: learns a vocabulary of pieces of text by byte-pair encoding, with libsentencepiece. Only this needs it: what was
// learned is a Vocabulary, which encodes and decodes by itself.
#pragma once

#include "support/text_file.hpp"

#include "fbt/core/check.hpp"
#include "fbt/text/byte_pairs.hpp"
#include "fbt/text/utf8.hpp"
#include "fbt/text/vocabulary.hpp"

#ifdef FBT_SENTENCEPIECE
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#endif

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace example {

namespace detail {

/// What libsentencepiece writes for a space.
constexpr std::string_view space_sign = "\u2581";

/// How often something occurs, in the order of its bytes, so that nothing depends on a hash.
using Counts = std::map<std::string, std::int64_t, std::less<>>;

inline void count(std::string_view text, Counts& counts) {
  if (const auto found = counts.find(text); found != counts.end()) {
    ++found->second;
  } else {
    counts.emplace(text, 1);
  }
}

/// The characters beyond ASCII that become pieces: the most frequent ones, as many as make up 99.95% of the text and at most
/// the given number. The others are written as their bytes.
inline std::set<std::string, std::less<>> choose_characters(const std::vector<NamedText>& texts, std::size_t most) {
  Counts counts;
  double all = 0;
  for (const NamedText& text : texts) {
    expect_characters(text.text, text.name);
    for (std::string_view rest = text.text; !rest.empty(); ++all) {
      const std::size_t size = fbt::read_utf8(rest).size;
      if (size > 1) count(rest.substr(0, size), counts);
      rest.remove_prefix(size);
    }
  }
  counts.erase(std::string(space_sign));
  std::vector<std::pair<std::string, std::int64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  double left = 0;
  for (const auto& [character, count] : sorted) left += static_cast<double>(count);
  std::set<std::string, std::less<>> chosen;
  for (const auto& [character, count] : sorted) {
    if (chosen.size() == most || left <= 0.0005 * all) break;
    chosen.insert(character);
    left -= static_cast<double>(count);
  }
  return chosen;
}

/// The words of the texts, cut at the characters that are not to be learned and where they are very long.
inline Counts count_words(const std::vector<NamedText>& texts, const std::set<std::string, std::less<>>& characters) {
  constexpr std::size_t longest = 1000;
  Counts counts;
  const auto add = [&](std::string_view part) {
    if (!part.empty()) count(part, counts);
  };
  for (const NamedText& text : texts) {
    fbt::for_each_word(text.text, [&](std::string_view word) {
      std::size_t begin = 0;
      for (std::size_t at = 0; at < word.size();) {
        const std::size_t size = fbt::read_utf8(word.substr(at)).size;
        const std::string_view character = word.substr(at, size);
        const bool learned = size == 1 ? character[0] >= ' ' && character[0] < 0x7f : characters.contains(character);
        if (!learned || at - begin >= longest) {
          add(word.substr(begin, at - begin));
          begin = learned ? at : at + size;
        }
        at += size;
      }
      add(word.substr(begin));
    });
  }
  return counts;
}

#ifdef FBT_SENTENCEPIECE

inline std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (std::size_t at = 0; (at = text.find(from)) != text.npos; text.remove_prefix(at + from.size()))
    (result += text.substr(0, at)) += to;
  return result += text;
}

/// Words and how often each occurs, as lines "word<tab>count".
class WordLines : public sentencepiece::SentenceIterator {
 public:
  explicit WordLines(const Counts& counts) : at_(counts.begin()), end_(counts.end()) { write(); }
  bool done() const override { return at_ == end_; }
  void Next() override {
    ++at_;
    write();
  }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void write() {
    if (!done()) line_ = fmt::format("{}\t{}", at_->first, at_->second);
  }
  Counts::const_iterator at_, end_;
  std::string line_;
};

/// The pieces that come of joining two others in the words, in the order in which they are joined: at most so many.
inline std::vector<std::string> learn_pieces(const Counts& words, std::size_t joined) {
  std::set<std::string_view> characters;
  for (const auto& [word, count] : words)
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t size = fbt::read_utf8(std::string_view(word).substr(at)).size;
      characters.insert(std::string_view(word).substr(at, size));
      at += size;
    }
  WordLines lines(words);
  std::string stored;
  const auto trained = sentencepiece::SentencePieceTrainer::Train(
      {{"model_type", "bpe"},
       {"vocab_size", std::to_string(1 + characters.size() + joined)},  // 1: what stands for the unknown
       {"hard_vocab_limit", "false"},
       {"character_coverage", "1"},
       {"input_format", "tsv"},
       {"normalization_rule_name", "identity"},
       {"add_dummy_prefix", "false"},
       {"remove_extra_whitespaces", "false"},
       {"allow_whitespace_only_pieces", "true"},
       {"max_sentence_length", "1000000"},
       {"num_threads", "1"},
       {"unk_id", "0"},
       {"unk_piece", "\x01"},  // which no word holds; words with it would be left out
       {"bos_id", "-1"},
       {"eos_id", "-1"},
       {"minloglevel", "2"}},
      &lines, &stored);
  fbt::ensure(trained.ok(), "libsentencepiece cannot learn subwords: {}", trained.ToString());
  sentencepiece::SentencePieceProcessor processor;
  const auto loaded = processor.LoadFromSerializedProto(stored);
  fbt::ensure(loaded.ok(), "libsentencepiece cannot read what it wrote: {}", loaded.ToString());
  std::vector<std::string> pieces;
  for (int id = 1; id < processor.GetPieceSize() && pieces.size() < joined; ++id) {
    const std::string piece = replace_all(processor.IdToPiece(id), space_sign, " ");
    if (fbt::read_utf8(piece).size < piece.size()) pieces.push_back(piece);
  }
  return pieces;
}

#else

inline std::vector<std::string> learn_pieces(const Counts&, std::size_t) {
  fbt::ensure(false,
              "subwords are learned by libsentencepiece, which this program was built without: install it (Debian: "
              "libsentencepiece-dev) and build again");
  return {};
}

#endif

}  // namespace detail

/// A vocabulary of so many subwords, learned from texts: the 256 bytes, what joins others, and characters. The same texts
/// give the same one. Throws std::runtime_error when a text is not UTF-8 or has not so many subwords, and when
/// libsentencepiece is missing; what names the flag that asked, for messages.
inline fbt::Vocabulary learn_subwords(const std::vector<NamedText>& texts, fbt::Index count, std::string_view what) {
  constexpr std::size_t bytes = 256;
  fbt::check(count > static_cast<fbt::Index>(bytes), "{}: expected more subwords than the {} bytes, found {}", what, bytes,
             count);
  const std::size_t others = static_cast<std::size_t>(count) - bytes;
  const auto characters = detail::choose_characters(texts, others / 2);
  const detail::Counts words = detail::count_words(texts, characters);
  std::vector<std::string> pieces = detail::learn_pieces(words, others - characters.size());
  pieces.insert(pieces.end(), characters.begin(), characters.end());
  fbt::ensure(pieces.size() == others,
              "{}: the text has only {} subwords, the bytes included: expected at most as many, found {}", what,
              bytes + pieces.size(), count);
  return fbt::Vocabulary::subwords(pieces, what);
}

}  // namespace example
