// Strings: copy, reverse and counting.
//   copy      a c b > a c b .        reverse   a c b > b c a .        counting   a a a > a a a .
// The string up to `>` is given. From there on every token is answered with the one that comes next, `.` being the end; what
// was answered is read as the next token. Symbols are drawn from ten letters; counting has one.
#pragma once

#include "tasks/example.hpp"

#include "fbt/core/random.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace example {

namespace strings {

inline constexpr fbt::Token letters = 10, given = 10, end = 11;

inline Words words() {
  Words result;
  for (fbt::Token i = 0; i < letters; ++i) result.emplace_back(1, static_cast<char>('a' + i));
  result.insert(result.end(), {">", "."});
  return result;
}

/// What the string has to be answered with, without the end.
enum class Answer { same, reversed };

/// A string of the given length over the first `symbols` letters.
inline Example draw(Answer answer, fbt::Token symbols, fbt::Index length, fbt::Random& random) {
  std::vector<fbt::Token> string(static_cast<std::size_t>(length));
  for (fbt::Token& symbol : string) symbol = static_cast<fbt::Token>(random.below(symbols));
  Example example;
  for (const fbt::Token symbol : string) example.add(symbol);
  if (answer == Answer::reversed) std::reverse(string.begin(), string.end());
  fbt::Token last = given;
  for (const fbt::Token symbol : string) {
    example.add(last, symbol);
    last = symbol;
  }
  example.add(last, end);
  return example;
}

}  // namespace strings
}  // namespace example
