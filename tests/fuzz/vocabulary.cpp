// Fuzzes what reads text: the vocabulary in a checkpoint's metadata, UTF-8, and tokens back to text.
// An input is kind, vocabulary and text, with a zero byte after each of the first two.
#include "fbt/text/vocabulary.hpp"

#include "fuzz.hpp"

#include <map>
#include <string>
#include <vector>

namespace {

std::string until_zero(std::string& rest) {
  const std::size_t end = rest.find('\0');
  std::string part = rest.substr(0, end);
  rest.erase(0, end == rest.npos ? rest.size() : end + 1);
  return part;
}

std::string decode(const fbt::Vocabulary& vocabulary, fbt::Tokens tokens) {
  fbt::StreamDecoder decoder(vocabulary);
  std::string text;
  for (const fbt::Token token : tokens) text += decoder.add(token);
  return text + decoder.finish();
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryLimit limit(size);
  std::string text = fuzz::text(data, size);
  std::map<std::string, std::string> metadata;
  metadata["vocabulary.kind"] = until_zero(text);
  metadata["vocabulary"] = until_zero(text);
  fuzz::accepted([&] {
    const auto vocabulary = fbt::Vocabulary::read(metadata, "input");
    const auto again = vocabulary.metadata();
    fuzz::require(fbt::Vocabulary::read(again, "input").metadata() == again, "a vocabulary is read as it is written");
    for (fbt::Token token = 0; token < vocabulary.size(); ++token)
      fuzz::require(vocabulary.contains(vocabulary.text(token)), "every token's text is in the vocabulary");

    std::vector<fbt::Token> tokens;  // any tokens make a text
    if (vocabulary.size() > 0)
      for (const char byte : text)
        tokens.push_back(static_cast<fbt::Token>(static_cast<unsigned char>(byte) % vocabulary.size()));
    fuzz::require(fbt::is_utf8(decode(vocabulary, tokens)), "decoded text is in UTF-8");

    tokens = vocabulary.encode(text, "input");
    const bool marked = vocabulary.kind() != fbt::TokenKind::byte && text.starts_with("\xef\xbb\xbf");
    if (fbt::is_utf8(text))
      fuzz::require(decode(vocabulary, tokens) == text.substr(marked ? 3 : 0), "a text is decoded as it was encoded");
  });
  return 0;
}
