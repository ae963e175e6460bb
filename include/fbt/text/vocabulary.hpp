// Vocabulary: text to tokens and back. A token is a character (a Unicode code point of a text in UTF-8), a byte, or a
// subword: a byte or a piece of text, to which encode() joins characters. For a model that came without a vocabulary, text is
// the numbers of tokens. A byte order mark, with which a file of UTF-8 may begin, is part of the text only where tokens are
// bytes.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"
#include "fbt/core/types.hpp"
#include "fbt/text/byte_pairs.hpp"
#include "fbt/text/utf8.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace fbt {

enum class TokenKind { character, byte, subword, number };

template <>
struct Names<TokenKind> {  // of vocabularies that files keep
  static constexpr std::array<std::pair<std::string_view, TokenKind>, 3> list{
      {{"character", TokenKind::character}, {"byte", TokenKind::byte}, {"subword", TokenKind::subword}}};
};

class Vocabulary {
 public:
  /// The characters that occur in a text, in the order of their code points, or all 256 bytes. Throws std::runtime_error
  /// when characters are wanted and the text is not UTF-8; name is for messages. subwords() and numbers() make the others.
  Vocabulary(TokenKind kind, std::string_view text, std::string_view name) : kind_(kind) {
    if (kind == TokenKind::byte) {
      for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
    } else {
      std::array<bool, 128> ascii{};
      std::unordered_set<std::string_view> others;
      split(text, beginning(text), name, [&](std::string_view piece) {
        if (piece.size() == 1) {
          ascii[static_cast<unsigned char>(piece[0])] = true;
        } else {
          others.insert(piece);
        }
      });
      for (std::size_t code = 0; code < ascii.size(); ++code)
        if (ascii[code]) add(std::string(1, static_cast<char>(code)));
      // bytes of UTF-8 sort as their code points do
      for (const std::string_view piece : std::set<std::string_view>(others.begin(), others.end())) add(std::string(piece));
    }
  }
  /// The characters of a text in their order. Throws std::runtime_error when one comes twice or the text is not UTF-8.
  static Vocabulary in_order(std::string_view characters, std::string_view name) {
    Vocabulary result(TokenKind::character);
    result.add_in_order(characters, result.beginning(characters), name);
    return result;
  }
  /// All 256 bytes, then pieces of text in the order in which encode() prefers them. Every text can be encoded; a piece is
  /// used when it can be made by joining two others, and so on down to characters (text/byte_pairs.hpp). Throws
  /// std::runtime_error when a piece is not UTF-8, holds a line end, or is there already.
  static Vocabulary subwords(const std::vector<std::string>& pieces, std::string_view name) {
    Vocabulary result(TokenKind::byte, "", name);
    result.kind_ = TokenKind::subword;
    for (const std::string& piece : pieces) {
      ensure(is_utf8(piece) && piece.find('\n') == piece.npos,
             "{}: expected pieces of text in UTF-8 without line ends, found {:?}", name, piece);
      ensure(!piece.empty() && result.add(piece),
             "{}: expected every piece of a vocabulary once, beside the bytes, found {:?}", name, piece);
    }
    return result;
  }
  /// The numbers 0, 1, ..., written with a space before each and read with spaces, line ends or commas between them.
  static Vocabulary numbers(Index size) {
    Vocabulary result(TokenKind::number);
    for (Index i = 0; i < size; ++i) {
      result.add(std::to_string(i));
      result.pieces_.back().insert(0, " ");
    }
    return result;
  }

  TokenKind kind() const { return kind_; }
  Index size() const { return static_cast<Index>(pieces_.size()); }

  /// The bytes of a token.
  const std::string& text(Token token) const { return pieces_.at(static_cast<std::size_t>(token)); }

  /// A token for the margin of a picture: what could not be seen or would break the line has a sign of its own.
  std::string label(Token token) const {
    const std::string& piece = text(token);
    if (kind_ == TokenKind::number) return piece.substr(1);
    std::string label;
    for (std::string_view rest = piece; !rest.empty();) {
      const Utf8 character = read_utf8(rest);
      const auto first = static_cast<unsigned char>(rest[0]);
      if (first == ' ') {
        label += "\u2423";
      } else if (first == '\n') {
        label += "\u21b5";
      } else if (character.status != Utf8::Status::complete || first < 0x20 || first == 0x7f) {
        label += fmt::format("x{:02x}", first);
      } else {
        const std::string_view shown = rest.substr(0, character.size);
        label += is_visible(character.code_point) ? std::string(shown) : describe(shown);
      }
      rest.remove_prefix(character.size);
    }
    return label;
  }

