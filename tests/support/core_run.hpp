// How the tests of cores (models/) run one alone: vectors in, vectors out, with a memory.
#pragma once

#include "fbt/testing/gradient_check.hpp"
#include "support/helpers.hpp"

#include <algorithm>
#include <limits>
#include <string_view>

namespace fbt {

/// A core with a memory and a trace. Whole segments, or step by step.
template <class Core>
struct CoreRun {
  using Scalar = typename Core::Scalar;
  static constexpr Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();

  CoreRun(const Core& core_, Index lanes) : CoreRun(core_, core_.make_memory(lanes)) {}
  CoreRun(const Core& core_, const typename Core::Memory& carried)
      : core(&core_), memory(carried), grad(zeros_like(core_)) {}

  const Core* core;
  typename Core::Memory memory;
  typename Core::Trace trace;
  Core grad;  // of all walks back

  void prepare(const Segment& segment) { core->prepare(trace, segment, core->most_slots(memory, segment.steps)); }

  Matrix<Scalar> forward_steps(const Matrix<Scalar>& x, const Segment& segment) {
    prepare(segment);
    Matrix<Scalar> y = Matrix<Scalar>::Constant(x.rows(), x.cols(), nan);
    for (Index t = 0; t < segment.steps; ++t)
      core->forward(step_columns(x, t, segment.lanes), memory, trace, t, step_columns(y, t, segment.lanes));
    return y;
  }
  Matrix<Scalar> forward_segment(const Matrix<Scalar>& x, const Segment& segment) {
    prepare(segment);
    for (Index t = 0; t < segment.steps; ++t) trace.input(t) = step_columns(x, t, segment.lanes);
    core->forward_segment(memory, trace);
    return trace.outputs();
  }
  Matrix<Scalar> backward_steps(const Matrix<Scalar>& dy) {
    const Index lanes = trace.segment.lanes;
    Matrix<Scalar> dx = Matrix<Scalar>::Constant(dy.rows(), dy.cols(), nan);
    walk_back(
        trace.segment.steps,
        [&](Index t) { core->backward(step_columns(dy, t, lanes), memory, trace, t, step_columns(dx, t, lanes)); },
        [&](Index first, Index count) { core->accumulate(trace, first, count, grad); });
    return dx;
  }
  Matrix<Scalar> backward_segment(Matrix<Scalar> dh) {
    core->backward_segment(dh, memory, trace, grad);
    return dh;
  }
};

/// check_core() from any memory, a constant, and step by step or as a whole segment.
template <class Core>
GradientReport check_carried_core(Core core, const typename Core::Memory& carried, const Segment& segment, bool whole,
                                  Random& random) {
  const Index width = core.config().width;
  Matrix<double> x = random_matrix(width, segment.columns(), random);
  const Matrix<double> weights = random_matrix(width, segment.columns(), random);
  CoreRun run(core, carried);
  const auto loss = [&] {
    run.memory = carried;
    const Matrix<double> y = whole ? run.forward_segment(x, segment) : run.forward_steps(x, segment);
    return y.cwiseProduct(weights).sum();
  };
  loss();
  run.grad = ones_like(core);
  const Matrix<double> dx = whole ? run.backward_segment(weights) : run.backward_steps(weights);
  remove_ones(run.grad);
  GradientReport report;
  compare(report, "input", loss, x, dx);
  compare_parameters(report, loss, core, run.grad);
  return report;
}

/// The largest difference of any parameter of two twins.
template <class L>
double parameter_difference(const L& a, const L& b) {
  double largest = 0;
  visit([&](std::string_view, const auto& x, const auto& y) { largest = std::max(largest, difference(x, y)); }, a, b);
  return largest;
}

}  // namespace fbt
