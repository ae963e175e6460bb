#include "fbt/models/feedback_core.hpp"

#include "fbt/layers/compact_weights.hpp"
#include "support/catch.hpp"
#include "support/core_run.hpp"
#include "support/expect.hpp"
#include "support/small_models.hpp"

#include <limits>
#include <set>
#include <string>

using namespace fbt;

namespace {

using Core = FeedbackCore<double>;

Config config_of(MemoryRule rule) {
  Config c = small_config();
  c.norm_epsilon = 0.1;  // a norm of four small numbers bends too much for differences
  c.memory_rule = rule;
  c.share_key_value = !c.remembers_per_layer();
  return c;
}
Core scattered_core(const Config& config, Random& random) {
  Core core(config, random);
  scatter(core, random);
  return core;
}
MemoryRule any_rule() {
  return GENERATE(MemoryRule::feedback, MemoryRule::average, MemoryRule::top_only, MemoryRule::layer, MemoryRule::recurrent,
                  MemoryRule::transformer);
}

/// A memory that so many steps have been remembered in.
Core::Memory carried_memory(const Core& core, Index steps, Index lanes, Random& random) {
  CoreRun run(core, lanes);
  if (steps > 0) run.forward_segment(random_matrix(core.config().width, steps * lanes, random), {steps, lanes, true, 3});
  return run.memory;
}

}  // namespace

TEST_CASE("FeedbackCore: gradients of inputs and parameters, step by step and whole") {
  Config c = config_of(GENERATE(MemoryRule::feedback, MemoryRule::transformer));
  c.pre_norm = GENERATE(true, false);
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  const Index carried_steps = GENERATE(0, 4), lanes = 2;
  c.dropout = carried_steps > 0 ? 0.3 : 0;
  const bool whole = GENERATE(false, true);
  Random random(1);
  const Core core = scattered_core(c, random);
  const Core::Memory carried = carried_memory(core, carried_steps, lanes, random);
  const GradientReport report = check_carried_core(core, carried, {5, lanes, true, 11}, whole, random);
  INFO(describe(c) << "carried = " << carried_steps << ", whole = " << whole << ": " << report.where);
  CHECK(report.compared == c.width * 5 * lanes + count_parameters(core));
  CHECK(report.worst < 1e-7);
}

TEST_CASE("FeedbackCore: gradients where lanes have begun at different times") {
  const Config c = config_of(GENERATE(MemoryRule::feedback, MemoryRule::transformer));
  const bool whole = GENERATE(false, true);
  Random random(1);
  const Core core = scattered_core(c, random);
  Core::Memory carried = carried_memory(core, 4, 3, random);
  carried.begin = {0, carried.end - 1, carried.end};  // all of the window, one slot, none
  const GradientReport report = check_carried_core(core, carried, {5, 3, true, 11}, whole, random);
  INFO(describe(c) << "whole = " << whole << ": " << report.where);
  CHECK(report.compared == c.width * 5 * 3 + count_parameters(core));
  CHECK(report.worst < 1e-7);
}

TEST_CASE("FeedbackCore: a lane that begins anew gives what a fresh one gives, and disturbs no other") {
  Config c = config_of(any_rule());
  c.pre_norm = GENERATE(true, false);
  Random random(1);
  const Core core = scattered_core(c, random);
  const Index lanes = 2, steps = 6;
  const Core::Memory carried = carried_memory(core, 4, lanes, random);
  const Matrix<double> x = random_matrix(c.width, lanes * steps, random);
  CoreRun on(core, carried), fresh(core, lanes), mixed(core, carried);
  mixed.memory.begin[1] = mixed.memory.end;
  const Matrix<double> of_on = on.forward_segment(x, {steps, lanes, false, 0});
  const Matrix<double> of_fresh = fresh.forward_segment(x, {steps, lanes, false, 0});
  const Matrix<double> found = mixed.forward_segment(x, {steps, lanes, false, 0});
  const auto lane = [](Index b) { return Eigen::seqN(b, steps, lanes); };
  CHECK(difference(found(Eigen::all, lane(0)), of_on(Eigen::all, lane(0))) < 1e-13);
  CHECK(difference(found(Eigen::all, lane(1)), of_fresh(Eigen::all, lane(1))) < 1e-13);
  CHECK(difference(found(Eigen::all, lane(1)), of_on(Eigen::all, lane(1))) > 1e-3);
}

