// SequenceModel: an Input, a Core and a Head.
//   values --Input--> x (d, T*B) --Core--> h (d, T*B) --Head--> outputs (rows, T*B)
// The parts are template arguments, so that a model of another kind is a line: FeedbackTransformer, VectorModel and
// LstmModel below. Stepped through start() and step(); trained by forward() and backward() over segments, with a Memory and
// a Trace of the caller's.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/core/processors.hpp"
#include "fbt/models/feedback_core.hpp"
#include "fbt/models/head.hpp"
#include "fbt/models/input.hpp"
#include "fbt/models/lstm_core.hpp"

#include <concepts>
#include <memory>
#include <span>
#include <string_view>

namespace fbt {

/// What takes the place of a FeedbackCore in a SequenceModel. Its Trace has its Segment and StepOrder, and the places where
/// inputs are written and outputs found. Where it has check_backward(memory, trace), the way back begins with that.
template <class C>
concept SequenceCore = std::copyable<C> && std::constructible_from<C, const typename C::Config&, Random&> &&
    requires(const C core, C grad, typename C::Trace trace, typename C::Memory memory, In<typename C::Scalar> x,
             Out<typename C::Scalar> y, Segment segment) {
  { core.config() } -> std::same_as<const typename C::Config&>;
  { core.make_memory(Index{}) } -> std::same_as<typename C::Memory>;
  core.check_memory(memory, Index{});
  { core.most_slots(memory, Index{}) } -> std::same_as<Index>;
  { core.lanes_begin_alone() } -> std::same_as<bool>;
  core.prepare(trace, segment, Index{});
  core.forward(x, memory, trace, Index{}, y);
  core.backward(x, memory, trace, Index{}, y);
  core.forward_segment(memory, trace);
  core.backward_segment(y, memory, trace, grad);
  core.accumulate(trace, Index{}, Index{}, grad);
  C::visit([](std::string_view, auto&...) {}, grad, core);
  memory.clear();
  memory.clear(Index{});
  { trace.segment } -> std::same_as<Segment&>;
  { trace.order } -> std::same_as<StepOrder&>;
  trace.input(Index{});
  trace.outputs();
};

/// What takes the place of a TokenInput.
template <class I, class Scalar>
concept InputLayer = Layer<I> && requires(const I input, typename I::Trace trace, const typename I::Values& values,
                                          In<Scalar> dx, Out<Scalar> x, Segment segment) {
  input.check_values(values, segment);
  input.forward(values, trace, Index{}, x);
  input.backward(dx, trace, Index{});
};

/// What takes the place of a Head. Where it has check_weights(trace), a step begins with that.
template <class H, class Scalar>
concept HeadLayer = ColumnLayer<H, Scalar> && requires(const H head) {
  { head.outputs() } -> std::same_as<Index>;
};

template <class Input_, SequenceCore Core_, class Head_>
class SequenceModel {
  static_assert(InputLayer<Input_, typename Core_::Scalar>, "the first part of a SequenceModel is an InputLayer");
  static_assert(HeadLayer<Head_, typename Core_::Scalar>, "the last part of a SequenceModel is a HeadLayer");

 public:
  using Input = Input_;
  using Core = Core_;
  using Head = Head_;
  using Scalar = typename Core::Scalar;
  using Config = typename Core::Config;
  using Memory = typename Core::Memory;
  using Values = typename Input::Values;
  static constexpr const char* config_key = Core::config_key;

  /// What one segment keeps for its backward pass.
  struct Trace {
    typename Input::Trace input;
    typename Core::Trace core;
    typename Head::Trace head;  // over all columns of the segment as one step
    Matrix<Scalar> outputs;     // (rows, T*B)
    Matrix<Scalar> dh;          // of the core's outputs, then of its inputs (d, T*B)
    Config config;              // of the model that prepared it
  };

  /// Sequences that are read step by step: what they remember, and what a step needs.
  struct Stepper {
    Memory memory;
    Trace trace;
    std::shared_ptr<Team> team = nullptr;  ///< shared by copies; one that steps while another does goes on alone
  };

  SequenceModel() = default;
  /// Random parameters. Throws std::invalid_argument when the config does not hold.
  SequenceModel(const Config& config, Random& random);

  Input input;
  Core core;
  Head head;

  const Config& config() const { return core.config(); }

  /// Nothing is remembered by the given number of lanes. Throws std::invalid_argument unless there is at least 1.
  Memory make_memory(Index lanes) const { return core.make_memory(lanes); }

  /// For stepping the given number of lanes from the beginning. Holds keys, values and packed weights made from the present
  /// parameters: start anew after changing them, or refresh() it. step() refuses one whose weights it finds changed.
  /// Up to so many threads, and no more than there are processors for, share the work of a step where it is large enough;
  /// outputs are the same to the last bit. start(1, {threads, WeightFormat::int8}) steps with weights of 8 bits, made from
  /// those of the model.
  /// Throws std::invalid_argument unless there is at least 1 lane, and 1 to 1024 threads, and for such weights of a model
  /// that is not of float, or that has others alone (compact_weights.hpp).
  Stepper start(Index lanes, const Execution& execution = {}) const;

