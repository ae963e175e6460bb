// Losses: what is minimised, and its gradient with respect to the outputs of a model.
//   CrossEntropy   -log softmax(outputs)_label, of labels that are numbers of classes
//   SquaredError   (output - target)^2, of targets that are vectors
// A loss of your own has Targets (how the targets of a segment are passed), count() and a call operator, as these have.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"
#include "fbt/training/series.hpp"

#include <cmath>
#include <type_traits>

namespace fbt {

struct LossSum {
  double sum = 0;   ///< over what was scored: nats of cross-entropy, squares of differences
  Index count = 0;  ///< how much was scored: labels, entries of vectors

  /// Not a number when nothing was scored.
  double mean() const { return sum / static_cast<double>(count); }
  LossSum& operator+=(const LossSum& other) {
    sum += other.sum;
    count += other.count;
    return *this;
  }
};

namespace detail {

/// Throws std::invalid_argument unless a gradient has the shape of the outputs, or is empty.
template <class Scalar>
void check_gradient_shape(const char* loss, const In<Scalar>& outputs, const Out<Scalar>& doutputs) {
  check(doutputs.size() == 0 || (doutputs.rows() == outputs.rows() && doutputs.cols() == outputs.cols()),
        "{}: expected a gradient of shape ({}, {}), found ({}, {})", loss, outputs.rows(), outputs.cols(), doutputs.rows(),
        doutputs.cols());
}

}  // namespace detail

/// Cross-entropy of softmax(logits) with labels (torch.nn.functional.cross_entropy, summed). A negative label is not scored.
struct CrossEntropy {
  using Targets = Tokens;

  /// The share of a label that is spread evenly over all classes (torch: label_smoothing), at least 0 and below 1.
  double smoothing = 0;

  /// How many labels are scored.
  static Index count(Tokens labels) {
    Index scored = 0;
    for (const Token label : labels) scored += label >= 0;
    return scored;
  }

  /// logits (V, N), labels (N). dlogits (V, N) becomes scale * d(sum of losses) / dlogits; it may be logits itself, or empty
  /// when no gradient is wanted. Throws std::invalid_argument when a label is V or more or the sizes do not fit.
  template <class Scalar>
  LossSum operator()(const std::type_identity_t<In<Scalar>>& logits, Tokens labels, Scalar scale,
                     std::type_identity_t<Out<Scalar>> dlogits) const {
    check(static_cast<Index>(labels.size()) == logits.cols(), "cross-entropy: {} targets for {} columns of logits",
          labels.size(), logits.cols());
    detail::check_gradient_shape<Scalar>("cross-entropy", logits, dlogits);
    check(smoothing >= 0 && smoothing < 1, "cross-entropy: smoothing must be at least 0 and below 1, found {}", smoothing);
    const auto spread = static_cast<Scalar>(smoothing), even = spread / static_cast<Scalar>(logits.rows());
    LossSum result;
    for (Index i = 0; i < logits.cols(); ++i) {
      const Token target = labels[static_cast<std::size_t>(i)];
      check(target < logits.rows(), "cross-entropy: target {} is outside the vocabulary of {}", target, logits.rows());
      if (target < 0) {
        if (dlogits.size() > 0) dlogits.col(i).setZero();
        continue;
      }
      // loss = log(sum_j exp(z_j)) - (1 - s) z_target - s mean_j(z_j)  =>  dz = softmax(z) - (1 - s) one_hot(target) - s / V
      const auto z = logits.col(i);
      const Scalar largest = z.maxCoeff();
      Scalar at_target = z(target) - largest;
      if (spread > 0) at_target += spread * (z.mean() - z(target));
      Scalar total;
      if (dlogits.size() > 0) {
        auto dz = dlogits.col(i);
        dz = (z.array() - largest).exp();
        total = dz.sum();
        dz *= scale / total;
        dz(target) -= scale * (1 - spread);
        if (spread > 0) dz.array() -= scale * even;
      } else {
        total = (z.array() - largest).exp().sum();
      }
      result.sum += static_cast<double>(std::log(total) - at_target);
      ++result.count;
    }
    return result;
  }
};

/// Squared differences (torch.nn.functional.mse_loss; the mean is over entries). A target that is not a number is not
/// scored.
template <class Scalar>
struct SquaredError {
  using Targets = Vectors<Scalar>;

  /// How many entries are scored.
  static Index count(const Vectors<Scalar>& targets) {
    return targets.unaryExpr([](Scalar y) { return Index{scores(y)}; }).sum();
  }

  /// outputs, targets (n, N). doutputs (n, N): as that of CrossEntropy.
  LossSum operator()(const In<Scalar>& outputs, const Vectors<Scalar>& targets, Scalar scale, Out<Scalar> doutputs) const {
    check(targets.rows() == outputs.rows() && targets.cols() == outputs.cols(),
          "squared error: expected targets of shape ({}, {}), found ({}, {})", outputs.rows(), outputs.cols(),
          targets.rows(), targets.cols());
    detail::check_gradient_shape<Scalar>("squared error", outputs, doutputs);
    LossSum result;
    for (Index i = 0; i < outputs.cols(); ++i) {
      for (Index k = 0; k < outputs.rows(); ++k) {
        const bool scored = scores(targets(k, i));
        const Scalar difference = scored ? outputs(k, i) - targets(k, i) : Scalar(0);
        if (doutputs.size() > 0) doutputs(k, i) = 2 * scale * difference;  // loss = (y - target)^2  =>  dy = 2 (y - target)
        result.sum += static_cast<double>(difference) * static_cast<double>(difference);
        result.count += scored;
      }
    }
    return result;
  }

 private:
  static bool scores(Scalar target) { return !is_nan(static_cast<double>(target)); }
};

/// The cross-entropy of logits (V, N) with labels (N), without a gradient.
template <class Scalar>
LossSum cross_entropy(const Matrix<Scalar>& logits, Tokens labels) {
  Matrix<Scalar> none;
  return CrossEntropy{}(logits, labels, Scalar(1), none);
}

}  // namespace fbt
