#include "fbt/text/vocabulary.hpp"

#include "support/catch.hpp"

#include <chrono>

using fbt::StreamDecoder;
using fbt::TokenKind;
using fbt::Vocabulary;

TEST_CASE("a character vocabulary holds what occurs, in order, and survives a checkpoint") {
  const std::string text = "b\u20ac\u00e9ab\n\U0001f600a";
  const Vocabulary vocabulary(TokenKind::character, text, "text");
  CHECK(vocabulary.size() == 6);
  const auto tokens = vocabulary.encode(text, "text");
  CHECK(tokens == std::vector<fbt::Token>{2, 4, 3, 1, 2, 0, 5, 1});
  std::string decoded;
  for (const fbt::Token token : tokens) decoded += vocabulary.text(token);
  CHECK(decoded == text);

  const Vocabulary copy = Vocabulary::read(vocabulary.metadata(), "file");
  CHECK(copy.kind() == TokenKind::character);
  CHECK(copy.encode(text, "text") == tokens);
}

TEST_CASE("characters can have an order of their own, which survives a checkpoint") {
  const Vocabulary vocabulary = Vocabulary::in_order("k\u20acb\na", "text");
  CHECK(vocabulary.encode("abk\n\u20ac", "text") == std::vector<fbt::Token>{4, 2, 0, 3, 1});
  CHECK(Vocabulary::read(vocabulary.metadata(), "file").encode("abk\n\u20ac", "text") ==
        vocabulary.encode("abk\n\u20ac", "text"));
  CHECK_THROWS_WITH(Vocabulary::in_order("aba", "F"),
                    ContainsSubstring("F: expected every character of a vocabulary once, found 'a' (U+0061) again"));
  CHECK_THROWS_WITH(Vocabulary::in_order("ab\xe9", "F"), ContainsSubstring("F: expected text in UTF-8"));
}

TEST_CASE("numbers of tokens as text, where there is no vocabulary") {
  const Vocabulary vocabulary = Vocabulary::numbers(13);
  CHECK(vocabulary.size() == 13);
  CHECK(vocabulary.kind() == TokenKind::number);
  CHECK(vocabulary.metadata().empty());
  for (const std::string text : {"3 12 0", "3,12,0", " 3, 12\n0\r\n", "\t3 ,, 12 0,"})
    CHECK(vocabulary.encode(text, "prompt") == std::vector<fbt::Token>{3, 12, 0});
  CHECK(vocabulary.encode("", "prompt").empty());
  CHECK(vocabulary.encode(" ,", "prompt").empty());
  StreamDecoder decoder(vocabulary);
  CHECK(decoder.add(12) + decoder.add(0) + decoder.finish() == " 12 0");
  CHECK_THROWS_WITH(vocabulary.encode("3 13 -1 one 03", "prompt"),
                    ContainsSubstring("prompt: expected only token numbers of the model's vocabulary of 13, found "
                                      "\"13\", \"-1\", \"one\", \"03\""));
}

TEST_CASE("a byte vocabulary takes any text, and survives a checkpoint") {
  const std::string text("\xff\0\x80z", 4);
  const Vocabulary vocabulary(TokenKind::byte, "", "text");
  CHECK(vocabulary.size() == 256);
  CHECK(vocabulary.encode(text, "text") == std::vector<fbt::Token>{255, 0, 128, 'z'});
  CHECK(Vocabulary::read(vocabulary.metadata(), "file").encode(text, "text") == vocabulary.encode(text, "text"));
}

TEST_CASE("subwords: every text is encoded, decoded as it was, and survives a checkpoint") {
  const Vocabulary vocabulary = Vocabulary::subwords({"th", " th", " the", "\u20ac", "\u20acs", "  "}, "file");
  CHECK(vocabulary.size() == 262);
  CHECK(vocabulary.kind() == TokenKind::subword);
  CHECK(vocabulary.encode("th the\u20acs\u20ac", "text") == std::vector<fbt::Token>{256, 258, 260, 259});
  CHECK(vocabulary.metadata().at("vocabulary.kind") == "subword");
  const Vocabulary copy = Vocabulary::read(vocabulary.metadata(), "file");
  CHECK(copy.metadata() == vocabulary.metadata());
  const Vocabulary bytes = Vocabulary::subwords({}, "file");
  CHECK(Vocabulary::read(bytes.metadata(), "file").size() == 256);
  const std::string nothing(1, '\0');
  for (const std::string& text :
       {std::string(" the  the\n\n the\r\n\tthe "), std::string("\u2581the \u2047 \ufffd\ufeff\u00e9"),
        std::string("\U0001f469\u200d\U0001f680 \u0065\u0301 \u4e2d\u6587\u00a0\u3000the"), "a" + nothing + "b", nothing,
        std::string("    "), std::string("\n"), std::string("<0x0A> <unk> <s>"), std::string()}) {
    CAPTURE(text);
    for (const Vocabulary* v : {&vocabulary, &bytes}) {
      const auto tokens = v->encode(text, "text");
      CHECK(v->decode(tokens) == text);
      CHECK(Vocabulary::read(v->metadata(), "file").encode(text, "text") == tokens);
      std::string streamed;
      StreamDecoder decoder(*v);
      for (const fbt::Token token : tokens) streamed += decoder.add(token);
      CHECK(streamed + decoder.finish() == text);
    }
  }
  // bytes of no character are encoded, too
  const auto tokens = vocabulary.encode("\xe2\x82", "text");
  CHECK(tokens == std::vector<fbt::Token>{0xe2, 0x82});
  CHECK(vocabulary.decode(tokens) == "\ufffd");
}

