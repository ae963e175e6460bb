#include "tasks/strings.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <set>

using namespace example;
using strings::Answer;

TEST_CASE("strings: the given part is not scored, and the answer is the string, as it is or reversed, and the end") {
  fbt::Random random(1);
  const Answer answer = GENERATE(Answer::same, Answer::reversed);
  std::set<fbt::Token> symbols;
  for (const fbt::Index length : {1, 2, 7, 30}) {
    const Example example = strings::draw(answer, strings::letters, length, random);
    const auto n = static_cast<std::ptrdiff_t>(length);
    REQUIRE(static_cast<fbt::Index>(example.tokens.size()) == 2 * length + 1);
    REQUIRE(example.labels.size() == example.tokens.size());
    std::vector<fbt::Token> string(example.tokens.begin(), example.tokens.begin() + n);
    symbols.insert(string.begin(), string.end());
    CHECK(std::count(example.labels.begin(), example.labels.begin() + n, unscored) == n);
    CHECK(example.tokens[static_cast<std::size_t>(n)] == strings::given);
    if (answer == Answer::reversed) std::reverse(string.begin(), string.end());
    CHECK(std::vector<fbt::Token>(example.tokens.begin() + n + 1, example.tokens.end()) == string);
    string.push_back(strings::end);
    CHECK(std::vector<fbt::Token>(example.labels.begin() + n, example.labels.end()) == string);
  }
  CHECK(symbols.size() > 7);
  CHECK(*symbols.rbegin() < strings::letters);
}

TEST_CASE("strings: counting has one letter, and words name every token") {
  fbt::Random random(1);
  const Example example = strings::draw(Answer::same, 1, 3, random);
  CHECK(example.tokens == std::vector<fbt::Token>{0, 0, 0, strings::given, 0, 0, 0});
  const Words words = strings::words();
  CHECK(words.size() == 12);
  CHECK(words[0] == "a");
  CHECK(words[strings::letters - 1] == "j");
  CHECK(words[strings::given] == ">");
  CHECK(words[strings::end] == ".");
}
