// Vocabulary: text to tokens and back. A token is a character (a Unicode code point of a text in UTF-8) or a byte. For a
// model that came without a vocabulary, text is the numbers of tokens.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"
#include "fbt/core/types.hpp"
#include "fbt/text/utf8.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace fbt {

enum class TokenKind { character, byte, number };

template <>
struct Names<TokenKind> {  // of vocabularies that files keep
  static constexpr std::array<std::pair<std::string_view, TokenKind>, 2> list{
      {{"character", TokenKind::character}, {"byte", TokenKind::byte}}};
};

class Vocabulary {
 public:
  /// The characters that occur in a text, in the order of their code points, or all 256 bytes. Throws std::runtime_error
  /// when characters are wanted and the text is not UTF-8; name is for messages.
  Vocabulary(TokenKind kind, std::string_view text, std::string_view name) : kind_(kind) {
    if (kind == TokenKind::byte) {
      for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
    } else {
      std::set<std::string_view> characters;  // bytes of UTF-8 sort as their code points do
      split(text, name, [&](std::string_view piece) { characters.insert(piece); });
      for (const std::string_view piece : characters) add(std::string(piece));
    }
  }
  /// The characters of a text in their order. Throws std::runtime_error when one comes twice or the text is not UTF-8.
  static Vocabulary in_order(std::string_view characters, std::string_view name) {
    Vocabulary result(TokenKind::character);
    result.split(characters, name, [&](std::string_view piece) {
      ensure(result.add(std::string(piece)), "{}: expected every character of a vocabulary once, found {} again", name,
             result.describe(piece));
    });
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
    if (piece == " ") return "\u00b7";
    if (piece == "\n") return "\u21b5";
    const auto first = static_cast<unsigned char>(piece[0]);
    const bool visible = read_utf8(piece).status == Utf8::Status::complete && first > 0x20 && first != 0x7f;
    return visible ? piece : fmt::format("x{:02x}", first);
  }

  bool contains(std::string_view piece) const { return index_.contains(std::string(piece)); }

  /// Throws std::runtime_error that lists the characters outside the vocabulary, or when the text is not UTF-8 as it should.
  std::vector<Token> encode(std::string_view text, std::string_view name) const {
    std::vector<Token> tokens;
    std::vector<std::string_view> unknown;  // every one once
    std::unordered_set<std::string_view> seen;
    tokens.reserve(text.size());
    split(text, name, [&](std::string_view piece) {
      if (const auto found = index_.find(std::string(piece)); found != index_.end()) {
        tokens.push_back(found->second);
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
    return {{"vocabulary.kind", std::string(name_of(kind_))},
            {"vocabulary", kind_ == TokenKind::byte ? "" : fmt::format("{}", fmt::join(pieces_, ""))}};
  }

  /// The vocabulary in a model file's metadata. Throws when there is none; name is for messages.
  static Vocabulary read(const std::map<std::string, std::string>& metadata, std::string_view name) {
    const auto kind = metadata.find("vocabulary.kind"), characters = metadata.find("vocabulary");
    ensure(kind != metadata.end() && characters != metadata.end(),
           "{}: expected a model of text, found no vocabulary in its __metadata__", name);
    const auto known = from_name<TokenKind>(kind->second, fmt::format("{}: vocabulary", name));
    return known == TokenKind::character ? in_order(characters->second, name) : Vocabulary(known, "", name);
  }

 private:
  explicit Vocabulary(TokenKind kind) : kind_(kind) {}

  /// False when the piece is there already.
  bool add(std::string piece) {
    if (!index_.try_emplace(piece, static_cast<Token>(pieces_.size())).second) return false;
    pieces_.push_back(std::move(piece));
    return true;
  }

  /// Calls f for every character, byte or number of a text.
  template <class F>
  void split(std::string_view text, std::string_view name, F&& f) const {
    constexpr std::string_view between = " \t\r\n,";
    for (std::size_t at = 0; at < text.size();) {
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
    if (code_point < 0x20 || (code_point >= 0x7f && code_point < 0xa0)) return fmt::format("U+{:04X}", code_point);
    return fmt::format("'{}' (U+{:04X})", piece, code_point);
  }

  TokenKind kind_;
  std::vector<std::string> pieces_;
  std::unordered_map<std::string, Token> index_;
};

/// Turns tokens to text as they come, whole characters at a time, whatever a token is. Bytes that belong to no character
/// become U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  /// The characters that this token completes.
  std::string add(Token token) {
    pending_ += vocabulary_.text(token);
    std::string out;
    while (!pending_.empty()) {
      const Utf8 character = read_utf8(pending_);
      if (character.status == Utf8::Status::incomplete) break;
      out += character.status == Utf8::Status::complete ? pending_.substr(0, character.size) : replacement;
      pending_.erase(0, character.size);
    }
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
