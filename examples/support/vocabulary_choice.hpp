// What a model's tokens are, as its flag says: characters, bytes, or a number of subwords.
#pragma once

#include "support/subwords.hpp"
#include "support/text_file.hpp"

#include "fbt/core/check.hpp"
#include "fbt/text/vocabulary.hpp"

#include <CLI/CLI.hpp>

#include <fmt/format.h>

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

namespace example {

struct VocabularyChoice {
  fbt::TokenKind kind = fbt::TokenKind::character;
  fbt::Index subwords = 0;  ///< how many, of that kind

  bool operator==(const VocabularyChoice&) const = default;

  static VocabularyChoice of(const fbt::Vocabulary& vocabulary) {
    return {vocabulary.kind(), vocabulary.kind() == fbt::TokenKind::subword ? vocabulary.size() : 0};
  }

  static constexpr std::string_view learned = "sentencepiece:";

  std::string text() const {
    return kind == fbt::TokenKind::subword ? fmt::format("{}{}", learned, subwords) : std::string(fbt::name_of(kind));
  }
  /// Throws std::invalid_argument that begins with `what`.
  static VocabularyChoice read(std::string_view text, std::string_view what) {
    for (const auto kind : {fbt::TokenKind::character, fbt::TokenKind::byte})
      if (text == fbt::name_of(kind)) return {kind, 0};
    VocabularyChoice choice{fbt::TokenKind::subword, 0};
    const std::string_view number = text.substr(std::min(text.size(), learned.size()));
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), choice.subwords);
    fbt::check(text.starts_with(learned) && error == std::errc() && end == number.data() + number.size() &&
                   choice.subwords > 256 && choice.subwords <= 1'000'000,
               "{}: expected one of character, byte, sentencepiece:N with N from 257 to 1000000, found {:?}", what, text);
    return choice;
  }
};

/// Adds the flag "--name" for what the tokens are.
inline CLI::Option* add_flag(CLI::App& command, const std::string& name, VocabularyChoice& value, const std::string& help) {
  const std::string flag = "--" + name;
  const auto read = [&value, flag](const std::string& text) { value = VocabularyChoice::read(text, flag); };
  return command.add_option_function<std::string>(flag, read, help)
      ->type_name("character|byte|sentencepiece:N")
      ->default_str(value.text());
}

/// The vocabulary of texts. Throws when they have none of the kind; name is that of the choice's flag, for messages.
inline fbt::Vocabulary learn_vocabulary(const VocabularyChoice& choice, const std::vector<NamedText>& texts) {
  if (choice.kind == fbt::TokenKind::subword) return learn_subwords(texts, choice.subwords, "--vocabulary " + choice.text());
  std::string pieces;  // of all texts
  for (const NamedText& text : texts) {
    if (choice.kind == fbt::TokenKind::character) expect_characters(text.text, text.name);
    const fbt::Vocabulary one(choice.kind, text.text, text.name);
    for (fbt::Token token = 0; token < one.size(); ++token) pieces += one.text(token);
  }
  return {choice.kind, pieces, "the texts"};
}

/// The tokens of texts, one after the other. Throws as Vocabulary::encode().
inline std::vector<fbt::Token> encode_texts(const fbt::Vocabulary& vocabulary, const std::vector<NamedText>& texts) {
  std::vector<fbt::Token> tokens;
  for (const NamedText& text : texts) {
    const std::vector<fbt::Token> more = encode_text(vocabulary, text.text, text.name);
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  return tokens;
}

}  // namespace example
