#include "tasks/state_tracking.hpp"

#include "support/catch.hpp"

#include <array>
#include <map>
#include <set>
#include <string>

using namespace example;

TEST_CASE("modular: every number is answered with the sum so far") {
  const fbt::Token modulus = GENERATE(2, 5);
  CHECK(modular::words(5) == Words{"0", "1", "2", "3", "4"});
  fbt::Random random(1);
  const Example example = modular::draw(modulus, 5000, random);
  REQUIRE(example.tokens.size() == 5000);
  REQUIRE(example.labels.size() == 5000);
  std::map<fbt::Token, int> counts;
  long sum = 0;
  for (std::size_t t = 0; t < example.tokens.size(); ++t) {
    sum += example.tokens[t];
    ++counts[example.tokens[t]];
    REQUIRE(example.labels[t] == static_cast<fbt::Token>(sum % modulus));
  }
  CHECK(static_cast<fbt::Token>(counts.size()) == modulus);
  for (const auto& [token, count] : counts) CHECK(std::abs(count * modulus - 5000) < 500);
}

TEST_CASE("s5: the things are moved one permutation after the other") {
  const Words words = s5::words();
  REQUIRE(words.size() == 120);
  REQUIRE(std::set<std::string>(words.begin(), words.end()).size() == 120);
  CHECK(words.front() == "12345");
  fbt::Random random(2);
  const Example example = s5::draw(120, 20000, random);
  // which thing is where, as numbers; and where each thing goes
  std::array<int, 5> things{1, 2, 3, 4, 5};
  std::map<std::string, int> tokens, labels;
  for (std::size_t t = 0; t < example.tokens.size(); ++t) {
    const std::string& token = words[static_cast<std::size_t>(example.tokens[t])];
    const std::string& label = words[static_cast<std::size_t>(example.labels[t])];
    std::array<int, 5> moved{};
    for (std::size_t place = 0; place < 5; ++place) moved[place] = things[static_cast<std::size_t>(token[place] - '1')];
    things = moved;
    std::string text;
    for (const int thing : things) text += std::to_string(thing);
    REQUIRE(label == text);
    ++tokens[token];
    ++labels[label];
  }
  CHECK(tokens.size() == 120);
  CHECK(labels.size() == 120);
  for (const auto* counts : {&tokens, &labels})
    for (const auto& [word, count] : *counts) CHECK(std::abs(count - 167) < 70);
}

TEST_CASE("s5: an exchange and a turn make all permutations") {
  fbt::Random random(3);
  const Example example = s5::draw(2, 20000, random);
  const Words words = s5::words();
  std::set<std::string> tokens;
  for (const fbt::Token token : example.tokens) tokens.insert(words[static_cast<std::size_t>(token)]);
  CHECK(tokens == std::set<std::string>{"21345", "23451"});
  CHECK(std::set<fbt::Token>(example.labels.begin(), example.labels.end()).size() == 120);
  for (const fbt::Index kinds : {4, 64, 120}) {
    const Example more = s5::draw(kinds, 20000, random);
    CHECK(std::set<fbt::Token>(more.tokens.begin(), more.tokens.end()).size() == static_cast<std::size_t>(kinds));
  }
}

TEST_CASE("flip-flop: what is read is what was written last") {
  using flip_flop::Ignored;
  const auto [ignored, share] =
      GENERATE(table<Ignored, double>({{Ignored::few, 0.1}, {Ignored::usual, 0.8}, {Ignored::most, 0.98}}));
  const Words words = flip_flop::words();
  fbt::Random random(4);
  std::map<std::string, int> counts;
  std::map<std::string, int> bits;
  constexpr int pairs = 300;
  for (int n = 0; n < 100; ++n) {
    const Example example = flip_flop::draw(ignored, pairs, random);
    REQUIRE(example.tokens.size() == 2 * pairs);
    REQUIRE(example.labels.size() == 2 * pairs);
    std::string written;
    for (std::size_t i = 0; i < pairs; ++i) {
      const std::string& instruction = words[static_cast<std::size_t>(example.tokens[2 * i])];
      const std::string& bit = words[static_cast<std::size_t>(example.tokens[2 * i + 1])];
      REQUIRE((bit == "0" || bit == "1"));
      REQUIRE(example.labels[2 * i + 1] == unscored);
      if (i == 0) REQUIRE(instruction == "w");
      if (i + 1 == pairs) REQUIRE(instruction == "r");
      if (instruction == "w") written = bit;
      if (instruction == "r") {
        REQUIRE(bit == written);
        REQUIRE(example.labels[2 * i] == example.tokens[2 * i + 1]);
      } else {
        REQUIRE((instruction == "w" || instruction == "i"));
        REQUIRE(example.labels[2 * i] == unscored);
      }
      if (i > 0 && i + 1 < pairs) ++counts[instruction];
      ++bits[instruction + bit];
    }
  }
  const double all = 100 * (pairs - 2);
  CHECK(std::abs(counts["i"] / all - share) < 0.01);
  CHECK(std::abs(counts["w"] - counts["r"]) < 400);
  CHECK(std::abs(bits["i0"] - bits["i1"]) < 600);
  CHECK(std::abs(bits["w0"] - bits["w1"]) < 600);
}
