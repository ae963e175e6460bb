#include "fbt/text/byte_pairs.hpp"

#include "fbt/core/random.hpp"

#include "support/catch.hpp"

#include <map>
#include <string>
#include <vector>

using fbt::Token;

namespace {

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> list;
  fbt::for_each_word(text, [&](std::string_view word) { list.emplace_back(word); });
  return list;
}

/// All bytes, then the given pieces.
struct Pieces {
  std::vector<std::string> list;
  std::map<std::string, Token, std::less<>> index;

  explicit Pieces(const std::vector<std::string>& pieces) {
    for (int byte = 0; byte < 256; ++byte) list.emplace_back(1, static_cast<char>(byte));
    list.insert(list.end(), pieces.begin(), pieces.end());
    for (std::size_t i = 0; i < list.size(); ++i) index.emplace(list[i], static_cast<Token>(i));
  }
  Token find(std::string_view piece) const {
    const auto found = index.find(piece);
    return found == index.end() ? -1 : found->second;
  }
  std::vector<std::string> encode(std::string_view word) const {
    std::vector<std::string> found;
    fbt::join_pairs(
        word, [&](std::string_view piece) { return find(piece); },
        [&](Token token) { found.push_back(list[static_cast<std::size_t>(token)]); });
    return found;
  }
  /// The definition: join the best pair of the word, as often as there is one.
  std::vector<std::string> encode_slowly(std::vector<std::string> parts) const {
    while (true) {
      Token best = -1;
      std::size_t place = 0;
      for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        const Token token = find(parts[i] + parts[i + 1]);
        if (token < 0 || (best >= 0 && token >= best)) continue;
        best = token;
        place = i;
      }
      if (best < 0) return parts;
      parts[place] += parts[place + 1];
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
    }
  }
};

}  // namespace

TEST_CASE("a text is cut into words with the spaces before them, and line ends") {
  using List = std::vector<std::string>;
  CHECK(words("In the  beginning\n") == List{"In", " the", "  beginning", "\n"});
  CHECK(words("\n\n a\r\n") == List{"\n", "\n", " a\r", "\n"});
  CHECK(words("  ") == List{"  "});
  CHECK(words("a  \n b") == List{"a", "  ", "\n", " b"});
  CHECK(words("").empty());
}

TEST_CASE("what comes first in the vocabulary is joined first, and then what comes first in the word") {
  using List = std::vector<std::string>;
  const Pieces pieces({"bc", "ab", "aa", "\u20ac", "\u20aca"});
  CHECK(pieces.encode("abc") == List{"a", "bc"});
  CHECK(pieces.encode("ab") == List{"ab"});
  CHECK(pieces.encode("aaa") == List{"aa", "a"});
  CHECK(pieces.encode("aaaa") == List{"aa", "aa"});
  CHECK(pieces.encode("\u20acab") == List{"\u20ac", "ab"});
  CHECK(pieces.encode("\u20aca") == List{"\u20aca"});
  CHECK(pieces.encode("\u00e9a") == List{"\xc3", "\xa9", "a"});  // no piece of its own: its bytes
  CHECK(pieces.encode("\xe2\x82") == List{"\xe2", "\x82"});      // no character at all
  CHECK(pieces.encode("x") == List{"x"});
  CHECK(pieces.encode("").empty());
}

TEST_CASE("byte pairs of random words are those of the definition") {
  fbt::Random random(7);
  const auto letter = [&] { return std::string(1, static_cast<char>('a' + random.below(3))); };
  for (int round = 0; round < 200; ++round) {
    std::vector<std::string> list;
    for (int n = 0; n < 12; ++n) {
      std::string piece = letter() + letter();
      while (random.below(2) == 0) piece += letter();
      if (std::find(list.begin(), list.end(), piece) == list.end()) list.push_back(piece);
    }
    const Pieces pieces(list);
    std::vector<std::string> parts;
    std::string word;
    for (int n = 0; n < 30; ++n) word += parts.emplace_back(letter());
    CAPTURE(word, list);
    CHECK(pieces.encode(word) == pieces.encode_slowly(parts));
  }
}

TEST_CASE("a long word takes no more time than many short ones") {
  const Pieces pieces({"aa", "aaaa", "aaaaaaaa"});
  CHECK(pieces.encode(std::string(1'000'000, 'a')).size() == 125'000);
}
