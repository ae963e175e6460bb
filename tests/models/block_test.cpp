#include "fbt/models/block.hpp"

#include "support/catch.hpp"
#include "support/memory_layer_check.hpp"
#include "support/small_models.hpp"

#include <utility>
#include <vector>

using namespace fbt;

namespace {

struct Run {
  using Trace = Block<double>::Trace;
  static void prepare(const Block<double>& layer, const Position<double>& p, Trace& trace, const Segment& segment) {
    layer.prepare({nullptr, p}, p.window, trace, segment);
  }
  static void forward(const Block<double>& layer, In<double> x, const KeyValueCache<double>& cache, Windows windows,
                      const Position<double>& p, Trace& trace, Index t, Out<double> y) {
    layer.forward(x, {nullptr, p, &cache, windows}, trace, t, y);
  }
  static void backward(const Block<double>& layer, In<double> dy, const KeyValueCache<double>& cache,
                       KeyValueCache<double>& dcache, Windows windows, const Position<double>& p, Trace& trace, Index t,
                       Out<double> dx) {
    layer.backward(dy, {nullptr, p, &cache, windows}, trace, t, dx);
    layer.attention.add_to_cache(
        1, [&](Index) -> auto& { return trace.attention; }, windows, t, dcache);
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
  const KeyValueCache<double> memory = random_cache(c.head_size, c.heads, lanes, 6, random);
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
  const KeyValueCache<double> memory = random_cache(c.head_columns(), c.heads, 2, 4, random);
  const Matrix<double> x = random_matrix(c.width, 2, random);
  Matrix<double> y(c.width, 2), other(c.width, 2);
  const std::vector<Window> none(2, {2, 0}), one(2, {1, 1});
  Block<double>::Trace trace;
  layer.prepare({nullptr, position}, c.window, trace, {1, 2, false, 0});
  layer.forward(x, {nullptr, position, &memory, none}, trace, 0, y);
  layer.attention.output.bias.setConstant(100);
  layer.prepare({nullptr, position}, c.window, trace, {1, 2, false, 0});
  layer.forward(x, {nullptr, position, &memory, none}, trace, 0, other);
  CHECK(y == other);
  layer.forward(x, {nullptr, position, &memory, one}, trace, 0, other);
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
  const KeyValueCache<double> memory = random_cache(c.head_columns(), c.heads, 1, 4, random);
  const Matrix<double> x = random_matrix(c.width, 1, random);
  Matrix<double> y(c.width, 1);
  const Window window{0, 3};
  Block<double>::Trace trace;
  layer.prepare({nullptr, position}, c.window, trace, {1, 1, false, 0});
  layer.forward(x, {nullptr, position, &memory, {&window, 1}}, trace, 0, y);
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
  layer.prepare({nullptr, position}, c.window, trace, {8, 2, true, 1});
  const auto differ = [](const auto& a, const auto& b) { return a.size() != b.size() || (a.array() != b.array()).any(); };
  CHECK(trace.attention_dropout.active());
  CHECK(trace.feed_forward_dropout.active());
  CHECK(trace.attention.dropout.active());
  CHECK(trace.feed_forward.dropout.active());
  CHECK(differ(trace.attention_dropout.mask, trace.feed_forward_dropout.mask));
  layer.prepare({nullptr, position}, c.window, trace, {8, 2, false, 1});
  CHECK_FALSE(trace.attention_dropout.active());
  CHECK_FALSE(trace.feed_forward_dropout.active());
  CHECK_FALSE(trace.attention.dropout.active());
  CHECK_FALSE(trace.feed_forward.dropout.active());
}

TEST_CASE("Block: gradients where every lane has a window of its own") {
  Random random(1);
  Config c = small_config();
  c.norm_epsilon = 0.1;
  c.pre_norm = GENERATE(true, false);
  c.dropout = GENERATE(0.0, 0.4);
  const Index lanes = 4;
  Block<double> layer(c, random);
  Position<double> position(c.position, c.head_columns(), c.heads, c.window, random);
  scatter(layer, random);
  scatter(position, random);
  const KeyValueCache<double> memory = random_cache(c.head_columns(), c.heads, lanes, 7, random);
  // lane 1 begins within the window, lane 2 sees nothing at first, lane 3 never does
  const std::vector<Index> begin{0, 2, 4, 7};
  const GradientReport report =
      check_memory_layer<Run>(layer, position, memory, c.width, 3, begin, {4, lanes, true, 9}, random);
  INFO(report.where);
  CHECK(report.compared ==
        c.width * 4 * lanes + 2 * memory.keys.size() + count_parameters(layer) + count_parameters(position));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("Block: a lane that sees nothing gives exactly what it gives where no lane sees anything") {
  Random random(1);
  Config c = small_config();
  c.pre_norm = GENERATE(true, false);
  Block<double> layer(c, random);
  scatter(layer, random);
  const Position<double> position(c.position, c.head_columns(), c.heads, c.window, random);
  const KeyValueCache<double> memory = random_cache(c.head_columns(), c.heads, 3, 4, random);
  const Matrix<double> x = random_matrix(c.width, 3, random), dy = random_matrix(c.width, 3, random);
  const auto run = [&](Windows windows) {
    Block<double>::Trace trace;
    layer.prepare({nullptr, position}, c.window, trace, {1, 3, true, 0});
    Matrix<double> y(c.width, 3), dx(c.width, 3);
    layer.forward(x, {nullptr, position, &memory, windows}, trace, 0, y);
    layer.backward(dy, {nullptr, position, &memory, windows}, trace, 0, dx);
    return std::pair(y, dx);
  };
  const auto [mixed, dmixed] = run(std::vector<Window>{{1, 3}, {4, 0}, {3, 1}});
  const auto [none, dnone] = run(std::vector<Window>(3, {4, 0}));
  CHECK(mixed.col(1) == none.col(1));
  CHECK(dmixed.col(1) == dnone.col(1));
  for (const Index b : {0, 2}) {
    CHECK(difference(mixed.col(b), none.col(b)) > 1e-3);
    CHECK(difference(dmixed.col(b), dnone.col(b)) > 1e-3);
  }
}
