// Embedding: y = row x of a table, for a token x. Follows the contract of layer.hpp with tokens in place of columns.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"

#include <algorithm>
#include <vector>

namespace fbt {

/// Throws std::invalid_argument unless there is a token in [0, V) for every step and lane of a segment.
inline void check_tokens(Tokens tokens, const Segment& segment, Index vocabulary) {
  check(static_cast<Index>(tokens.size()) == segment.columns(), "expected {} tokens ({} steps of {} lanes), found {}",
        segment.columns(), segment.steps, segment.lanes, tokens.size());
  for (const Token token : tokens)
    check(token >= 0 && token < vocabulary, "token {} is outside the vocabulary: expected 0 to {}", token, vocabulary - 1);
}

template <class Scalar>
struct Embedding {
  RowMatrix<Scalar> weight;  ///< (V, d)

  struct Trace {
    std::vector<Token> tokens;  // (T*B)
    Matrix<Scalar> dy;          // (d, delta_columns())
    Index lanes = 0;

    auto delta(Index t) { return step_columns(dy, delta_index(t), lanes); }
  };

  Embedding() = default;
  /// Normal with the given standard deviation.
  Embedding(Index vocabulary, Index width, double deviation, Random& random) : weight(vocabulary, width) {
    fill_normal(weight, deviation, random);
  }

  Index vocabulary() const { return weight.rows(); }

  void prepare(Trace& trace, const Segment& segment) const {
    trace.lanes = segment.lanes;
    trace.tokens.assign(static_cast<std::size_t>(segment.columns()), 0);
    trace.dy.resize(weight.cols(), segment.delta_columns());
  }

  /// tokens (B), each in [0, V); y (d, B).
  void forward(Tokens tokens, Trace& trace, Index t, Out<Scalar> y) const {
    eigen_assert(static_cast<Index>(tokens.size()) == trace.lanes);
    std::copy(tokens.begin(), tokens.end(), trace.tokens.begin() + t * trace.lanes);
    for (Index b = 0; b < trace.lanes; ++b) y.col(b) = weight.row(tokens[static_cast<std::size_t>(b)]).transpose();
  }

  /// There is no gradient with respect to a token: only keeps dy (d, B).
  void backward(const In<Scalar>& dy, Trace& trace, Index t) const {
    if (auto own = trace.delta(t); own.data() != dy.data()) own = dy;
  }

  void accumulate(Trace& trace, Index first, Index count, Embedding& grad) const {
    const auto dy = step_columns(trace.dy, delta_index(first), trace.lanes, count);
    // y = weight.row(x)  =>  dweight.row(x) += dy
    for (Index i = 0; i < dy.cols(); ++i)
      grad.weight.row(trace.tokens[static_cast<std::size_t>(first * trace.lanes + i)]) += dy.col(i).transpose();
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
  }
};

}  // namespace fbt
