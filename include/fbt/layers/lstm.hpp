// Lstm: long short-term memory (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000). From the input
// x, and from the hidden vector h' and the cell c' that the step before left,
//   [i; f; o; g] = W [x; h'] + b,   c = sigmoid(f) c' + sigmoid(i) tanh(g),   h = sigmoid(o) tanh(c)
// Follows the contract of layer.hpp, with h' and c' as a further argument.
#pragma once

#include "fbt/kernels/columns.hpp"
#include "fbt/layers/linear.hpp"

namespace fbt {

/// What an Lstm carries from step to step, of B lanes.
template <class Scalar>
struct LstmCell {
  Matrix<Scalar> hidden;  ///< h (n, B)
  Matrix<Scalar> cell;    ///< c (n, B)

  LstmCell() = default;
  /// Nothing has been read: zeros.
  LstmCell(Index size, Index lanes) : hidden(Matrix<Scalar>::Zero(size, lanes)), cell(hidden) {}
};

template <class Scalar>
struct Lstm {
  Linear<Scalar> gates;  ///< W (4n, in + n), b (4n); b of f starts at 1, so that at first most of a cell is kept

  struct Trace {
    typename Linear<Scalar>::Trace gates;
    Matrix<Scalar> activated;       // [i; f; o; g] (4n, T*B)
    Matrix<Scalar> before;          // c' (n, T*B)
    Matrix<Scalar> squashed;        // tanh(c) (n, T*B)
    Matrix<Scalar> dhidden, dcell;  // (n, B): what the step after wants of h and c
    Matrix<Scalar> djoined;         // of [x; h'] (in + n, B)

    /// The gradient of what a lane carried stops here.
    void forget(Index lane) {
      dhidden.col(lane).setZero();
      dcell.col(lane).setZero();
    }
    auto input(Index t) { return gates.input(t).topRows(gates.x.rows() - dhidden.rows()); }
  };

  Lstm() = default;
  Lstm(Index in, Index size, Random& random) : gates(in + size, 4 * size, random) {
    gates.bias.segment(size, size).setOnes();
  }

  Index outputs() const { return gates.outputs() / 4; }
  Index inputs() const { return gates.inputs() - outputs(); }

  /// Also forgets what the step after wants: the segment's last step is followed by none.
  void prepare(Trace& trace, const Segment& segment) const {
    gates.prepare(trace.gates, segment);
    trace.activated.resize(gates.outputs(), segment.columns());
    trace.before.resize(outputs(), segment.columns());
    trace.squashed.resize(outputs(), segment.columns());
    trace.dhidden.setZero(outputs(), segment.lanes);
    trace.dcell.setZero(outputs(), segment.lanes);
    trace.djoined.resize(gates.inputs(), segment.lanes);
  }

  /// x (in, B), y (n, B). The cell is replaced by the one after this step.
  void forward(const In<Scalar>& x, LstmCell<Scalar>& cell, Trace& trace, Index t, Out<Scalar> y) const {
    const Index n = outputs(), lanes = trace.gates.lanes;
    auto joined = trace.gates.input(t);
    if (auto own = trace.input(t); own.data() != x.data()) own = x;
    joined.bottomRows(n) = cell.hidden;
    step_columns(trace.before, t, lanes) = cell.cell;

    auto a = step_columns(trace.activated, t, lanes);
    gates.forward(joined, trace.gates, t, a);
    a.topRows(3 * n) = a.topRows(3 * n).array().logistic();
    a.bottomRows(n) = a.bottomRows(n).array().tanh();
    const auto i = a.topRows(n).array(), f = a.middleRows(n, n).array(), o = a.middleRows(2 * n, n).array();
    const auto g = a.bottomRows(n).array();
    cell.cell = f * cell.cell.array() + i * g;
    auto squashed = step_columns(trace.squashed, t, lanes);
    squashed = cell.cell.array().tanh();
    cell.hidden = o * squashed.array();
    y = cell.hidden;
  }

  /// dy (n, B), dx (in, B). After the segment's first step trace.dhidden and trace.dcell are the gradients of h' and c' it
  /// began with.
  void backward(const In<Scalar>& dy, Trace& trace, Index t, Out<Scalar> dx) const {
    const Index n = outputs(), lanes = trace.gates.lanes;
    auto da = trace.gates.delta(t);  // of what the gates were activated from
    for (Index b = 0; b < lanes; ++b) {
      const auto before = trace.before.col(t * lanes + b), squashed = trace.squashed.col(t * lanes + b);
      const auto gate = trace.activated.col(t * lanes + b);
      auto dgate = da.col(b);
      for (Index k = 0; k < n; ++k) {
        const Scalar i = gate(k), f = gate(n + k), o = gate(2 * n + k), g = gate(3 * n + k);
        // h = o tanh(c)  =>  do = dh tanh(c),  dc += dh o (1 - tanh(c)^2)
        const Scalar dh = dy(k, b) + trace.dhidden(k, b);
        const Scalar dc = trace.dcell(k, b) + dh * o * (1 - squashed(k) * squashed(k));
        // c = f c' + i g  =>  df = dc c',  di = dc g,  dg = dc i,  dc' = dc f
        trace.dcell(k, b) = dc * f;
        // y = sigmoid(x)  =>  dx = dy y (1 - y);  y = tanh(x)  =>  dx = dy (1 - y^2)
        dgate(k) = dc * g * i * (1 - i);
        dgate(n + k) = dc * before(k) * f * (1 - f);
        dgate(2 * n + k) = dh * squashed(k) * o * (1 - o);
        dgate(3 * n + k) = dc * i * (1 - g * g);
      }
    }
    // [i; f; o; g] = W [x; h'] + b
    gates.backward(da, trace.gates, t, trace.djoined);
    dx = trace.djoined.topRows(inputs());
    trace.dhidden = trace.djoined.bottomRows(n);
  }

  void accumulate(Trace& trace, Index first, Index count, Lstm& grad) const {
    gates.accumulate(trace.gates, first, count, grad.gates);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    visit_child("gates", f, layers.gates...);
  }
};

}  // namespace fbt