TEST_CASE("FeedbackCore: a whole segment is its steps, to the bit, there and back") {
  Config c = config_of(any_rule());
  c.memory_layer = c.memory_rule == MemoryRule::layer ? 1 : 0;
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  c.dropout = GENERATE(0.0, 0.3);
  const Index carried_steps = GENERATE(0, 5), lanes = 3, steps = 7;
  Random random(1);
  const Core core = scattered_core(c, random);
  const Core::Memory carried = carried_memory(core, carried_steps, lanes, random);
  const Matrix<double> x = random_matrix(c.width, lanes * steps, random), dy = random_matrix(c.width, lanes * steps, random);
  const Segment segment{steps, lanes, true, 11};
  CoreRun stepped(core, carried), whole(core, carried);
  const Matrix<double> y = stepped.forward_steps(x, segment);
  CHECK(whole.forward_segment(x, segment) == y);
  CHECK(stepped.trace.outputs() == y);
  CHECK(whole.memory.end == stepped.memory.end);
  for (std::size_t i = 0; i < whole.memory.banks.size(); ++i) {
    CHECK(whole.memory.banks[i].keys.topRows(whole.memory.end) == stepped.memory.banks[i].keys.topRows(whole.memory.end));
    CHECK(whole.memory.banks[i].values == stepped.memory.banks[i].values);
  }
  CHECK(whole.backward_segment(dy) == stepped.backward_steps(dy));
  CHECK(parameter_difference(whole.grad, stepped.grad) == 0);
  CHECK(squared_norm(whole.grad) > 1e-3);
}

TEST_CASE("FeedbackCore: gradients of a segment whose deltas are not kept all at once") {
  Config c = config_of(GENERATE(MemoryRule::feedback, MemoryRule::transformer));
  c.dropout = GENERATE(0.0, 0.3);
  c.activation = Activation::gelu;
  const bool whole = GENERATE(false, true);
  Random random(1);
  const Core core = scattered_core(c, random);
  const Core::Memory carried = carried_memory(core, 2, 2, random);
  Segment segment{delta_steps + 3, 2, true, 11};
  segment.recompute = GENERATE(false, true);
  const GradientReport report = check_carried_core(core, carried, segment, whole, random);
  INFO(describe(c) << "whole = " << whole << ", recompute = " << segment.recompute << ": " << report.where);
  CHECK(report.compared == c.width * segment.columns() + count_parameters(core));
  CHECK(report.worst < 1e-7);
}

TEST_CASE("FeedbackCore: with recompute it keeps less, and all numbers are the same to the bit") {
  Config c = config_of(any_rule());
  c.memory_layer = c.memory_rule == MemoryRule::layer ? 1 : 0;
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  c.dropout = GENERATE(0.0, 0.3);
  c.pre_norm = GENERATE(true, false);
  const Index lanes = 3, steps = GENERATE(16, 32, 35);
  CAPTURE(describe(c), steps);
  Random random(1);
  const Core core = scattered_core(c, random);
  const Core::Memory carried = carried_memory(core, 5, lanes, random);
  const Matrix<double> x = random_matrix(c.width, lanes * steps, random), dy = random_matrix(c.width, lanes * steps, random);
  Segment segment{steps, lanes, true, 11};
  std::vector<std::uint8_t> starts(static_cast<std::size_t>(segment.columns()));
  if (c.empty_memory == EmptyMemory::skip) {
    starts[static_cast<std::size_t>(7 * lanes + 1)] = 1;
    for (Index b = 0; b < lanes; ++b) starts[static_cast<std::size_t>(11 * lanes + b)] = 1;  // nothing to see for any lane
    segment.starts = starts;
  }
  CoreRun kept(core, carried), again(core, carried);
  const bool whole = GENERATE(false, true);
  const auto forward = [&](CoreRun<Core>& run) {
    return whole ? run.forward_segment(x, segment) : run.forward_steps(x, segment);
  };
  const auto backward = [&](CoreRun<Core>& run) { return whole ? run.backward_segment(dy) : run.backward_steps(dy); };
  const Matrix<double> y = forward(kept);
  segment.recompute = true;
  CHECK(forward(again) == y);
  const auto columns = [](CoreRun<Core>& run) { return run.trace.blocks[0].feed_forward.second.x.cols(); };
  CHECK(columns(kept) == steps * lanes);
  CHECK(columns(again) == delta_steps * lanes);
  CHECK(backward(again) == backward(kept));
  CHECK(again.trace.outputs() == y);
  CHECK(parameter_difference(kept.grad, again.grad) == 0);
  CHECK(squared_norm(kept.grad) > 1e-3);
}

