// WeightProbe: three entries of a weight matrix, to tell whether it has changed since: an update of the parameters changes
// nearly all of them. What was made from weights (packed copies, keys and values of a memory) is of no use with others.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"

#include <array>
#include <string_view>

namespace fbt {

template <class Scalar>
class WeightProbe {
 public:
  void take(const In<Scalar>& w) {
    rows_ = w.rows();
    columns_ = w.cols();
    for (std::size_t i = 0; i < 3; ++i) entries_[i] = w.size() > 0 ? entry(w, i) : Scalar(0);
  }
  bool matches(const In<Scalar>& w) const {
    if (rows_ != w.rows() || columns_ != w.cols()) return false;
    for (std::size_t i = 0; i < 3 && w.size() > 0; ++i) {
      const auto now = static_cast<double>(entry(w, i)), then = static_cast<double>(entries_[i]);
      if (is_nan(now) || is_nan(then) ? is_nan(now) != is_nan(then) : now != then) return false;
    }
    return true;
  }
  /// Throws std::invalid_argument when the weights are not those that were taken.
  void check_same(const In<Scalar>& w, std::string_view what) const {
    check(matches(w),
          "the {} ({}, {}) have changed since the Trace was prepared: call prepare() again, or a model's start()", what,
          w.rows(), w.cols());
  }

 private:
  static Scalar entry(const In<Scalar>& w, std::size_t i) {
    return i == 0 ? w(0, 0) : i == 1 ? w(w.rows() / 2, w.cols() / 2) : w(w.rows() - 1, w.cols() - 1);
  }

  Index rows_ = 0, columns_ = 0;
  std::array<Scalar, 3> entries_{};
};

}  // namespace fbt
