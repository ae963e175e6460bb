#include "tasks/algorithmic.hpp"

#include "support/catch.hpp"

#include <map>
#include <string>

using namespace example;

namespace {

/// Reads a program by its words, checks every rule, and executes it; independent of how programs are written.
class Interpreter {
 public:
  Interpreter(const Words& words, const Example& program) : words_(words), program_(program) {}

  void run() {
    while (peek() != "END") {
      ++statements;
      const std::string& first = peek();
      ++outer[first == "if" || first == "print" ? first : words_.at(static_cast<std::size_t>(program_.tokens.at(at_ + 1)))];
      if (first == "if") {
        condition();
      } else {
        statement(true, true);
      }
    }
    next();
    CHECK(at_ == program_.tokens.size());
  }

  int statements = 0, scored = 0, skipped = 0;
  std::map<std::string, int> kinds, outer;  // of all statements; without those within conditions
  std::map<int, int> printed;

 private:
  const std::string& peek() const { return words_.at(static_cast<std::size_t>(program_.tokens.at(at_))); }
  std::string next() {
    const std::string word = peek();
    label_ = program_.labels.at(at_++);
    return word;
  }
  std::string word(const std::string& expected) {
    const std::string found = next();
    REQUIRE(found == expected);
    return found;
  }
  std::string quiet() {
    const std::string found = next();
    REQUIRE(label_ == unscored);
    return found;
  }

  void statement(bool executed, bool may_print) {
    const std::string first = quiet();
    if (first == "print") {
      REQUIRE(may_print);
      ++kinds["print"];
      const std::string variable = quiet();
      REQUIRE(values_.contains(variable));
      word(";");
      REQUIRE(label_ != unscored);
      CHECK(words_.at(static_cast<std::size_t>(label_)) == std::to_string(values_.at(variable)));
      ++printed[values_.at(variable)];
      ++scored;
      return;
    }
    REQUIRE(std::string("xyzpr").find(first) != std::string::npos);
    const std::string what = quiet();
    ++kinds[what];
    skipped += !executed;
    if (what == "=") {
      const int n = std::stoi(quiet());
      REQUIRE(!values_.contains(first));
      REQUIRE((n >= 1 && n <= 10));
      if (executed) values_[first] = n;
    } else {
      REQUIRE((what == "++" || what == "--"));
      REQUIRE(values_.contains(first));
      const int value = values_.at(first) + (what == "++" ? 1 : -1);
      REQUIRE((value >= 1 && value <= 10));
      if (executed) values_[first] = value;
    }
    word(";");
    REQUIRE(label_ == unscored);
  }

  void condition() {
    ++kinds["if"];
    quiet();
    const std::string left = quiet(), how = quiet(), right = quiet();
    REQUIRE(values_.contains(left));
    REQUIRE(left != right);
    REQUIRE((how == "<" || how == ">"));
    const bool is_number = right.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number) REQUIRE(values_.contains(right));
    ++kinds[is_number ? "number" : "variable"];
    const int a = values_.at(left), b = is_number ? std::stoi(right) : values_.at(right);
    REQUIRE(quiet() == ":");
    REQUIRE(peek() != "if");
    statement(how == "<" ? a < b : a > b, false);
  }

  const Words& words_;
  const Example& program_;
  std::size_t at_ = 0;
  fbt::Token label_ = unscored;
  std::map<std::string, int> values_;
};

}  // namespace

