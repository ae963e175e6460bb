// Inputs: from what a user reads to the vectors of a core.
//   TokenInput    x = dropout(embedding(token))
// An input follows the contract of layer.hpp, with values in the place of columns and no gradient with respect to them.
#pragma once

#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/layers/dropout.hpp"
#include "fbt/layers/embedding.hpp"

namespace fbt {

template <class Scalar>
struct TokenInput {
  using Values = Tokens;  ///< of a segment (T*B), the lanes of step 0 first

  Embedding<Scalar> embedding;
  Dropout<Scalar> dropout;

  struct Trace {
    typename Embedding<Scalar>::Trace embedding;
    typename Dropout<Scalar>::Trace dropout;
  };

  TokenInput() = default;
  /// Of any config with a vocabulary V, a width d, a dropout rate and the deviation of initial embeddings.
  template <class AnyConfig>
  TokenInput(const AnyConfig& c, Random& random)
      : embedding(c.vocabulary, c.width, c.embedding_deviation, random), dropout{c.width, c.dropout} {}

  /// Throws std::invalid_argument unless there is a token in [0, V) for every step and lane.
  void check_values(Tokens tokens, const Segment& segment) const { check_tokens(tokens, segment, embedding.vocabulary()); }

  void prepare(Trace& trace, const Segment& segment) const {
    embedding.prepare(trace.embedding, segment);
    dropout.prepare(trace.dropout, segment.child(0));
  }
  /// tokens (B), x (d, B).
  void forward(Tokens tokens, Trace& trace, Index t, Out<Scalar> x) const {
    embedding.forward(tokens, trace.embedding, t, x);
    dropout.forward(x, trace.dropout, t, x);
  }
  /// dx (d, B).
  void backward(const In<Scalar>& dx, Trace& trace, Index t) const {
    auto dembedded = trace.embedding.delta(t);
    dropout.backward(dx, trace.dropout, t, dembedded);
    embedding.backward(dembedded, trace.embedding, t);
  }
  void accumulate(Trace& trace, TokenInput& grad) const { embedding.accumulate(trace.embedding, grad.embedding); }

  template <class F, class... Same>
  static void visit(F&& f, Same&... inputs) {
    visit_child("embedding", f, inputs.embedding...);
  }
};

}  // namespace fbt
