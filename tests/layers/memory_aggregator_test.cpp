#include "fbt/layers/memory_aggregator.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

using namespace fbt;

static_assert(Layer<MemoryAggregator<float>> && Layer<MemoryAggregator<double>>);

namespace {

using Aggregator = MemoryAggregator<double>;
constexpr Index width = 4, layers = 2, lanes = 2, window = 2;

MemoryOptions options_of(MemoryRule rule) {
  MemoryOptions options;
  options.rule = rule;
  options.layers = layers;
  options.width = width;
  options.heads = 2;
  options.head_size = 3;
  options.window = window;
  options.share_key_value = !info_of(rule).per_layer();
  options.norm_epsilon = 0.1;
  return options;
}
Aggregator scattered_aggregator(const MemoryOptions& options, Random& random) {
  Aggregator aggregator(options, random);
  scatter(aggregator, random);
  return aggregator;
}
MemoryRule any_rule() {
  return GENERATE(MemoryRule::feedback, MemoryRule::average, MemoryRule::top_only, MemoryRule::layer, MemoryRule::recurrent,
                  MemoryRule::transformer);
}

/// Remembers the stacks of a segment.
void remember_all(const Aggregator& aggregator, const Matrix<double>& stacks, const Segment& segment, Memory<double>& memory,
                  Aggregator::Trace& trace) {
  aggregator.prepare(trace, segment);
  aggregator.begin(trace, memory);
  for (Index t = 0; t < segment.steps; ++t) {
    trace.input(t) = step_columns(stacks, t, segment.lanes);
    aggregator.forward(trace, t, memory);
  }
}

}  // namespace

TEST_CASE("MemoryRule: the table has every rule at its own place, under a name of its own") {
  const std::vector<MemoryRule> all{MemoryRule::feedback, MemoryRule::average,   MemoryRule::top_only,
                                    MemoryRule::layer,    MemoryRule::recurrent, MemoryRule::transformer};
  CHECK(memory_rules.size() == all.size());
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < memory_rules.size(); ++i) {
    CHECK(memory_rules[i].rule == static_cast<MemoryRule>(i));
    CHECK(memory_rules[i].rule == all[i]);
    CHECK(info_of(all[i]).name == memory_rules[i].name);
    CHECK(names.insert(memory_rules[i].name).second);
  }
  for (const MemoryRule rule : all) {
    CHECK(info_of(rule).per_layer() == (rule == MemoryRule::recurrent || rule == MemoryRule::transformer));
    CHECK(info_of(rule).layer_by_layer() == (rule == MemoryRule::transformer));
  }
}