  /// After a change of the parameters: packs them anew for a stepper that goes on, with the memory that it has (keys and
  /// values of the old ones, as a training carries them from update to update).
  void refresh(Stepper& stepper) const { prepare_step(stepper, false); }

  /// More sequences beside those of another stepper of this model, on the same packed weights and team: nothing is packed
  /// again.
  Stepper start(Index lanes, const Stepper& other) const;

  /// Lane b goes on from what lane from[b] remembers, all at once; from now on the stepper has as many lanes: fewer when
  /// texts have ended, more where one goes on in several ways. Weights are packed again only where that was not done yet, or
  /// where they have changed, as by refresh(). (A single lane is computed in another order than two and more: the last bits
  /// of its outputs differ.) Throws std::invalid_argument, and changes nothing, for a stepper of another config, a lane that
  /// there is not, and no lane at all.
  void select_lanes(std::span<const Index> from, Stepper& stepper) const {
    check(stepper.trace.config == config(), "select_lanes: the stepper was made by a model of another config; use start()");
    stepper.memory.select(from);
    prepare_step(stepper, true);
  }

  /// Reads one value per lane (tokens (B), or vectors (inputs, B)) and remembers the step. Returns the outputs (rows, B):
  /// the logits of the next token, say, or with Config::log_probabilities their log-probabilities. They stay valid until the
  /// stepper's next step or change of lanes. Throws std::invalid_argument for a wrong number of values, a token outside the
  /// vocabulary, and a stepper of another config.
  const Matrix<Scalar>& step(const Values& values, Stepper& stepper) const;

  /// What a layer (0 .. L-1) looked at in the last step: FeedbackCore::attention().
  template <class AnyCore = Core>  // a template, since not every core has it
  Matrix<Scalar> attention(Index layer, const Stepper& stepper) const {
    check(stepper.trace.config == config(), "attention: the stepper was made by a model of another config; use start()");
    return core.attention(layer, stepper.trace.core);
  }

  /// Reads a segment of T steps: values of T*B columns, the B lanes of step 0 first. The memory is carried on from whatever
  /// it holds. Returns the outputs (rows, T*B), which the trace keeps; with segment.train, backward() may follow. Packs the
  /// weights anew. Throws std::invalid_argument for a wrong number of values, a token outside the vocabulary, and a memory
  /// of other lanes or of a model of another config. Threads: those of segment.team.
  const Matrix<Scalar>& forward(const Values& values, const Segment& segment, Memory& memory, Trace& trace) const;

  /// Goes back through the segment that forward() has just read, given the gradient of its outputs (rows, T*B), and ADDS the
  /// gradient of the parameters to grad (zeros_like(model)). What was carried from before the segment is constant. Of a
  /// model of vectors the gradient of what it has read is left in trace.input.dvalues (inputs, T*B), for whatever model made
  /// them. Throws std::invalid_argument when there is no such segment, slots have been added to the memory since, weights
  /// have changed, and for a wrong shape or a gradient of another config.
  void backward(const In<Scalar>& doutputs, const Memory& memory, Trace& trace, SequenceModel& grad) const;

  template <class F, class... Same>
  static void visit(F&& f, Same&... models) {
    Input::visit(f, models.input...);
    Core::visit(f, models.core...);
    Head::visit(f, models.head...);
  }

 private:
  void prepare(Trace& trace, const Segment& segment, Index rows) const {
    Segment all = segment;  // the head sees the whole segment as one step
    all.steps = 1;
    all.lanes = segment.columns();
    trace.config = config();
    input.prepare(trace.input, segment);
    core.prepare(trace.core, segment, rows);
    head.prepare(trace.head, all);
    trace.outputs.resize(head.outputs(), segment.columns());
    trace.dh.resize(config().width, segment.train ? segment.columns() : 0);
  }

  void prepare_step(Stepper& stepper, bool keep_packed) const {
    const WeightFormat weights = stepper.trace.core.segment.weights;
    prepare(stepper.trace,
            {.lanes = stepper.memory.lanes(), .team = stepper.team.get(), .keep_packed = keep_packed, .weights = weights},
            0);
  }

