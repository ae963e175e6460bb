// State tracking: every token changes a state, and is answered with the state after it.
//   parity      0 or 1; the state is the sum so far, modulo 2
//   modular_5   0 to 4; the sum so far, modulo 5
//   s5          permutations of five things; what they make of 12345, one after the other (the word problem of the group S5:
//               Merrill, Petty and Sabharwal, 2024). 31245 puts in the first place what stands in the third, and so on.
//   flip_flop   w 1 i 0 i 1 r 1: pairs of an instruction (write, ignore, read) and a bit (Liu et al., 2023). Only r is
//               answered, with the bit that was last written, which is also the next token.
#pragma once

#include "tasks/example.hpp"

#include "fbt/core/random.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

namespace example {

namespace modular {

inline Words words(fbt::Token modulus) {
  Words result;
  for (fbt::Token n = 0; n < modulus; ++n) result.push_back(std::to_string(n));
  return result;
}

inline Example draw(fbt::Token modulus, fbt::Index length, fbt::Random& random) {
  Example example;
  fbt::Token sum = 0;
  for (fbt::Index i = 0; i < length; ++i) {
    const auto token = static_cast<fbt::Token>(random.below(modulus));
    sum = (sum + token) % modulus;
    example.add(token, sum);
  }
  return example;
}

}  // namespace modular

namespace s5 {

/// All permutations, in the order of the alphabet.
inline const Words& words() {
  static const Words all = [] {
    Words result;
    std::string things = "12345";
    do result.push_back(things);
    while (std::next_permutation(things.begin(), things.end()));
    return result;
  }();
  return all;
}

/// tokens: how many different ones there are, from 2 up: at first an exchange and a turn, which together make all others.
inline Example draw(fbt::Index tokens, fbt::Index length, fbt::Random& random) {
  static const std::vector<fbt::Token> easy_first = [] {
    std::vector<fbt::Token> order(words().size());
    std::iota(order.begin(), order.end(), 0);
    std::size_t place = 0;
    for (const char* const first : {"21345", "23451"})
      std::swap(order[place++], *std::find(order.begin(), order.end(),
                                           std::lower_bound(words().begin(), words().end(), first) - words().begin()));
    return order;
  }();
  Example example;
  std::string state = words().front();
  for (fbt::Index i = 0; i < length; ++i) {
    const fbt::Token token = easy_first[static_cast<std::size_t>(random.below(tokens))];
    std::string next;
    for (const char place : words()[static_cast<std::size_t>(token)]) next += state[static_cast<std::size_t>(place - '1')];
    state = next;
    const auto found = std::lower_bound(words().begin(), words().end(), state);
    example.add(token, static_cast<fbt::Token>(found - words().begin()));
  }
  return example;
}

}  // namespace s5

namespace flip_flop {

inline constexpr fbt::Token write = 0, ignore = 1, read = 2, bit = 3;  // and bit + 1

inline Words words() { return {"w", "i", "r", "0", "1"}; }

/// How many of a hundred instructions are ignored, on the average; of the others half are written and half are read.
enum class Ignored { few = 10, usual = 80, most = 98 };

/// length: pairs; the first is written, the last is read.
inline Example draw(Ignored ignored, fbt::Index length, fbt::Random& random) {
  Example example;
  fbt::Token written = 0;
  for (fbt::Index i = 0; i < length; ++i) {
    const bool other = random.below(100) >= static_cast<fbt::Index>(ignored);
    const fbt::Token drawn = !other ? ignore : random.below(2) == 0 ? write : read;
    const fbt::Token instruction = i == 0 ? write : i + 1 == length ? read : drawn;
    const auto any = static_cast<fbt::Token>(bit + random.below(2));
    const fbt::Token value = instruction == read ? written : any;
    if (instruction == write) written = value;
    example.add(instruction, instruction == read ? value : unscored);
    example.add(value);
  }
  return example;
}

}  // namespace flip_flop
}  // namespace example