  bool contains(std::string_view piece) const { return find(piece) >= 0; }
  /// The token of a text that is one, or -1.
  Token find(std::string_view piece) const {
    if (piece.size() == 1) return single_[static_cast<unsigned char>(piece[0])];
    const auto found = index_.find(piece);
    return found != index_.end() ? found->second : -1;
  }

  /// Throws std::runtime_error that lists the characters outside the vocabulary, or when the text is not UTF-8 as it should.
  /// unknown_count: where those outside the vocabulary are left out and counted instead.
  std::vector<Token> encode(std::string_view text, std::string_view name, Index* unknown_count = nullptr) const {
    if (kind_ == TokenKind::subword) return encode_subwords(text.substr(beginning(text)));
    std::vector<Token> tokens;
    std::vector<std::string_view> unknown;  // every one once
    std::unordered_set<std::string_view> seen;
    tokens.reserve(text.size());
    split(text, beginning(text), name, [&](std::string_view piece) {
      if (const Token token = find(piece); token >= 0) {
        tokens.push_back(token);
      } else if (unknown_count) {
        ++*unknown_count;
      } else if (seen.insert(piece).second) {
        unknown.push_back(piece);
      }
    });
    constexpr std::size_t most = 10;
    std::vector<std::string> shown;
    for (std::size_t i = 0; i < std::min(unknown.size(), most); ++i) shown.push_back(describe(unknown[i]));
    ensure(unknown.empty(), "{}: expected only {} of the model's vocabulary of {}, found {}{}", name,
           kind_ == TokenKind::number ? "token numbers" : "characters", size(), fmt::join(shown, ", "),
           unknown.size() > most ? fmt::format(" and {} more", unknown.size() - most) : "");
    return tokens;
  }

  /// The text of tokens. Bytes that belong to no character become U+FFFD.
  std::string decode(Tokens tokens) const;

  /// What a model file keeps of a vocabulary, in its metadata.
  std::map<std::string, std::string> metadata() const {
    if (kind_ == TokenKind::number) return {};
    std::string stored;  // characters one after the other, subwords one a line; bytes are always the same
    if (kind_ == TokenKind::character) stored = fmt::to_string(fmt::join(pieces_, ""));
    if (kind_ == TokenKind::subword) stored = fmt::to_string(fmt::join(pieces_.begin() + 256, pieces_.end(), "\n"));
    return {{"vocabulary.kind", std::string(name_of(kind_))}, {"vocabulary", stored}};
  }

