// Recall: pairs of a key and a value, then keys, each to be answered with its value (associative recall of many queries:
// Arora et al., 2023).   k7 v2 k1 v30 k7 k1 k1 ...
#pragma once

#include "tasks/example.hpp"

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"

#include <fmt/format.h>

#include <numeric>
#include <utility>
#include <vector>

namespace example {

namespace recall {

inline constexpr fbt::Index keys = 32, values = 32, queries = 6;  ///< queries: for each pair, on the average

inline Words words() {
  Words result;
  for (fbt::Index i = 1; i <= keys; ++i) result.push_back(fmt::format("k{}", i));
  for (fbt::Index i = 1; i <= values; ++i) result.push_back(fmt::format("v{}", i));
  return result;
}

/// Throws std::invalid_argument unless there are from 1 to as many pairs as keys.
inline Example draw(fbt::Index pairs, fbt::Random& random) {
  fbt::check(pairs >= 1 && pairs <= keys, "recall: expected a length from 1 to {} pairs, found {}", keys, pairs);
  std::vector<fbt::Token> order(keys), value_of;
  std::iota(order.begin(), order.end(), 0);
  Example example;
  for (fbt::Index i = 0; i < pairs; ++i) {  // no key twice
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(i + random.below(keys - i))]);
    value_of.push_back(static_cast<fbt::Token>(keys + random.below(values)));
    example.add(order[static_cast<std::size_t>(i)]);
    example.add(value_of.back());
  }
  for (fbt::Index i = 0; i < queries * pairs; ++i) {
    const auto asked = static_cast<std::size_t>(random.below(pairs));
    example.add(order[asked], value_of[asked]);
  }
  return example;
}

}  // namespace recall
}  // namespace example
