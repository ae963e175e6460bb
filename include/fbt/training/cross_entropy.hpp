// Cross-entropy of softmax(logits) and its gradient.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"

#include <cmath>

namespace fbt {

struct CrossEntropy {
  double sum = 0;   ///< nats, over the scored columns
  Index count = 0;  ///< scored columns

  /// Per scored column; not a number when none was.
  double mean() const { return sum / static_cast<double>(count); }
  CrossEntropy& operator+=(const CrossEntropy& other) {
    sum += other.sum;
    count += other.count;
    return *this;
  }
};

/// The loss -log softmax(logits)_target of each column of logits (V, N), for targets (N). A negative target is not scored.
/// dlogits (V, N) becomes scale * d(sum of losses) / dlogits; it may be logits itself, or empty when no gradient is wanted.
/// Throws std::invalid_argument when a target is V or more or the sizes do not fit.
template <class Scalar>
CrossEntropy cross_entropy(const In<Scalar>& logits, Tokens targets, Scalar scale, Out<Scalar> dlogits) {
  check(static_cast<Index>(targets.size()) == logits.cols(), "cross-entropy: {} targets for {} columns of logits",
        targets.size(), logits.cols());
  check(dlogits.size() == 0 || (dlogits.rows() == logits.rows() && dlogits.cols() == logits.cols()),
        "cross-entropy: expected a gradient of shape ({}, {}), found ({}, {})", logits.rows(), logits.cols(), dlogits.rows(),
        dlogits.cols());
  CrossEntropy result;
  for (Index i = 0; i < logits.cols(); ++i) {
    const Token target = targets[static_cast<std::size_t>(i)];
    check(target < logits.rows(), "cross-entropy: target {} is outside the vocabulary of {}", target, logits.rows());
    if (target < 0) {
      if (dlogits.size() > 0) dlogits.col(i).setZero();
      continue;
    }
    // loss = log(sum_j exp(z_j)) - z_target  =>  dz = softmax(z) - one_hot(target)
    const auto z = logits.col(i);
    const Scalar largest = z.maxCoeff();
    const Scalar at_target = z(target) - largest;
    Scalar total;
    if (dlogits.size() > 0) {
      auto dz = dlogits.col(i);
      dz = (z.array() - largest).exp();
      total = dz.sum();
      dz *= scale / total;
      dz(target) -= scale;
    } else {
      total = (z.array() - largest).exp().sum();
    }
    result.sum += static_cast<double>(std::log(total) - at_target);
    ++result.count;
  }
  return result;
}

/// Without a gradient.
template <class Scalar>
CrossEntropy cross_entropy(const Matrix<Scalar>& logits, Tokens targets) {
  Matrix<Scalar> none;
  return cross_entropy<Scalar>(logits, targets, Scalar(1), none);
}

}  // namespace fbt