  /// The vocabulary in a model file's metadata. Throws when there is none; name is for messages.
  static Vocabulary read(const std::map<std::string, std::string>& metadata, std::string_view name) {
    const auto kind = metadata.find("vocabulary.kind"), stored = metadata.find("vocabulary");
    ensure(kind != metadata.end() && stored != metadata.end(),
           "{}: expected a model of text, found no vocabulary in its __metadata__", name);
    const auto known = from_name<TokenKind>(kind->second, fmt::format("{}: vocabulary", name));
    if (known == TokenKind::byte) return Vocabulary(known, "", name);
    if (known == TokenKind::character) {
      Vocabulary result(known);
      result.add_in_order(stored->second, 0, name);
      return result;
    }
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < stored->second.size(); at += pieces.back().size() + 1)
      pieces.push_back(stored->second.substr(at, stored->second.find('\n', at) - at));
    return subwords(pieces, name);
  }

 private:
  explicit Vocabulary(TokenKind kind) : kind_(kind) {}

  /// False when the piece is there already.
  bool add(std::string piece) {
    const auto token = static_cast<Token>(pieces_.size());
    if (!index_.try_emplace(piece, token).second) return false;
    if (piece.size() == 1) single_[static_cast<unsigned char>(piece[0])] = token;
    pieces_.push_back(std::move(piece));
    return true;
  }

  void add_in_order(std::string_view characters, std::size_t begin, std::string_view name) {
    split(characters, begin, name, [&](std::string_view piece) {
      ensure(add(std::string(piece)), "{}: expected every character of a vocabulary once, found {} again", name,
             describe(piece));
    });
  }

  /// Where a text begins: after a byte order mark, unless tokens are bytes.
  std::size_t beginning(std::string_view text) const {
    constexpr std::string_view mark = "\xef\xbb\xbf";
    return kind_ != TokenKind::byte && text.starts_with(mark) ? mark.size() : 0;
  }

  std::vector<Token> encode_subwords(std::string_view text) const {
    struct Range {
      std::size_t first, end;
    };
    std::vector<Token> tokens;
    std::unordered_map<std::string_view, Range> known;  // where the tokens of a word stand, if it came before
    for_each_word(text, [&](std::string_view word) {
      const auto [place, is_new] = known.try_emplace(word, Range{tokens.size(), 0});
      Range& range = place->second;
      if (is_new) {
        join_pairs(
            word, [&](std::string_view piece) { return find(piece); }, [&](Token token) { tokens.push_back(token); });
        range.end = tokens.size();
      } else {
        for (std::size_t i = range.first; i < range.end; ++i) tokens.push_back(tokens[i]);
      }
    });
    return tokens;
  }

  /// Calls f for every character, byte or number of a text from the given offset on.
  template <class F>
  void split(std::string_view text, std::size_t begin, std::string_view name, F&& f) const {
    constexpr std::string_view between = " \t\r\n,";
    for (std::size_t at = begin; at < text.size();) {
      if (kind_ == TokenKind::number) {
        at = std::min(text.size(), text.find_first_not_of(between, at));
        const std::size_t end = std::min(text.size(), text.find_first_of(between, at));
        if (at < end) f(text.substr(at, end - at));
        at = end;
        continue;
      }
      std::size_t size = 1;
      if (kind_ == TokenKind::character) {
        const Utf8 character = read_utf8(text.substr(at));
        ensure(character.status == Utf8::Status::complete,
               "{}: expected text in UTF-8, found the byte 0x{:02x} of no valid character at offset {}", name,
               static_cast<unsigned char>(text[at]), at);
        size = character.size;
      }
      f(text.substr(at, size));
      at += size;
    }
  }

  std::string describe(std::string_view piece) const {
    if (kind_ == TokenKind::number) return fmt::format("{:?}", piece);
    const auto code_point = static_cast<std::uint32_t>(read_utf8(piece).code_point);
    if (!is_visible(code_point)) return fmt::format("U+{:04X}", code_point);
    return fmt::format("'{}' (U+{:04X})", piece, code_point);
  }

  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  TokenKind kind_;
  std::vector<std::string> pieces_;
  std::unordered_map<std::string, Token, Hash, std::equal_to<>> index_;
  std::array<Token, 256> single_ = [] {  // of a byte, or -1: found many times as fast
    std::array<Token, 256> none;
    none.fill(-1);
    return none;
  }();
};

/// Turns tokens to text as they come, whole characters at a time, whatever a token is. Bytes that belong to no character
/// become U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  /// The characters that this token completes.
  std::string add(Token token) { return add(vocabulary_.text(token)); }
  /// Those that a piece of text completes: a prompt that may end inside a character, which the tokens after it complete.
  std::string add(std::string_view piece) {
    pending_ += piece;
    std::string out;
    std::string_view rest = pending_;
    while (!rest.empty()) {
      const Utf8 character = read_utf8(rest);
      if (character.status == Utf8::Status::incomplete) break;
      out += character.status == Utf8::Status::complete ? rest.substr(0, character.size) : replacement;
      rest.remove_prefix(character.size);
    }
    pending_.erase(0, pending_.size() - rest.size());
    return out;
  }

  /// What stands for a character that the last token left incomplete.
  std::string finish() { return std::exchange(pending_, "").empty() ? "" : replacement; }

 private:
  static constexpr const char* replacement = "\xef\xbf\xbd";
  const Vocabulary& vocabulary_;
  std::string pending_;
};

inline std::string Vocabulary::decode(Tokens tokens) const {
  StreamDecoder decoder(*this);
  std::string result;
  for (const Token token : tokens) result += decoder.add(token);
  return result + decoder.finish();
}

}  // namespace fbt