TEST_CASE("FeedbackCore: with recompute weights that have changed since are refused") {
  Random random(1);
  Core core = scattered_core(config_of(MemoryRule::feedback), random);
  const Matrix<double> x = random_matrix(4, 2 * 20, random);
  Segment segment{20, 2, true, 0};
  segment.recompute = true;
  CoreRun run(core, 2);
  run.forward_segment(x, segment);
  auto& weight = core.blocks[1].feed_forward.first.weight;
  weight *= 2;
  CHECK_THROWS_WITH(run.backward_segment(x),
                    "the weights (3, 4) have changed since the Trace was "
                    "prepared: call prepare() again, or a model's start()");
  weight *= 0.5;  // the walk back had begun
  CHECK_THROWS_WITH(run.backward_segment(x), "backward: expected step 14, found 19");
  run.forward_segment(x, segment);
  run.backward_segment(x);
  CHECK(squared_norm(run.grad) > 0);

  // also the position term, which blocks share
  const auto message = [&](auto& tensor) {
    CoreRun shared(core, 2);
    shared.forward_segment(x, segment);
    tensor *= 2;
    return message_of<std::invalid_argument>([&] { shared.backward_segment(x); });
  };
  CHECK(message(core.positions[0].weight).starts_with("the positions (3, 2) have changed since"));
}

TEST_CASE("FeedbackCore: a Trace whose preparation was refused is not prepared") {
  Random random(1);
  FeedbackCore<float> core(config_of(MemoryRule::feedback), random);
  compact_weights(core, WeightFormat::int8);
  FeedbackCore<float>::Trace trace;
  CHECK_THROWS_AS(core.prepare(trace, {2, 2, true, 0}), std::invalid_argument);
  auto memory = core.make_memory(2);
  const Matrix<float> x = Matrix<float>::Zero(4, 2);
  Matrix<float> y(4, 2);
  CHECK_THROWS_WITH(core.forward(x, memory, trace, 0, y),
                    "forward: expected a Trace that prepare() has sized, found one that it has not");
}

TEST_CASE("FeedbackCore: inputs and outputs in the trace's own places are not copied, others are") {
  Random random(1);
  const Core core = scattered_core(config_of(MemoryRule::feedback), random);
  const Matrix<double> x = random_matrix(4, 2, random);
  CoreRun own(core, 2), other(core, 2);
  own.prepare({1, 2, false, 0});
  own.trace.input(0) = x;
  core.forward(own.trace.input(0), own.memory, own.trace, 0, own.trace.output(0));
  CHECK(own.trace.outputs() == other.forward_steps(x, {1, 2, false, 0}));
  CHECK(other.trace.input(0) == x);
}

TEST_CASE("FeedbackCore: a call that is refused moves nothing") {
  const Config c = config_of(GENERATE(MemoryRule::feedback, MemoryRule::transformer));
  Random random(1);
  const Core core = scattered_core(c, random);
  const Matrix<double> x = random_matrix(c.width, 6, random);
  Matrix<double> y(c.width, 2);
  CoreRun run(core, 2), plain(core, 2);
  Core::Memory wrong = core.make_memory(3);
  run.prepare({3, 2, true, 0});
  CHECK_THROWS_WITH(core.forward(x.leftCols(2), wrong, run.trace, 0, y), "the memory has 3 lanes, expected 2");
  CHECK_THROWS_WITH(core.forward(x.leftCols(2), run.memory, run.trace, 1, y),
                    "forward: expected step 0 of a segment of 3, found 1");
  CHECK(run.memory.end == 0);
  for (Index t = 0; t < 3; ++t) core.forward(step_columns(x, t, 2), run.memory, run.trace, t, y);
  const Matrix<double> expected = plain.forward_steps(x, {3, 2, true, 0});
  CHECK(run.trace.outputs() == expected);

  // nor does a walk back that is refused
  Core::Memory cleared = run.memory;
  cleared.clear();
  CHECK_THROWS_WITH(core.backward(x.leftCols(2), cleared, run.trace, 2, y),
                    "backward: the memory has changed since forward(): expected 3 slots in use, found 0");
  CHECK(run.backward_steps(x) == plain.backward_steps(x));
}

