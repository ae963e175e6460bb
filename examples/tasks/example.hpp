// Example: one sequence of a task, to be read token by token.
#pragma once

#include "fbt/core/types.hpp"

#include <string>
#include <vector>

namespace example {

/// The label of a token that is not scored.
inline constexpr fbt::Token unscored = -1;

struct Example {
  std::vector<fbt::Token> tokens;
  std::vector<fbt::Token> labels;  ///< one per token: what is to be answered when it has been read, or unscored

  void add(fbt::Token token, fbt::Token label = unscored) {
    tokens.push_back(token);
    labels.push_back(label);
  }
};

/// What the tokens are called: token i is words[i].
using Words = std::vector<std::string>;

}  // namespace example
