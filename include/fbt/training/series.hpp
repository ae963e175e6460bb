// Series: values in time that a training reads: tokens, or the columns of a matrix. What batches and evaluation do with
// either.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <limits>
#include <vector>

namespace fbt {

/// Vectors (n, N), one column per time: a view of a matrix of the caller's, which must outlive it. vectors(matrix) gives it.
template <class Scalar>
using Vectors = Eigen::Map<const Matrix<Scalar>>;

template <class Scalar>
Vectors<Scalar> vectors(const Matrix<Scalar>& m) {
  return {m.data(), m.rows(), m.cols()};
}
/// Only so many columns, from the given one on.
template <class Scalar>
Vectors<Scalar> vectors(const Matrix<Scalar>& m, Index first, Index count) {
  check(first >= 0 && count >= 0 && first + count <= m.cols(), "expected columns within the {} of a matrix, found {} to {}",
        m.cols(), first, first + count);
  return {m.data() + first * m.rows(), m.rows(), count};
}
template <class Scalar, class... Rest>
Vectors<Scalar> vectors(Matrix<Scalar>&&, Rest...) = delete;  // it dies at the end of the call

template <class View>
struct Series {
  static_assert(sizeof(View) == 0, "a series is fbt::Tokens or fbt::Vectors<Scalar>: see fbt::vectors(matrix)");
};

template <>
struct Series<Tokens> {
  using Buffer = std::vector<Token>;

  static Index length(Tokens series) { return static_cast<Index>(series.size()); }
  /// Room for so many values of the kind.
  static Buffer room(Tokens, Index count) { return Buffer(static_cast<std::size_t>(count)); }
  static void copy(Tokens from, Index i, Index count, Buffer& to, Index j) {
    std::copy_n(from.begin() + i, count, to.begin() + j);
  }
  /// A target that is not scored.
  static void leave_out(Buffer& targets, Index j) { targets[static_cast<std::size_t>(j)] = -1; }
  static Tokens first(const Buffer& buffer, Index count) { return Tokens(buffer).first(static_cast<std::size_t>(count)); }
};

template <class Scalar>
struct Series<Vectors<Scalar>> {
  using Buffer = Matrix<Scalar>;

  static Index length(const Vectors<Scalar>& series) { return series.cols(); }
  static Buffer room(const Vectors<Scalar>& series, Index count) { return Buffer::Zero(series.rows(), count); }
  template <class From>
  static void copy(const From& from, Index i, Index count, Buffer& to, Index j) {
    to.middleCols(j, count) = from.middleCols(i, count);
  }
  static void leave_out(Buffer& targets, Index j) { targets.col(j).setConstant(std::numeric_limits<Scalar>::quiet_NaN()); }
  static Vectors<Scalar> first(const Buffer& buffer, Index count) { return {buffer.data(), buffer.rows(), count}; }
};

}  // namespace fbt
