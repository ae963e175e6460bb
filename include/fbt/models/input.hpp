// Inputs: from what a user reads to the vectors of a core.
//   TokenInput    x = dropout(embedding(token))
//   VectorInput   x = dropout(W v + b)
// An input follows the contract of layer.hpp, with values in the place of columns: backward() has no dx to write.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/layers/dropout.hpp"
#include "fbt/layers/embedding.hpp"
#include "fbt/layers/linear.hpp"

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
      : embedding(
            (check(c.vocabulary > 0, "a model of tokens needs a vocabulary, found {} and {} inputs", c.vocabulary, c.inputs),
             c.vocabulary),
            c.width, c.embedding_deviation, random),
        dropout{c.width, c.dropout} {}

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
  void accumulate(Trace& trace, Index first, Index count, TokenInput& grad) const {
    embedding.accumulate(trace.embedding, first, count, grad.embedding);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... inputs) {
    visit_child("embedding", f, inputs.embedding...);
  }
};

template <class Scalar>
struct VectorInput {
  using Values = In<Scalar>;  ///< of a segment (inputs, T*B), the lanes of step 0 first

  Linear<Scalar> linear;  ///< W (d, inputs), b (d)
  Dropout<Scalar> dropout;

  struct Trace {
    typename Linear<Scalar>::Trace linear;
    typename Dropout<Scalar>::Trace dropout;
    Matrix<Scalar> dx;       // (d, B)
    Matrix<Scalar> dvalues;  // (inputs, T*B): the gradient of the vectors, for whoever made them
  };

  VectorInput() = default;
  /// Of any config with inputs, a width d and a dropout rate.
  template <class AnyConfig>
  VectorInput(const AnyConfig& c, Random& random)
      : linear(
            (check(c.inputs > 0, "a model of vectors needs inputs, found {} and a vocabulary of {}", c.inputs, c.vocabulary),
             c.inputs),
            c.width, random),
        dropout{c.width, c.dropout} {}

  /// Throws std::invalid_argument unless there is a vector for every step and lane.
  void check_values(const In<Scalar>& vectors, const Segment& segment) const {
    check(vectors.rows() == linear.inputs() && vectors.cols() == segment.columns(),
          "expected vectors of shape ({}, {}) ({} steps of {} lanes), found ({}, {})", linear.inputs(), segment.columns(),
          segment.steps, segment.lanes, vectors.rows(), vectors.cols());
  }

  void prepare(Trace& trace, const Segment& segment) const {
    linear.prepare(trace.linear, segment);
    dropout.prepare(trace.dropout, segment.child(0));
    trace.dx.resize(dropout.rows, segment.lanes);
    trace.dvalues.resize(linear.inputs(), segment.train ? segment.columns() : 0);
  }
  /// vectors (inputs, B), x (d, B).
  void forward(const In<Scalar>& vectors, Trace& trace, Index t, Out<Scalar> x) const {
    linear.forward(vectors, trace.linear, t, x);
    dropout.forward(x, trace.dropout, t, x);
  }
  /// dx (d, B).
  void backward(const In<Scalar>& dx, Trace& trace, Index t) const {
    dropout.backward(dx, trace.dropout, t, trace.dx);
    linear.backward(trace.dx, trace.linear, t, step_columns(trace.dvalues, t, trace.linear.lanes));
  }
  void accumulate(Trace& trace, Index first, Index count, VectorInput& grad) const {
    linear.accumulate(trace.linear, first, count, grad.linear);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... inputs) {
    visit_child("input", f, inputs.linear...);
  }
};

}  // namespace fbt