TEST_CASE("FeedbackCore: a memory that a refused step was to begin with has no zero slots yet") {
  Config c = config_of(MemoryRule::feedback);
  c.empty_memory = EmptyMemory::zero_slots;
  Random random(1);
  const Core core = scattered_core(c, random);
  const Matrix<double> x = random_matrix(c.width, 4, random);
  CoreRun run(core, 2);
  run.forward_steps(x, {2, 2, true, 0});
  run.backward_steps(x);
  Core::Memory fresh = core.make_memory(2);
  Matrix<double> y(c.width, 2);
  CHECK_THROWS_WITH(core.forward(x.leftCols(2), fresh, run.trace, 0, y),
                    "forward: expected prepare() after a walk back, before the next segment is read");
  CHECK(fresh.end == 0);
  Core::Trace narrow;
  core.prepare(narrow, {2, 2, true, 0}, 1);
  CHECK_THROWS_AS(core.forward(x.leftCols(2), fresh, narrow, 0, y), std::invalid_argument);
  CHECK(fresh.end == 0);
}

TEST_CASE("FeedbackCore: a Trace that was not prepared does not spoil a memory") {
  Random random(1);
  const Core core = scattered_core(config_of(MemoryRule::feedback), random);
  CoreRun run(core, 1);
  const Matrix<double> x = random_matrix(4, 1, random);
  run.forward_steps(x, {1, 1, false, 0});
  Core::Trace none;
  Matrix<double> y(4, 1);
  CHECK_THROWS_AS(core.forward(x, run.memory, none, 0, y), std::invalid_argument);
  CHECK(run.memory.window == 3);
  CHECK(run.memory.end == 1);
}

TEST_CASE("FeedbackCore: steps in a wrong order are refused") {
  const Config c = config_of(GENERATE(MemoryRule::feedback, MemoryRule::transformer));
  Random random(1);
  const Core core = scattered_core(c, random);
  const Matrix<double> x = random_matrix(c.width, 2, random);
  Matrix<double> y(c.width, 2);
  Core grad = zeros_like(core);
  CoreRun run(core, 2);
  const auto forward = [&](Index t) { core.forward(x, run.memory, run.trace, t, y); };
  const auto backward = [&](Index t) { core.backward(x, run.memory, run.trace, t, y); };
  const auto backward_segment = [&] { run.backward_segment(Matrix<double>::Ones(c.width, 6)); };
  constexpr const char* none_read =
      "backward: expected a segment that forward() has read with segment.train, once each, found none";
  constexpr const char* none_walked =
      "accumulate: expected steps that backward() has gone through since the last time, found none";

  CHECK_THROWS_AS(forward(0), std::invalid_argument);  // not prepared
  CHECK_THROWS_WITH(backward(0), none_read);
  CHECK_THROWS_WITH(core.accumulate(run.trace, 0, 3, grad), none_walked);
  run.prepare({3, 2, true, 0});
  CHECK_THROWS_WITH(forward(1), "forward: expected step 0 of a segment of 3, found 1");
  CHECK_THROWS_WITH(forward(-1), "forward: expected step 0 of a segment of 3, found -1");
  CHECK_THROWS_WITH(backward(2), none_read);
  CHECK_THROWS_WITH(backward_segment(), none_read);
  forward(0);
  CHECK_THROWS_WITH(forward(2), "forward: expected step 1 of a segment of 3, found 2");
  forward(1);
  CHECK_THROWS_WITH(forward(1), "forward: expected step 2 of a segment of 3, found 1");
  CHECK_THROWS_WITH(backward(1), none_read);  // not all of it has been read
  forward(2);
  CHECK_THROWS_WITH(forward(3), "forward: expected step 3 of a segment of 3, found 3");
  CHECK_THROWS_WITH(backward(1), "backward: expected step 2, found 1");
  CHECK_THROWS_WITH(core.accumulate(run.trace, 0, 3, grad), none_walked);
  backward(2);
  CHECK_THROWS_WITH(core.accumulate(run.trace, 0, 3, grad), "accumulate: expected the 1 steps from 2 on, found 3 from 0 on");
  CHECK_THROWS_WITH(backward(2), "backward: expected step 1, found 2");
  CHECK_THROWS_WITH(backward(0), "backward: expected step 1, found 0");
  backward(1);
  backward(0);
  CHECK_THROWS_WITH(backward(2), none_read);  // once each
  CHECK_THROWS_WITH(backward_segment(), none_read);
  CHECK(squared_norm(grad) == 0);
  core.accumulate(run.trace, 0, 3, grad);
  CHECK(squared_norm(grad) > 0);
  CHECK_THROWS_WITH(core.accumulate(run.trace, 0, 3, grad), none_walked);

  // step 0 begins the segment again, until a walk back has begun
  CHECK_THROWS_WITH(forward(0), "forward: expected prepare() after a walk back, before the next segment is read");
  run.prepare({3, 2, true, 0});
  forward(0);
  forward(1);
  forward(0);
  CHECK_THROWS_WITH(forward(2), "forward: expected step 1 of a segment of 3, found 2");
  forward(1);
  forward(2);
  backward(2);

  // a trace that is not for training
  run.prepare({3, 2, false, 0});
  for (Index t = 0; t < 3; ++t) forward(t);
  CHECK_THROWS_WITH(backward(2), none_read);
  CHECK_THROWS_WITH(backward_segment(), none_read);
  CHECK_THROWS_WITH(core.accumulate(run.trace, 0, 3, grad), none_walked);
}

