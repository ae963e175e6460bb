#include "fbt/layers/lstm.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

using namespace fbt;

namespace {

static_assert(Layer<Lstm<float>> && Layer<Lstm<double>>);

LstmCell<double> random_cell(Index size, Index lanes, Random& random) {
  LstmCell<double> cell(size, lanes);
  cell.hidden = random_matrix(size, lanes, random);
  cell.cell = random_matrix(size, lanes, random);
  return cell;
}

/// An Lstm that begins every segment with the same cell, which is checked as if it were a parameter.
struct FromCell {
  Lstm<double> lstm;
  LstmCell<double> start;

  struct Trace {
    Lstm<double>::Trace lstm;
    LstmCell<double> cell;
  };

  void prepare(Trace& trace, const Segment& segment) const {
    lstm.prepare(trace.lstm, segment);
    trace.cell = start;
  }
  void forward(const In<double>& x, Trace& trace, Index t, Out<double> y) const {
    lstm.forward(x, trace.cell, trace.lstm, t, y);
  }
  void backward(const In<double>& dy, Trace& trace, Index t, Out<double> dx) const { lstm.backward(dy, trace.lstm, t, dx); }
  void accumulate(Trace& trace, Index first, Index count, FromCell& grad) const {
    lstm.accumulate(trace.lstm, first, count, grad.lstm);
    if (first > 0) return;
    grad.start.hidden += trace.lstm.dhidden;
    grad.start.cell += trace.lstm.dcell;
  }
  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    visit_child("lstm", f, layers.lstm...);
    f("hidden", layers.start.hidden...);
    f("cell", layers.start.cell...);
  }
};

}  // namespace

TEST_CASE("Lstm: gradients, of the cell it begins with too") {
  Random random(1);
  const Index lanes = GENERATE(1, 2, 3), steps = GENERATE(1, 4);
  Lstm<double> lstm(3, 5, random);
  scatter(lstm, random);
  const GradientReport report =
      check_layer(FromCell{lstm, random_cell(5, lanes, random)}, 3, 5, random, {steps, lanes, true, 0});
  INFO(report.where);
  CHECK(report.compared == 3 * steps * lanes + 20 * 8 + 20 + 2 * 5 * lanes);
  CHECK(report.worst < 1e-8);
}

TEST_CASE("Lstm: the equations, one number at a time") {
  Random random(1);
  const Index in = 3, n = 2, lanes = 2, steps = 4;
  Lstm<double> lstm(in, n, random);
  scatter(lstm, random);
  LstmCell<double> cell = random_cell(n, lanes, random), expected = cell;
  const Matrix<double> x = random_matrix(in, steps * lanes, random);
  Matrix<double> y = Matrix<double>::Constant(n, steps * lanes, NAN);
  Lstm<double>::Trace trace;
  lstm.prepare(trace, {steps, lanes, false, 0});
  const auto sigmoid = [](double a) { return 1 / (1 + std::exp(-a)); };
  for (Index t = 0; t < steps; ++t) {
    lstm.forward(step_columns(x, t, lanes), cell, trace, t, step_columns(y, t, lanes));
    const LstmCell<double> last = expected;
    for (Index b = 0; b < lanes; ++b) {
      for (Index k = 0; k < n; ++k) {
        double gate[4];
        for (Index j = 0; j < 4; ++j) {
          gate[j] = lstm.gates.bias(j * n + k);
          for (Index i = 0; i < in; ++i) gate[j] += lstm.gates.weight(j * n + k, i) * x(i, t * lanes + b);
          for (Index i = 0; i < n; ++i) gate[j] += lstm.gates.weight(j * n + k, in + i) * last.hidden(i, b);
        }
        const double input = sigmoid(gate[0]), forget = sigmoid(gate[1]), output = sigmoid(gate[2]);
        expected.cell(k, b) = forget * last.cell(k, b) + input * std::tanh(gate[3]);
        expected.hidden(k, b) = output * std::tanh(expected.cell(k, b));
      }
    }
    CHECK(difference(cell.hidden, expected.hidden) < 1e-14);
    CHECK(difference(cell.cell, expected.cell) < 1e-14);
    CHECK(difference(step_columns(y, t, lanes), expected.hidden) < 1e-14);
  }
}

TEST_CASE("Lstm: starting values") {
  Random random(1);
  const Lstm<double> lstm(7, 9, random);
  CHECK(lstm.inputs() == 7);
  CHECK(lstm.outputs() == 9);
  CHECK(lstm.gates.weight.cwiseAbs().maxCoeff() <= 0.25);
  CHECK(lstm.gates.bias.segment(9, 9) == Vector<double>::Ones(9));
  CHECK(lstm.gates.bias.sum() == 9);
  const LstmCell<double> cell(9, 2);
  CHECK(cell.hidden == Matrix<double>::Zero(9, 2));
  CHECK(cell.cell == Matrix<double>::Zero(9, 2));
}

TEST_CASE("Lstm: an input may be written where the Trace keeps it") {
  Random random(1);
  const Lstm<double> lstm(3, 2, random);
  const Matrix<double> x = random_matrix(3, 4, random);
  Matrix<double> y(2, 4), y_in_place(2, 4);
  Lstm<double>::Trace trace, in_place;
  LstmCell<double> cell(2, 2), other(2, 2);
  lstm.prepare(trace, {2, 2, true, 0});
  lstm.prepare(in_place, {2, 2, true, 0});
  for (Index t = 0; t < 2; ++t) {
    lstm.forward(step_columns(x, t, 2), cell, trace, t, step_columns(y, t, 2));
    in_place.input(t) = step_columns(x, t, 2);
    lstm.forward(in_place.input(t), other, in_place, t, step_columns(y_in_place, t, 2));
  }
  CHECK(y_in_place == y);
  CHECK(trace.gates.x == in_place.gates.x);
}
