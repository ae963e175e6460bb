#include "fbt/models/block.hpp"

#include "support/catch.hpp"
#include "support/memory_layer_check.hpp"
#include "support/small_models.hpp"

using namespace fbt;

namespace {

struct Run {
  using Trace = Block<double>::Trace;
  static void prepare(const Block<double>& layer, const Position<double>& p, Trace& trace, const Segment& segment) {
    layer.prepare(layer.norm1, p, p.window, trace, segment);
  }
  static void forward(const Block<double>& layer, In<double> x, const Slots<double>& memory, Window window,
                      const Position<double>& p, Trace& trace, Index t, Out<double> y) {
    layer.forward(x, {layer.norm1, p, memory, window}, trace, t, y);
  }
  static void backward(const Block<double>& layer, In<double> dy, const Slots<double>& memory, Slots<double>& dmemory,
                       Window window, const Position<double>& p, Trace& trace, Index t, Out<double> dx) {
    layer.backward(dy, {layer.norm1, p, memory, window}, trace, t, dx);
    auto* const reader = &trace.attention;
    if (window.count > 0) layer.attention.add_to_slots({&reader, 1}, window, t, dmemory);
  }
  static auto& position(Trace& trace) { return trace.attention.position; }
};

}  // namespace

TEST_CASE("Block: gradients") {
  Random random(1);
  Config c = small_config();
  c.head_size = 3;
  c.norm_epsilon = 0.1;  // a norm of four small numbers bends too much for differences
  c.pre_norm = GENERATE(true, false);
  c.dropout = GENERATE(0.0, 0.4);
  const Index lanes = GENERATE(1, 2, 3);
  const Index first_slot = GENERATE(0, 2);  // 0: the first step sees no slot
  Block<double> layer(c, random);
  Position<double> position(c.position, c.head_columns(), c.heads, c.window, random);
  scatter(layer, random);
  scatter(position, random);
  const Slots<double> memory = random_slots(c.head_size, c.heads, lanes, 6, random);
  const GradientReport report =
      check_memory_layer<Run>(layer, position, memory, c.width, first_slot, {4, lanes, true, 9}, random);
  INFO(report.where);
  CHECK(report.compared == 4 * 4 * lanes + 2 * memory.keys.size() + count_parameters(layer) + count_parameters(position));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("Block: with an empty window only the feed-forward part acts") {
  Random random(1);
  Config c = small_config();
  c.pre_norm = GENERATE(true, false);
  Block<double> layer(c, random);
  const Position<double> position(c.position, c.head_columns(), c.heads, c.window, random);
  const Slots<double> memory = random_slots(c.head_columns(), c.heads, 2, 4, random);
  const Matrix<double> x = random_matrix(c.width, 2, random);
  Matrix<double> y(c.width, 2), other(c.width, 2);
  Block<double>::Trace trace;
  layer.prepare(layer.norm1, position, c.window, trace, {1, 2, false, 0});
  layer.forward(x, {layer.norm1, position, memory, {2, 0}}, trace, 0, y);
  layer.attention.output.bias.setConstant(100);
  layer.prepare(layer.norm1, position, c.window, trace, {1, 2, false, 0});
  layer.forward(x, {layer.norm1, position, memory, {2, 0}}, trace, 0, other);
  CHECK(y == other);
  layer.forward(x, {layer.norm1, position, memory, {1, 1}}, trace, 0, other);
  CHECK(y != other);
}

TEST_CASE("Block: the residual path") {
  // with both branches silent, pre-norm is the identity and post-norm two normalisations
  Random random(1);
  Config c = small_config();
  c.pre_norm = GENERATE(true, false);
  Block<double> layer(c, random);
  set_zero(layer.attention);
  set_zero(layer.feed_forward);
  layer.norm2.bias.setConstant(7);
  const Position<double> position(c.position, c.head_columns(), c.heads, c.window, random);
  const Slots<double> memory = random_slots(c.head_columns(), c.heads, 1, 4, random);
  const Matrix<double> x = random_matrix(c.width, 1, random);
  Matrix<double> y(c.width, 1);
  Block<double>::Trace trace;
  layer.prepare(layer.norm1, position, c.window, trace, {1, 1, false, 0});
  layer.forward(x, {layer.norm1, position, memory, {0, 3}}, trace, 0, y);
  if (c.pre_norm) {
    CHECK(y == x);
  } else {
    CHECK(y.mean() == Approx(7));
    CHECK((y.array() - 7).matrix().squaredNorm() == Approx(4).epsilon(1e-3));
  }
}

TEST_CASE("Block: dropout on both residual branches, in training only") {
  Random random(1);
  Config c = small_config();
  c.dropout = 0.5;
  const Block<double> layer(c, random);
  CHECK(layer.dropout.rate == 0.5);
  CHECK(layer.attention.dropout_rate == 0.5);
  CHECK(layer.feed_forward.dropout.rate == 0.5);
  const Position<double> position(c.position, c.head_columns(), c.heads, c.window, random);
  Block<double>::Trace trace;
  layer.prepare(layer.norm1, position, c.window, trace, {8, 2, true, 1});
  const auto differ = [](const auto& a, const auto& b) { return a.size() != b.size() || (a.array() != b.array()).any(); };
  CHECK(trace.attention_dropout.active());
  CHECK(trace.feed_forward_dropout.active());
  CHECK(trace.attention.dropout.active());
  CHECK(trace.feed_forward.dropout.active());
  CHECK(differ(trace.attention_dropout.mask, trace.feed_forward_dropout.mask));
  layer.prepare(layer.norm1, position, c.window, trace, {8, 2, false, 1});
  CHECK_FALSE(trace.attention_dropout.active());
  CHECK_FALSE(trace.feed_forward_dropout.active());
  CHECK_FALSE(trace.attention.dropout.active());
  CHECK_FALSE(trace.feed_forward.dropout.active());
}