TEST_CASE("FeedbackCore: a memory that does not fit, or has changed, is refused") {
  Random random(1);
  const Config c = config_of(GENERATE(MemoryRule::feedback, MemoryRule::transformer));
  const Core core = scattered_core(c, random);
  const Matrix<double> x = random_matrix(c.width, 6, random);
  const Segment segment{3, 2, true, 0};
  CHECK_THROWS_WITH(core.make_memory(0), "memory: lanes must be at least 1, found 0");
  CoreRun run(core, 2);
  const auto refused = [&](const Core::Memory& memory, const std::string& why) {
    CoreRun other(core, memory);
    CHECK_THROWS_WITH(other.forward_steps(x, segment), ContainsSubstring(why));
    CHECK_THROWS_WITH(other.forward_segment(x, segment), ContainsSubstring(why));
    CHECK(other.memory.end == memory.end);  // nothing was remembered
  };
  refused(core.make_memory(3), "the memory has 3 lanes, expected 2");
  const std::string made_by_other = "the memory was made by a model of another config: expected ";
  Config other = c;
  other.window = 4;
  refused(Core(other, random).make_memory(2), made_by_other);
  other = c;
  other.heads = 1;
  refused(Core(other, random).make_memory(2), made_by_other);
  other = c;
  other.head_size = 5;
  refused(Core(other, random).make_memory(2), made_by_other);
  other = c;
  other.share_key_value = false;
  other.layers = 3;
  refused(Core(other, random).make_memory(2), made_by_other);

  // room for fewer slots than the memory shows
  const Core::Memory carried = carried_memory(core, 3, 2, random);
  CoreRun narrow(core, carried);
  core.prepare(narrow.trace, segment, 2);
  Matrix<double> y(c.width, 2);
  CHECK_THROWS_WITH(core.forward(x.leftCols(2), narrow.memory, narrow.trace, 0, y),
                    "forward: the Trace was prepared for windows of at most 2 slots, found 3");

  // a memory that has changed since the segment was read
  const auto changed = [&](auto&& change, Index found) {
    for (const bool whole : {false, true}) {
      CoreRun walked(core, 2);
      walked.forward_segment(x, segment);
      change(walked.memory);
      CHECK_THROWS_WITH(
          whole ? walked.backward_segment(x) : walked.backward_steps(x),
          "backward: the memory has changed since forward(): expected 3 slots in use, found " + std::to_string(found));
    }
  };
  changed([](Core::Memory& memory) { memory.clear(); }, 0);
  changed([](Core::Memory& memory) { memory.banks.clear(); }, 0);
  changed([](Core::Memory& memory) { ++memory.end; }, 4);
}

TEST_CASE("FeedbackCore: another memory rule, in place") {
  Random random(1);
  Core core = scattered_core(config_of(MemoryRule::transformer), random);
  const Core before = core;
  core.set_memory_rule(MemoryRule::layer, 2);
  CHECK(core.config().memory_rule == MemoryRule::layer);
  CHECK(core.config().memory_layer == 2);
  CHECK(parameter_difference(core, before) == 0);  // nothing of it is learned
  core.set_memory_rule(MemoryRule::feedback);
  CHECK(core.aggregator.mix.weight == Vector<double>::Zero(3));
  CHECK(count_parameters(core) == count_parameters(before) + 3);
  CHECK_THROWS_WITH(core.set_memory_rule(MemoryRule::layer, 3), ContainsSubstring("memory_layer must be between 0 and 2"));
  CHECK(core.config().memory_rule == MemoryRule::feedback);
  core.aggregator.mix.weight << 1, 2, 3;
  core.set_memory_rule(MemoryRule::feedback);  // its own
  CHECK(core.aggregator.mix.weight == Vector<double>{{1, 2, 3}});
}

