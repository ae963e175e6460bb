#include "support/subwords.hpp"

#include "support/catch.hpp"

#include <string>
#include <vector>

using example::learn_subwords;
using example::NamedText;

#ifdef FBT_SENTENCEPIECE

namespace {

/// A text of some hundred words, with all that is odd.
std::vector<NamedText> odd_texts() {
  std::string text;
  for (int n = 0; n < 300; ++n) {
    text += "In the  beginning God created\tthe heaven and the earth.\r\n";
    if (n % 3 == 0) text += "    indented: \u00fcber \u00e9t\u00e9, \u4e2d\u6587\u5b57 \u2581 \u2047 <s> <unk> <0x0A>\n\n";
    if (n % 50 == 0) text += "\U0001f469\u200d\U0001f680 \u0065\u0301 \u00a0\u3000 \x7f\x01 the\n";
  }
  return {{"one", text}, {"two", "the end, without a line end"}};
}

}  // namespace

TEST_CASE("subwords are learned from texts, always the same ones, exactly as many as asked for") {
  const auto texts = odd_texts();
  const fbt::Vocabulary vocabulary = learn_subwords(texts, 320, "flag");
  CHECK(vocabulary.kind() == fbt::TokenKind::subword);
  CHECK(vocabulary.size() == 320);
  CHECK(vocabulary.metadata() == learn_subwords(texts, 320, "flag").metadata());
  CHECK(vocabulary.contains(" the"));
  CHECK(vocabulary.contains("\u00e9"));
  CHECK(vocabulary.contains("  "));
  for (const NamedText& text : texts) {
    const auto tokens = vocabulary.encode(text.text, text.name);
    CHECK(vocabulary.decode(tokens) == text.text);
  }
  CHECK(vocabulary.encode(texts[0].text, "one").size() < texts[0].text.size() / 2);
  const std::string other = "Unheard of: \u0416\u0417 \u2581\u2047\n\n  \r\n\t\U0001f600 " + std::string(2, '\0');
  CHECK(vocabulary.decode(vocabulary.encode(other, "other")) == other);
}

TEST_CASE("no character takes the place of more than half of the subwords, and a word may be long") {
  std::string text;
  for (int n = 0; n < 3; ++n)
    for (int c = 0x4e00; c < 0x4f00; ++c)
      text += {static_cast<char>(0xe0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 63)),
               static_cast<char>(0x80 | (c & 63))};
  for (int n = 0; n < 9; ++n) text += "\u4e2d\u6587";
  text += std::string(100'000, 'a');
  const std::vector<NamedText> texts{{"text", text}};
  const fbt::Vocabulary vocabulary = learn_subwords(texts, 266, "flag");
  CHECK(vocabulary.size() == 266);
  CHECK(vocabulary.contains("\u4e2d"));
  CHECK(vocabulary.contains("\u4e2d\u6587"));
  CHECK(vocabulary.decode(vocabulary.encode(text, "text")) == text);
}

TEST_CASE("subwords: errors") {
  CHECK_THROWS_WITH(learn_subwords({{"a", "text"}}, 256, "flag"),
                    ContainsSubstring("flag: expected more subwords than the 256 bytes"));
  CHECK_THROWS_WITH(learn_subwords(odd_texts(), 100'000, "flag"),
                    ContainsSubstring("flag: the text has only ") && ContainsSubstring("found 100000"));
  CHECK_THROWS_WITH(learn_subwords({{"a", "text"}, {"b", "te\xffxt"}}, 300, "flag"),
                    ContainsSubstring("b: expected text in UTF-8") && ContainsSubstring("offset 2"));
}

#else

TEST_CASE("without libsentencepiece the error says what is missing") {
  CHECK_THROWS_WITH(learn_subwords({{"a", "text"}}, 300, "flag"),
                    ContainsSubstring("install it (Debian: libsentencepiece-dev)"));
}

#endif