  void run(const Values& values, Memory& memory, Trace& trace) const {
    const Segment& segment = trace.core.segment;
    for (Index t = 0; t < segment.steps; ++t)
      input.forward(step_columns(values, t, segment.lanes), trace.input, t, trace.core.input(t));
    core.forward_segment(memory, trace.core);
    head.forward(trace.core.outputs(), trace.head, 0, trace.outputs);
  }
};

// Defined outside of the class, so that a compiled library of common models can take their place (extern template).

template <class Input_, SequenceCore Core_, class Head_>
SequenceModel<Input_, Core_, Head_>::SequenceModel(const Config& config, Random& random)
    : input((config.validate(), config), random), core(config, random), head(config, random) {}

template <class Input_, SequenceCore Core_, class Head_>
auto SequenceModel<Input_, Core_, Head_>::start(Index lanes, const Execution& execution) const -> Stepper {
  Stepper stepper{make_memory(lanes), {}, std::make_shared<Team>(useful_threads(execution.threads))};
  prepare(stepper.trace, {.lanes = lanes, .team = stepper.team.get(), .weights = execution.weights}, 0);
  return stepper;
}

template <class Input_, SequenceCore Core_, class Head_>
auto SequenceModel<Input_, Core_, Head_>::start(Index lanes, const Stepper& other) const -> Stepper {
  check(other.trace.config == config(), "start: the other stepper was made by a model of another config");
  Stepper stepper{make_memory(lanes), other.trace, other.team};
  prepare_step(stepper, true);
  return stepper;
}

template <class Input_, SequenceCore Core_, class Head_>
auto SequenceModel<Input_, Core_, Head_>::step(const Values& values, Stepper& stepper) const -> const Matrix<Scalar>& {
  Trace& trace = stepper.trace;
  check(trace.config == config(), "step: the stepper was made by a model of another config; use start()");
  const Segment& segment = trace.core.segment;
  check(segment.steps == 1 && !segment.train, "step: expected a stepper made by start(), found the trace of a segment");
  core.check_memory(stepper.memory, segment.lanes);
  input.check_values(values, segment);
  if constexpr (requires { head.check_weights(trace.head); })
    head.check_weights(trace.head);  // before anything is remembered of the step; the core sees to its own
  run(values, stepper.memory, trace);
  return trace.outputs;
}

template <class Input_, SequenceCore Core_, class Head_>
auto SequenceModel<Input_, Core_, Head_>::forward(const Values& values, const Segment& segment, Memory& memory,
                                                  Trace& trace) const -> const Matrix<Scalar>& {
  check(segment.steps >= 1 && segment.lanes >= 1, "forward: a segment has at least 1 step and 1 lane, found {} and {}",
        segment.steps, segment.lanes);
  core.check_memory(memory, segment.lanes);
  input.check_values(values, segment);
  prepare(trace, segment, core.most_slots(memory, segment.steps));
  run(values, memory, trace);
  return trace.outputs;
}

template <class Input_, SequenceCore Core_, class Head_>
void SequenceModel<Input_, Core_, Head_>::backward(const In<Scalar>& doutputs, const Memory& memory, Trace& trace,
                                                   SequenceModel& grad) const {
  trace.core.order.check_read();
  check(trace.config == config(), "backward: the trace was made by a model of another config");
  check(grad.config() == config(), "backward: expected a gradient made by zeros_like(model), found one of another config");
  check(doutputs.rows() == trace.outputs.rows() && doutputs.cols() == trace.outputs.cols(),
        "backward: expected the gradient of the outputs ({}, {}), found ({}, {})", trace.outputs.rows(),
        trace.outputs.cols(), doutputs.rows(), doutputs.cols());
  const Segment& segment = trace.core.segment;
  if constexpr (requires { core.check_backward(memory, trace.core); })
    core.check_backward(memory, trace.core);  // before the head adds anything to its trace
  head.backward(doutputs, trace.head, 0, trace.dh);
  core.backward_segment(trace.dh, memory, trace.core, grad.core);
  head.accumulate(trace.head, 0, 1, grad.head);
  walk_back(
      segment.steps, [&](Index t) { input.backward(step_columns(trace.dh, t, segment.lanes), trace.input, t); },
      [&](Index first, Index count) { input.accumulate(trace.input, first, count, grad.input); });
}

/// The paper's model: tokens in, logits out. Block: another one than fbt::Block, or one with another norm or feed-forward
/// part.
template <class Scalar, class Block = Block<Scalar>>
using FeedbackTransformer =
    SequenceModel<TokenInput<Scalar>, FeedbackCore<Scalar, Block>, Head<Scalar, typename Block::Norm>>;

/// Vectors in, vectors out: series of numbers, observations and actions. Config::inputs and Config::outputs are their sizes.
template <class Scalar, class Block = Block<Scalar>>
using VectorModel = SequenceModel<VectorInput<Scalar>, FeedbackCore<Scalar, Block>, Head<Scalar, typename Block::Norm>>;

/// A recurrent network, with or without attention to its past, to compare with.
template <class Scalar>
using LstmModel = SequenceModel<TokenInput<Scalar>, LstmCore<Scalar>, Head<Scalar>>;

}  // namespace fbt