namespace {

// A norm and a feed-forward part that are not those of the library: swapping one is a template argument.
struct Scale {
  Vector<double> weight;

  struct Trace {
    Matrix<double> x, dy;
    Index lanes = 0;
  };

  Scale() = default;
  Scale(Index width, double) : weight(Vector<double>::Ones(width)) {}
  void prepare(Trace& trace, const Segment& segment) const {
    trace.lanes = segment.lanes;
    trace.x.resize(weight.size(), segment.columns());
    trace.dy.resize(weight.size(), segment.delta_columns());
    trace.x.setConstant(std::numeric_limits<double>::quiet_NaN());
  }
  void forward(const In<double>& x, Trace& trace, Index t, Out<double> y) const {
    step_columns(trace.x, t, trace.lanes) = x;
    y = weight.asDiagonal() * x;
  }
  void backward(const In<double>& dy, Trace& trace, Index t, Out<double> dx) const {
    step_columns(trace.dy, delta_index(t), trace.lanes) = dy;
    dx = weight.asDiagonal() * dy;
  }
  void accumulate(const Trace& trace, Index first, Index count, Scale& grad) const {
    const auto x = step_columns(trace.x, first, trace.lanes, count);
    const auto dy = step_columns(trace.dy, delta_index(first), trace.lanes, count);
    grad.weight += x.cwiseProduct(dy).rowwise().sum();
  }
  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
  }
};

struct Wave {  // y = a * sin(x)
  Vector<double> weight;

  struct Trace {
    Matrix<double> x, dy;
    Index lanes = 0;
  };

  Wave() = default;
  Wave(Index width, Index, Activation, double, Random& random) : weight(width) { fill_normal(weight, 1, random); }
  void prepare(Trace& trace, const Segment& segment) const {
    trace.lanes = segment.lanes;
    trace.x.resize(weight.size(), segment.columns());
    trace.dy.resize(weight.size(), segment.columns());
  }
  void forward(const In<double>& x, Trace& trace, Index t, Out<double> y) const {
    step_columns(trace.x, t, trace.lanes) = x;
    y = weight.asDiagonal() * x.array().sin().matrix();
  }
  void backward(const In<double>& dy, Trace& trace, Index t, Out<double> dx) const {
    step_columns(trace.dy, t, trace.lanes) = dy;
    dx = (weight.asDiagonal() * dy).cwiseProduct(step_columns(trace.x, t, trace.lanes).array().cos().matrix());
  }
  void accumulate(const Trace& trace, Index first, Index count, Wave& grad) const {
    const auto x = step_columns(trace.x, first, trace.lanes, count), dy = step_columns(trace.dy, first, trace.lanes, count);
    grad.weight += x.array().sin().matrix().cwiseProduct(dy).rowwise().sum();
  }
  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
  }
};

}  // namespace

TEST_CASE("FeedbackCore: gradients with another norm and another feed-forward part") {
  Config c = config_of(GENERATE(MemoryRule::feedback, MemoryRule::transformer));
  c.pre_norm = GENERATE(true, false);
  c.dropout = GENERATE(0.0, 0.3);
  const bool whole = GENERATE(false, true);
  Random random(1);
  using Other = FeedbackCore<double, Block<double, Scale, Wave>>;
  Other core(c, random);
  scatter(core, random);
  std::set<std::string> names;
  visit([&](std::string_view name, const auto&) { names.emplace(name); }, core);
  CHECK(names.contains("blocks.1.feed_forward.weight"));
  CHECK_FALSE(names.contains("blocks.1.norm2.bias"));
  CoreRun before(core, 2);
  if (GENERATE(false, true)) before.forward_segment(random_matrix(c.width, 8, random), {4, 2, true, 1});
  const Index steps = GENERATE(5, 19);   // more than those whose deltas are kept
  if (steps > 5 && !c.pre_norm) return;  // without norms numbers grow from step to step, beyond what differences resolve
  const GradientReport report = check_carried_core(core, before.memory, {steps, 2, true, 11}, whole, random);
  INFO(describe(c) << "whole = " << whole << ", steps = " << steps << ": " << report.where);
  CHECK(report.compared == c.width * steps * 2 + count_parameters(core));
  CHECK(report.worst < 1e-7);
}
