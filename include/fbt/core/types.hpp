// Matrix types and the column layout.
//
// Activations are column-major matrices with one column per (step, lane). A lane is one of B independent sequences
// stepped side by side; a segment of T steps has T * B columns, and step t owns columns [t * B, (t + 1) * B). step_columns()
// below gives them.
#pragma once

#include "fbt/core/portability.hpp"

#include <Eigen/Core>

#include <cstdint>
#include <span>

namespace fbt {

using Index = Eigen::Index;

/// Column-major, whatever EIGEN_DEFAULT_TO_ROW_MAJOR says.
template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
/// Row-major, for tables of which whole rows are looked up.
template <class Scalar>
using RowMatrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class Scalar>
using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

/// A matrix argument that is read: any column-major block with contiguous columns binds without a copy.
template <class Scalar>
using In = Eigen::Ref<const Matrix<Scalar>, 0, Eigen::OuterStride<>>;
/// A matrix argument that is written.
template <class Scalar>
using Out = Eigen::Ref<Matrix<Scalar>, 0, Eigen::OuterStride<>>;

/// A position in a vocabulary. Negative values are labels that are not scored.
using Token = std::int32_t;
using Tokens = std::span<const Token>;

/// The columns of step t, one per lane, or of so many steps from there on.
template <class Derived>
auto step_columns(Eigen::DenseBase<Derived>& m, Index t, Index lanes, Index count = 1) {
  return m.middleCols(t * lanes, count * lanes);
}
template <class Derived>
auto step_columns(const Eigen::DenseBase<Derived>& m, Index t, Index lanes, Index count = 1) {
  return m.middleCols(t * lanes, count * lanes);
}
inline Tokens step_columns(Tokens tokens, Index t, Index lanes) {
  return tokens.subspan(static_cast<std::size_t>(t * lanes), static_cast<std::size_t>(lanes));
}

}  // namespace fbt