TEST_CASE("subwords: labels, and what is refused") {
  const Vocabulary vocabulary = Vocabulary::subwords({" th", "\u20ac ", "a\tb"}, "file");
  CHECK(vocabulary.label(256) == "\u2423th");
  CHECK(vocabulary.label(257) == "\u20ac\u2423");
  CHECK(vocabulary.label(258) == "ax09b");
  CHECK(vocabulary.label('a') == "a");
  CHECK(vocabulary.label('\n') == "\u21b5");
  CHECK(vocabulary.label(0xe2) == "xe2");
  CHECK_THROWS_WITH(Vocabulary::subwords({"th", "th"}, "F"),
                    ContainsSubstring("F: expected every piece of a vocabulary once, beside the bytes, found \"th\""));
  CHECK_THROWS_WITH(Vocabulary::subwords({"t"}, "F"), ContainsSubstring("found \"t\""));
  CHECK_THROWS_WITH(Vocabulary::subwords({""}, "F"), ContainsSubstring("found \"\""));
  CHECK_THROWS_WITH(Vocabulary::subwords({"a\nb"}, "F"), ContainsSubstring("without line ends"));
  CHECK_THROWS_WITH(Vocabulary::subwords({"a\xe2"}, "F"), ContainsSubstring("expected pieces of text in UTF-8"));
  CHECK_THROWS_WITH(Vocabulary::read({{"vocabulary.kind", "subword"}, {"vocabulary", "th\n\nhe"}}, "F"),
                    ContainsSubstring("expected every piece of a vocabulary once"));
}

TEST_CASE("a vocabulary names what does not belong to it") {
  const Vocabulary vocabulary(TokenKind::character, "abc", "text");
  CHECK_THROWS_WITH(vocabulary.encode("aXb\u20acX\t", "prompt"),
                    ContainsSubstring("prompt") && ContainsSubstring("vocabulary of 3") &&
                        ContainsSubstring("'X' (U+0058), '\u20ac' (U+20AC), U+0009"));
  CHECK_THROWS_WITH(vocabulary.encode("ABCDEFGHIJKLM", "prompt"), ContainsSubstring("'J' (U+004A) and 3 more"));
  CHECK_THROWS_WITH(Vocabulary(TokenKind::character, "ab\xe9 c", "F"),
                    ContainsSubstring("F: ") && ContainsSubstring("0xe9") && ContainsSubstring("offset 2"));
  CHECK_THROWS_WITH(Vocabulary::read({}, "F"), ContainsSubstring("F: expected a model of text"));
  CHECK_THROWS_WITH(Vocabulary::read({{"vocabulary.kind", "word"}, {"vocabulary", ""}}, "F"),
                    ContainsSubstring("expected one of character, byte, subword, found \"word\""));
}

TEST_CASE("a byte order mark at the beginning is no token, but where tokens are bytes") {
  const std::string mark = "\ufeff", text = mark + "ba\n";
  const Vocabulary characters(TokenKind::character, text, "text");
  CHECK(characters.size() == 3);
  CHECK(characters.encode(text, "text") == characters.encode("ba\n", "text"));
  CHECK(characters.encode(mark, "text").empty());
  CHECK(Vocabulary::in_order(mark + "ba", "F").encode("ab", "text") == std::vector<fbt::Token>{1, 0});
  CHECK(Vocabulary::numbers(3).encode(mark + "2 1", "prompt") == std::vector<fbt::Token>{2, 1});
  CHECK(Vocabulary(TokenKind::byte, "", "").encode(text, "text").size() == 6);
  CHECK_THROWS_WITH(Vocabulary(TokenKind::character, mark + "a\xff", "F"), ContainsSubstring("offset 4"));
  // elsewhere it is a character as any other, and the first token of a file that has it keeps its number
  const Vocabulary within(TokenKind::character, "\uff41" + mark, "text");
  CHECK(within.size() == 2);
  const Vocabulary copy = Vocabulary::read(within.metadata(), "file");
  CHECK(copy.size() == 2);
  CHECK(copy.encode("\uff41" + mark, "text") == std::vector<fbt::Token>{1, 0});
}