TEST_CASE("MemoryAggregator: gradients of every rule, from the stack to keys and values") {
  MemoryOptions options = options_of(any_rule());
  options.layer = options.rule == MemoryRule::layer ? GENERATE(0, 1, 2) : 0;
  if (!info_of(options.rule).per_layer()) options.share_key_value = GENERATE(true, false);
  options.norm = GENERATE(MemoryNorm::none, MemoryNorm::own, MemoryNorm::soft);
  options.empty = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  options.value_bias = options.empty == EmptyMemory::zero_slots;
  const Index carried_steps = GENERATE(0, 1);
  Random random(1);
  Aggregator aggregator = scattered_aggregator(options, random);
  const Segment segment{3, lanes, true, 0};
  const Index rows = (layers + 1) * width;
  Aggregator::Trace trace;
  Memory<double> carried = aggregator.make_memory(lanes);
  if (carried_steps > 0)
    remember_all(aggregator, random_matrix(rows, carried_steps * lanes, random), {carried_steps, lanes, false, 0}, carried,
                 trace);
  const bool fresh_zeros = carried_steps == 0 && options.empty == EmptyMemory::zero_slots;
  const Index slots = (fresh_zeros ? window : 0) + segment.steps;
  Matrix<double> stacks = random_matrix(rows, segment.columns(), random);
  std::vector<Matrix<double>> of_keys, of_values;  // of every bank: (slots, e*H*B), (e, slots*H*B)
  for (std::size_t i = 0; i < aggregator.key_values.size(); ++i) {
    of_keys.push_back(random_matrix(slots, 3 * 2 * lanes, random));
    of_values.push_back(random_matrix(3, slots * 2 * lanes, random));
  }

  const auto loss = [&] {
    Memory<double> memory = carried;
    remember_all(aggregator, stacks, segment, memory, trace);
    const Index first = memory.end - slots;  // gradients of the slots before it are not asked for
    double sum = 0;
    for (std::size_t i = 0; i < memory.banks.size(); ++i) {
      sum += memory.banks[i].keys.middleRows(first, slots).cwiseProduct(of_keys[i]).sum();
      for (Index b = 0; b < lanes; ++b)
        for (Index j = 0; j < 2; ++j)
          sum += memory.banks[i]
                     .value(b, j, {first, slots})
                     .cwiseProduct(of_values[i].middleCols((b * 2 + j) * slots, slots))
                     .sum();
    }
    return sum;
  };
  loss();
  Memory<double> memory = carried;
  remember_all(aggregator, stacks, segment, memory, trace);
  CHECK(trace.fresh_zeros == fresh_zeros);
  const Index first = memory.end - slots;
  CHECK(first + (fresh_zeros ? window : 0) == trace.first_slot);
  aggregator.begin_backward(trace, memory);
  for (std::size_t i = 0; i < memory.banks.size(); ++i) {
    CHECK(trace.dbanks[i].keys.topRows(memory.end).isZero(0));
    trace.dbanks[i].keys.middleRows(first, slots) = of_keys[i];
    for (Index b = 0; b < lanes; ++b)
      for (Index j = 0; j < 2; ++j)
        trace.dbanks[i].value(b, j, {first, slots}) = of_values[i].middleCols((b * 2 + j) * slots, slots);
  }
  Matrix<double> dstacks = Matrix<double>::Constant(rows, segment.columns(), std::numeric_limits<double>::quiet_NaN());
  for (Index t = segment.steps - 1; t >= 0; --t) aggregator.backward(trace, t, step_columns(dstacks, t, lanes));
  for (std::size_t i = 0; i < aggregator.key_values.size(); ++i) aggregator.end_backward(i, trace);
  Aggregator grad = ones_like(aggregator);
  aggregator.accumulate(trace, 0, segment.steps, grad);
  remove_ones(grad);

  GradientReport report;
  compare(report, "stack", loss, stacks, dstacks);
  compare_parameters(report, loss, aggregator, grad);
  INFO(report.where << ", rule " << info_of(options.rule).name << ", carried " << carried_steps);
  CHECK(report.compared == stacks.size() + count_parameters(aggregator));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("MemoryAggregator: what every rule remembers") {
  MemoryOptions options = options_of(any_rule());
  options.layer = options.rule == MemoryRule::layer ? 1 : 0;
  options.share_key_value = false;
  Random random(1);
  const Aggregator aggregator = scattered_aggregator(options, random);
  const Matrix<double> stack = random_matrix((layers + 1) * width, lanes, random);
  Memory<double> memory = aggregator.make_memory(lanes);
  Aggregator::Trace trace;
  remember_all(aggregator, stack, {1, lanes, false, 0}, memory, trace);
  CHECK(memory.end == 1);
  CHECK(memory.banks.size() == layers);
  for (std::size_t i = 0; i < layers; ++i) {
    CHECK(aggregator.bank_of(i) == i);
    const auto h = [&](Index l) { return stack.middleRows(l * width, width); };
    Matrix<double> vector = Matrix<double>::Zero(width, lanes);
    switch (options.rule) {
      case MemoryRule::feedback: {
        const auto weights = aggregator.mix.weight.array().exp().eval();
        for (Index l = 0; l <= layers; ++l) vector += weights(l) / weights.sum() * h(l);
        break;
      }
      case MemoryRule::average: vector = (h(0) + h(1) + h(2)) / 3; break;
      case MemoryRule::top_only: vector = h(2); break;
      case MemoryRule::layer: vector = h(1); break;
      case MemoryRule::recurrent: vector = h(static_cast<Index>(i) + 1); break;
      case MemoryRule::transformer: vector = h(static_cast<Index>(i)); break;
    }
    KeyValue<double>::Trace of;
    aggregator.key_values[i].prepare(of, {1, lanes, false, 0});
    aggregator.key_values[i].forward(vector, of, 0);
    Matrix<double> key(6, lanes), value(6, lanes);
    memory.banks[i].read(0, key, value);
    CHECK(difference(key, of.k(0)) < 1e-14);
    CHECK(difference(value, of.v(0)) < 1e-14);
  }
}

TEST_CASE("MemoryAggregator: layer by layer it remembers the same, and counts no slot") {
  Random random(1);
  const Aggregator aggregator = scattered_aggregator(options_of(MemoryRule::transformer), random);
  const Segment segment{3, lanes, false, 0};
  const Matrix<double> stacks = random_matrix((layers + 1) * width, 3 * lanes, random);
  Memory<double> at_once = aggregator.make_memory(lanes), one_by_one = at_once;
  Aggregator::Trace trace;
  remember_all(aggregator, stacks, segment, at_once, trace);
  aggregator.prepare(trace, segment);
  aggregator.begin(trace, one_by_one);
  for (Index t = 0; t < 3; ++t) trace.input(t) = step_columns(stacks, t, lanes);
  for (std::size_t i = 0; i < layers; ++i)
    for (Index t = 0; t < 3; ++t) aggregator.remember(i, trace, t, one_by_one);
  CHECK(one_by_one.end == 0);
  for (std::size_t i = 0; i < layers; ++i) {
    CHECK(one_by_one.banks[i].keys == at_once.banks[i].keys);
    CHECK(one_by_one.banks[i].values == at_once.banks[i].values);
  }
}

TEST_CASE("MemoryAggregator: zero slots are written into an empty memory only, alike in all lanes") {
  MemoryOptions options = options_of(MemoryRule::feedback);
  options.empty = EmptyMemory::zero_slots;
  options.value_bias = true;
  Random random(1);
  const Aggregator aggregator = scattered_aggregator(options, random);
  Memory<double> memory = aggregator.make_memory(lanes);
  Aggregator::Trace trace;
  const Segment segment{1, lanes, false, 0};
  CHECK(aggregator.starts_with_zeros(memory));
  aggregator.prepare(trace, segment);
  aggregator.begin(trace, memory);
  CHECK(memory.end == window);
  CHECK(trace.first_slot == window);
  CHECK(!aggregator.starts_with_zeros(memory));
  KeyValue<double>::Trace of;  // of the memory vector 0
  aggregator.key_values[0].prepare(of, segment);
  aggregator.key_values[0].forward(Matrix<double>::Zero(width, lanes), of, 0);
  Matrix<double> key(6, lanes), value(6, lanes);
  for (Index slot = 0; slot < window; ++slot) {
    memory.banks[0].read(slot, key, value);
    CHECK(difference(key, of.k(0)) < 1e-14);
    CHECK(difference(value, of.v(0)) < 1e-14);
  }
  aggregator.begin(trace, memory);
  CHECK(memory.end == window);
  CHECK(!trace.fresh_zeros);
}

TEST_CASE("MemoryAggregator: another rule keeps the projections and begins the layer weights anew") {
  Random random(1);
  Aggregator aggregator = scattered_aggregator(options_of(MemoryRule::feedback), random);
  const Aggregator before = aggregator;
  const auto names = [&] {
    std::vector<std::string> all;
    visit([&](std::string_view name, const auto&) { all.emplace_back(name); }, aggregator);
    return all;
  };
  const std::vector<std::string> with_mix{"mix.weight", "key_values.0.norm.weight", "key_values.0.norm.bias",
                                          "key_values.0.key.weight", "key_values.0.value.weight"};
  CHECK(names() == with_mix);
  aggregator.set_rule(MemoryRule::layer, 1);
  CHECK(names() == std::vector<std::string>(with_mix.begin() + 1, with_mix.end()));
  CHECK(aggregator.mix.mix_weights() == Vector<double>{{0, 1, 0}});
  aggregator.set_rule(MemoryRule::top_only, 0);
  CHECK(aggregator.mix.mix_weights() == Vector<double>{{0, 0, 1}});
  aggregator.set_rule(MemoryRule::average, 0);
  CHECK(difference(aggregator.mix.mix_weights(), Vector<double>::Constant(3, 1.0 / 3)) < 1e-16);
  aggregator.set_rule(MemoryRule::feedback, 0);
  CHECK(aggregator.mix.weight == Vector<double>::Zero(3));
  CHECK(aggregator.key_values[0].key.weight == before.key_values[0].key.weight);
  CHECK(aggregator.key_values[0].value.weight == before.key_values[0].value.weight);
  CHECK(aggregator.make_memory(3).lanes() == 3);
  CHECK(aggregator.make_memory(3).window == window);
  CHECK(aggregator.make_memory(3).banks.size() == 1);
}

TEST_CASE("MemoryAggregator: two thirds of the learned layer weights begin with the embedding") {
  Random random(1);
  const Aggregator aggregator(options_of(MemoryRule::feedback), random);
  CHECK(difference(aggregator.mix.mix_weights(), Vector<double>{{2.0 / 3, 1.0 / 6, 1.0 / 6}}) < 1e-15);
  const Aggregator average(options_of(MemoryRule::average), random);
  CHECK(difference(average.mix.mix_weights(), Vector<double>::Constant(3, 1.0 / 3)) < 1e-16);
}

TEST_CASE("MemoryAggregator: a soft norm keeps the sizes of small memory vectors and bounds large ones") {
  Random random(1);
  MemoryOptions options = options_of(MemoryRule::feedback);
  options.norm = MemoryNorm::soft;
  Aggregator aggregator(options, random);
  KeyValue<double>& key_value = aggregator.key_values[0];
  CHECK(key_value.norm->weight == Vector<double>::Constant(width, 4));
  CHECK(key_value.norm->epsilon == 4);
  key_value.key.weight.topRows(width).setIdentity();
  const auto key = [&](double size) {
    Matrix<double> m(width, 1);
    m << size, -size, -size, size;
    KeyValue<double>::Trace trace;
    key_value.prepare(trace, {1, 1, false, 0});
    key_value.forward(m, trace, 0);
    return trace.k(0)(0, 0);
  };
  CHECK(key(1e-3) == Approx(2e-3));
  CHECK(key(1) == Approx(4 / std::sqrt(5)));
  CHECK(key(1e6) == Approx(4));
  const KeyValue<double> before = key_value;
  aggregator.set_rule(MemoryRule::top_only, 0);
  CHECK(key_value.norm->weight == before.norm->weight);
  CHECK(key_value.norm->epsilon == 4);
}
