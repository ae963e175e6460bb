// Small things that many tests need.
#pragma once

#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"

#include <vector>

namespace fbt {

/// Moves every parameter away from its starting value: zeros and ones would hide errors.
template <class L>
void scatter(L& layer, Random& random, double deviation = 0.3) {
  visit(
      [&](std::string_view, auto& tensor) {
        for (Index i = 0; i < tensor.size(); ++i) flat(tensor)(i) += deviation * random.normal();
      },
      layer);
}

/// Sets every parameter to one: a gradient to add to, of which remove_ones() leaves what was added.
template <class L>
L ones_like(const L& layer) {
  L ones = layer;
  visit([](std::string_view, auto& tensor) { tensor.setOnes(); }, ones);
  return ones;
}
template <class L>
void remove_ones(L& layer) {
  visit([](std::string_view, auto& tensor) { tensor.array() -= 1; }, layer);
}

inline std::vector<Token> random_tokens(Index count, Index vocabulary, Random& random) {
  std::vector<Token> tokens(static_cast<std::size_t>(count));
  for (Token& token : tokens) token = static_cast<Token>(random.below(vocabulary));
  return tokens;
}

/// The largest difference between two matrices of one shape; infinite when a difference is not a number.
template <class A, class B>
double difference(const A& a, const B& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return std::numeric_limits<double>::infinity();
  const double largest = a.size() > 0 ? static_cast<double>((a - b).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>()) : 0;
  return std::isfinite(largest) ? largest : std::numeric_limits<double>::infinity();
}

}  // namespace fbt