TEST_CASE("algorithmic: an interpreter of its own finds every rule kept and every output right") {
  const int variables = GENERATE(3, 5);
  const Words words = algorithmic::words(variables);
  CHECK(static_cast<int>(words.size()) == 20 + variables);
  fbt::Random random(1);
  std::map<std::string, int> kinds;
  std::map<int, int> printed;
  int skipped = 0;
  for (int n = 0; n < 200; ++n) {
    const Example program = algorithmic::draw(variables, 100, random);
    REQUIRE(program.labels.size() == program.tokens.size());
    Interpreter interpreter(words, program);
    interpreter.run();
    REQUIRE(interpreter.statements == 100);
    REQUIRE(interpreter.scored ==
            std::count_if(program.labels.begin(), program.labels.end(), [](fbt::Token label) { return label != unscored; }));
    for (const auto& [kind, count] : interpreter.kinds) kinds[kind] += count;
    for (const auto& [value, count] : interpreter.printed) printed[value] += count;
    skipped += interpreter.skipped;
  }
  // once all variables are defined, four kinds are left, of which two are print and if
  CHECK(std::abs(kinds["print"] - 5000) < 500);
  CHECK(std::abs(kinds["if"] - 5000) < 500);
  CHECK(std::abs(kinds["number"] - kinds["variable"]) < 300);
  CHECK(kinds["="] >= 200 * (variables - 1));
  CHECK(skipped > 1500);
  CHECK(printed.size() == 10);
}

TEST_CASE("algorithmic: statements are as frequent as in the paper's programs") {
  // of 1,000 programs of the paper's generator: for 3 and 5 variables
  const std::map<std::string, std::pair<double, double>> published{
      {"++", {.231, .227}}, {"--", {.232, .229}}, {"=", {.028, .045}}, {"if", {.252, .245}}, {"print", {.257, .254}}};
  for (const int variables : {3, 5}) {
    const Words words = algorithmic::words(variables);
    fbt::Random random(1);
    std::map<std::string, int> kinds;
    for (int n = 0; n < 4000; ++n) {
      const Example program = algorithmic::draw(variables, 100, random);
      Interpreter interpreter(words, program);
      interpreter.run();
      for (const auto& [kind, count] : interpreter.outer) kinds[kind] += count;
    }
    double all = 0;
    for (const auto& [kind, frequency] : published) all += kinds[kind];
    for (const auto& [kind, frequency] : published) {
      INFO(kind << " of " << variables << " variables");
      CHECK(std::abs(kinds[kind] / all - (variables == 3 ? frequency.first : frequency.second)) < 0.003);
    }
  }
}

TEST_CASE("algorithmic: a program by its seed, the same with every compiler") {
  const auto text = [](std::uint64_t seed) {
    fbt::Random random(seed);
    const Words words = algorithmic::words(3);
    std::string result;
    for (const fbt::Token token : algorithmic::draw(3, 8, random).tokens)
      result += words[static_cast<std::size_t>(token)] + ' ';
    return result;
  };
  CHECK(text(1) == "y = 2 ; if y > 5 : y -- ; x = 3 ; print x ; if x > 6 : y -- ; if x > y : y -- ; z = 3 ; y ++ ; END ");
  CHECK(text(1) == text(1));
  CHECK(text(2) != text(1));
}

TEST_CASE("algorithmic: programs of other kinds of statements keep the rules, too") {
  const Words words = algorithmic::words(3);
  fbt::Random random(1);
  std::map<std::string, int> kinds;
  for (int n = 0; n < 300; ++n) {
    const Example program = algorithmic::draw(3, 12, random, {2, 1, 0, 0, 3});
    Interpreter interpreter(words, program);
    interpreter.run();
    REQUIRE(interpreter.statements == 12);
    for (const auto& [kind, count] : interpreter.kinds) kinds[kind] += count;
  }
  CHECK(!kinds.contains("--"));
  CHECK(!kinds.contains("if"));
  CHECK(kinds["print"] > 2 * kinds["++"]);
  CHECK(kinds["++"] > 300);
}

TEST_CASE("algorithmic: recall asks for either of two variables alike") {
  const Words words = algorithmic::words(5);
  fbt::Random random(1);
  int last = 0;
  for (int n = 0; n < 400; ++n) {
    const Example program = algorithmic::draw_recall(5, random);
    REQUIRE(program.tokens.size() == 12);  // v = n ; w = n ; print v ; END
    Interpreter interpreter(words, program);
    interpreter.run();
    REQUIRE(interpreter.kinds == std::map<std::string, int>{{"=", 2}, {"print", 1}});
    REQUIRE(program.tokens[0] != program.tokens[4]);
    last += program.tokens[9] == program.tokens[4];
  }
  CHECK(std::abs(last - 200) < 50);
}
