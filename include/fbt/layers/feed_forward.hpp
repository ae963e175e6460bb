// FeedForward: y = W2 dropout(activation(W1 x + b1)) + b2. Follows the contract of layer.hpp.
//   relu   max(0, a)
//   gelu   a Phi(a)
//   geglu  W1 has 2 f rows, [value; gate] = W1 x + b1, and the hidden vector is value * gelu(gate) (Shazeer, 2020)
// The activation is chosen at run time because checkpoints bring it with them; the choice is made once per step.
#pragma once

#include "fbt/kernels/columns.hpp"
#include "fbt/layers/dropout.hpp"
#include "fbt/layers/linear.hpp"

namespace fbt {

enum class Activation { relu, gelu, geglu };

template <class Scalar>
struct FeedForward {
  Linear<Scalar> first;   ///< (f, d), or (2 f, d) for geglu
  Linear<Scalar> second;  ///< (d, f)
  Activation activation = Activation::relu;
  Dropout<Scalar> dropout;  ///< on the hidden vector (f)

  struct Trace {
    typename Linear<Scalar>::Trace first, second;
    Matrix<Scalar> before;  // the pre-activation of gelu and geglu (rows of first, T*B, or B if nothing is differentiated)
    typename Dropout<Scalar>::Trace dropout;
    Matrix<Scalar> dhidden;  // (f, B), not for relu

    auto input(Index t) { return first.input(t); }
    auto delta(Index t) { return second.delta(t); }
  };

  FeedForward() = default;
  FeedForward(Index width, Index hidden, Activation activation_, double dropout_rate, Random& random)
      : first(width, activation_ == Activation::geglu ? 2 * hidden : hidden, random),
        second(hidden, width, random),
        activation(activation_),
        dropout{hidden, dropout_rate} {}

  void prepare(Trace& trace, const Segment& segment) const {
    first.prepare(trace.first, segment);
    second.prepare(trace.second, segment);
    dropout.prepare(trace.dropout, segment);
    const bool keep = activation != Activation::relu;
    trace.before.resize(first.outputs(), keep ? segment.train ? segment.columns() : segment.lanes : 0);
    trace.dhidden.resize(second.inputs(), keep ? segment.lanes : 0);
  }

  /// x, y (d, B). epilogue: as in Linear.
  void forward(const In<Scalar>& x, Trace& trace, Index t, Out<Scalar> y, const Epilogue<Scalar>& epilogue = {}) const {
    auto hidden = trace.second.input(t);
    const Index f = second.inputs();
    if (activation == Activation::relu) {
      first.forward(x, trace.first, t, hidden, {.relu = true});
    } else {
      auto before = before_of(trace, t);
      first.forward(x, trace.first, t, before);
      if (activation == Activation::gelu) {
        hidden = before.unaryExpr([](Scalar a) { return gelu(a); });
      } else {
        hidden = before.topRows(f).cwiseProduct(before.bottomRows(f).unaryExpr([](Scalar a) { return gelu(a); }));
      }
    }
    dropout.forward(hidden, trace.dropout, t, hidden);
    second.forward(hidden, trace.second, t, y, epilogue);
  }

  void backward(const In<Scalar>& dy, Trace& trace, Index t, Out<Scalar> dx) const {
    auto delta = trace.first.delta(t);  // da
    const Index f = second.inputs();
    Out<Scalar> dhidden = activation == Activation::relu ? Out<Scalar>(delta) : Out<Scalar>(trace.dhidden);
    second.backward(dy, trace.second, t, dhidden);
    dropout.backward(dhidden, trace.dropout, t, dhidden);
    switch (activation) {
      case Activation::relu:  // hidden = max(0, a)  =>  da = dhidden where hidden > 0; where it was dropped dhidden is 0
        relu_backward(trace.second.input(t).data(), delta.data(), delta.size());
        break;
      case Activation::gelu:  // hidden = gelu(a)  =>  da = dhidden * gelu'(a)
        delta = dhidden.cwiseProduct(before_of(trace, t).unaryExpr([](Scalar a) { return gelu_derivative(a); }));
        break;
      case Activation::geglu:
        // hidden = value * gelu(gate)  =>  dgate = dhidden * value * gelu'(gate),  dvalue = dhidden * gelu(gate)
        for (Index b = 0; b < delta.cols(); ++b) {
          const auto before = before_of(trace, t).col(b);
          for (Index i = 0; i < f; ++i) {
            const Scalar value = before(i), gate = before(f + i);
            delta(i, b) = dhidden(i, b) * gelu(gate);
            delta(f + i, b) = dhidden(i, b) * value * gelu_derivative(gate);
          }
        }
        break;
    }
    first.backward(delta, trace.first, t, dx);
  }

  void accumulate(Trace& trace, Index first_step, Index count, FeedForward& grad) const {
    first.accumulate(trace.first, first_step, count, grad.first);
    second.accumulate(trace.second, first_step, count, grad.second);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    visit_child("first", f, layers.first...);
    visit_child("second", f, layers.second...);
  }

 private:
  static auto before_of(Trace& trace, Index t) {
    const Index lanes = trace.first.lanes;
    return step_columns(trace.before, trace.first.train ? t : 0, lanes);
  }
};

}  // namespace fbt
