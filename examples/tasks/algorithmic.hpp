// Algorithmic: programs over a few variables with values 1..10, to be executed while they are read, drawn as the paper's
// generator does. Of a statement the kind is drawn first, all alike, then the variable; when the two do not go together,
// both are drawn again:
//   v = n ;                    v not defined yet, n in 1..10
//   v ++ ;   v -- ;            v defined; impossible at 10, or 1
//   print v ;                  v defined; its `;` is answered with the value of v, and nothing else is scored
//   if v < rhs : statement     or >, v defined; rhs another defined variable or, as often, a number 1..10; the statement is
//                              one of the first three kinds, is always written, and is executed when the condition holds;
//                              an impossible one is drawn again by itself
// A program ends with END.
#pragma once

#include "tasks/example.hpp"

#include "fbt/core/random.hpp"

#include <array>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

namespace example {

namespace algorithmic {

inline constexpr fbt::Token end = 0, print = 1, if_ = 2, then = 3, stop = 4, assign = 5, increment = 6, decrement = 7,
                            below = 8, above = 9, zero = 9;  // the number n is the token zero + n
inline constexpr int largest = 10;
inline constexpr fbt::Token first_variable = zero + largest + 1;
inline constexpr int most_variables = 5;

inline Words words(int variables) {
  Words result{"END", "print", "if", ":", ";", "=", "++", "--", "<", ">"};
  for (int n = 1; n <= largest; ++n) result.push_back(std::to_string(n));
  for (int v = 0; v < variables; ++v) result.emplace_back(1, "xyzpr"[v]);
  return result;
}

/// How often each kind of statement is drawn: =, ++, --, if, print. The task has all alike; lessons before it have not.
using Kinds = std::array<fbt::Index, 5>;
inline constexpr Kinds alike{1, 1, 1, 1, 1};

/// Writes a program and executes it as it goes.
class Writer {
 public:
  /// variables: at most most_variables. kinds: = and print above 0, so that there is always a statement that is possible.
  Writer(int variables, const Kinds& kinds, fbt::Random& random)
      : values_(static_cast<std::size_t>(variables), 0), kinds_(kinds), random_(random) {}

  /// Two definitions, and one of their variables printed: all there is to tell is which of the two values it has.
  Example write_recall() {
    for (int i = 0; i < 2; ++i) simple(0, true);
    output();
    program_.add(end);
    return program_;
  }

  Example write(fbt::Index statements) {
    for (fbt::Index i = 0; i < statements; ++i) {
      while (!statement()) continue;
    }
    program_.add(end);
    return program_;
  }

 private:
  /// Each draws what it needs and writes a statement; or writes nothing and is false when that is not possible.
  bool statement() {
    const fbt::Index kind = draw_kind();
    return kind == 3 ? condition() : kind == 4 ? output() : simple(kind, true);
  }

  /// kind: 0 for =, 1 for ++, 2 for --.
  bool simple(fbt::Index kind, bool executed) {
    const auto v = draw_variable([&](std::size_t i) { return (values_[i] > 0) == (kind != 0); });
    if (!v) return false;
    int& value = values_[static_cast<std::size_t>(*v)];
    if ((kind == 1 && value == largest) || (kind == 2 && value == 1)) return false;
    const int n = kind == 0 ? draw_number() : kind == 1 ? value + 1 : value - 1;
    program_.add(first_variable + *v);
    program_.add(kind == 0 ? assign : kind == 1 ? increment : decrement);
    if (kind == 0) program_.add(zero + n);
    program_.add(stop);
    if (executed) value = n;
    return true;
  }

  bool output() {
    const auto v = draw_variable([&](std::size_t i) { return values_[i] > 0; });
    if (!v) return false;
    program_.add(print);
    program_.add(first_variable + *v);
    program_.add(stop, zero + values_[static_cast<std::size_t>(*v)]);
    return true;
  }

  bool condition() {
    const auto v = draw_variable([&](std::size_t i) { return values_[i] > 0; });
    if (!v) return false;
    std::optional<fbt::Token> other;
    if (random_.below(2) == 0) {
      other = draw_variable([&](std::size_t i) { return values_[i] > 0 && static_cast<fbt::Token>(i) != *v; });
      if (!other) return false;
    }
    const int left = values_[static_cast<std::size_t>(*v)];
    const int right = other ? values_[static_cast<std::size_t>(*other)] : draw_number();
    const bool less = random_.below(2) == 0;
    program_.add(if_);
    program_.add(first_variable + *v);
    program_.add(less ? below : above);
    program_.add(other ? first_variable + *other : zero + right);
    program_.add(then);
    while (!simple(random_.below(3), less ? left < right : left > right)) continue;
    return true;
  }

  fbt::Index draw_kind() {
    fbt::Index kind = 0;
    for (fbt::Index left = random_.below(std::reduce(kinds_.begin(), kinds_.end()));
         left >= kinds_[static_cast<std::size_t>(kind)]; ++kind)
      left -= kinds_[static_cast<std::size_t>(kind)];
    return kind;
  }

  int draw_number() { return 1 + static_cast<int>(random_.below(largest)); }

  /// One of the variables that fit, all alike; none if there is none.
  template <class Fits>
  std::optional<fbt::Token> draw_variable(Fits&& fits) {
    std::vector<fbt::Token> candidates;
    for (std::size_t v = 0; v < values_.size(); ++v)
      if (fits(v)) candidates.push_back(static_cast<fbt::Token>(v));
    if (candidates.empty()) return {};
    return candidates[static_cast<std::size_t>(random_.below(static_cast<fbt::Index>(candidates.size())))];
  }

  std::vector<int> values_;  // 0: not defined yet
  const Kinds kinds_;
  fbt::Random& random_;
  Example program_;
};

inline Example draw(int variables, fbt::Index statements, fbt::Random& random, const Kinds& kinds = alike) {
  return Writer(variables, kinds, random).write(statements);
}

inline Example draw_recall(int variables, fbt::Random& random) { return Writer(variables, alike, random).write_recall(); }

}  // namespace algorithmic
}  // namespace example