TEST_CASE("a label shows every token, also what could not be seen") {
  const std::vector<std::pair<std::string, std::string>> labels{{"a", "a"},
                                                                {" ", "\u2423"},
                                                                {"\n", "\u21b5"},
                                                                {"\t", "x09"},
                                                                {"\x7f", "x7f"},
                                                                {"\u0085", "U+0085"},
                                                                {"\u00a0", "U+00A0"},
                                                                {"\u0301", "U+0301"},
                                                                {"\u200b", "U+200B"},
                                                                {"\u202e", "U+202E"},
                                                                {"\ufeff", "U+FEFF"},
                                                                {"\uffff", "U+FFFF"},
                                                                {"\U0001fffe", "U+1FFFE"},
                                                                {"\u00e9", "\u00e9"},
                                                                {"\u65e5", "\u65e5"},
                                                                {"\ufffd", "\ufffd"},
                                                                {"\U0001f600", "\U0001f600"}};
  std::string all;
  for (const auto& [text, label] : labels) all += text;
  const Vocabulary vocabulary = Vocabulary::in_order(all, "text");
  for (std::size_t i = 0; i < labels.size(); ++i) CHECK(vocabulary.label(static_cast<fbt::Token>(i)) == labels[i].second);
  const Vocabulary bytes(TokenKind::byte, "", "");
  CHECK(bytes.label(0xe9) == "xe9");
  CHECK(bytes.label(0) == "x00");
  CHECK(bytes.label('a') == "a");
}

TEST_CASE("a text in another script is refused at once") {
  const Vocabulary vocabulary(TokenKind::character, "abc", "text");
  std::string text;
  for (int c = 0x4e00; c < 0x9e00; ++c)
    text +=
        {static_cast<char>(0xe0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 63)), static_cast<char>(0x80 | (c & 63))};
  const auto start = std::chrono::steady_clock::now();
  for (int n = 0; n < 3; ++n) text += text;
  CHECK_THROWS_WITH(vocabulary.encode(text, "prompt"),
                    ContainsSubstring("'\u4e00' (U+4E00)") && ContainsSubstring(" and 20470 more"));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("bytes are streamed as whole characters") {
  const Vocabulary vocabulary(TokenKind::byte, "", "text");
  const auto stream = [&](const std::string& text) {
    StreamDecoder decoder(vocabulary);
    std::vector<std::string> pieces;
    for (const fbt::Token token : vocabulary.encode(text, "text")) pieces.push_back(decoder.add(token));
    pieces.push_back(decoder.finish());
    return pieces;
  };
  using Pieces = std::vector<std::string>;
  CHECK(stream("a\u20acb") == Pieces{"a", "", "", "\u20ac", "b", ""});
  CHECK(stream("\xe2\x82z") == Pieces{"", "", "\ufffdz", ""});
  CHECK(stream("\xe2\xff") == Pieces{"", "\ufffd\ufffd", ""});
  CHECK(stream("a\xf0\x9f") == Pieces{"a", "", "", "\ufffd"});
}

TEST_CASE("a text that ends inside a character is completed by the tokens after it") {
  const Vocabulary vocabulary(TokenKind::byte, "", "text");
  StreamDecoder decoder(vocabulary);
  CHECK(decoder.add("\u65e5\xe6\x9c") == "\u65e5");
  CHECK(decoder.add(0xac) == "\u672c");
  CHECK(decoder.add("\xff\xc3z\xe2") == "\ufffd\ufffdz");
  CHECK(decoder.finish() == "\ufffd");
}

TEST_CASE("what is outside the vocabulary can be left out and counted") {
  const Vocabulary vocabulary(TokenKind::character, "abc", "text");
  fbt::Index unknown = 0;
  CHECK(vocabulary.encode("aXb\u20acXc", "text", &unknown) == std::vector<fbt::Token>{0, 1, 2});
  CHECK(unknown == 3);
  CHECK_THROWS_WITH(vocabulary.encode("a\xff", "F", &unknown), ContainsSubstring("F: expected text in UTF-8"));
}

TEST_CASE("Vocabulary: decode is encode backwards") {
  const std::string text = "a\u00e9 b\n\u20ac";
  for (const TokenKind kind : {TokenKind::character, TokenKind::byte}) {
    const Vocabulary vocabulary(kind, text, "text");
    CHECK(vocabulary.decode(vocabulary.encode(text, "text")) == text);
  }
  const Vocabulary bytes(TokenKind::byte, "", "");
  CHECK(bytes.decode(std::vector<fbt::Token>{'a', 0xc3}) == "a\xef\xbf\xbd");
  CHECK(bytes.decode({}).empty());
}
