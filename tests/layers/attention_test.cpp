#include "fbt/layers/attention.hpp"

#include "support/attention_run.hpp"
#include "support/catch.hpp"
#include "support/memory_layer_check.hpp"

#include <utility>
#include <vector>

using namespace fbt;

namespace {

constexpr Index width = 4, head_size = 3, span = 3;

// The attention of one lane and one head with W_q = W_o = 1, so that keys and values can be chosen by hand.
struct ByHand {
  explicit ByHand(Index size) : attention(size, 1, size, true, 0, random), memory(size, 1, 1, 5) {
    attention.query.weight.setIdentity();
    attention.output.weight.setIdentity();
  }
  double operator()(double x, Window window, const Position<double>& position) {
    Attention<double>::Trace trace;
    attention.prepare(position, span, trace, {1, 1, false, 0});
    Matrix<double> y(attention.head_size, 1);
    attention.forward(Matrix<double>::Constant(attention.head_size, 1, x), memory, {&window, 1}, position, trace, 0, y);
    return y(0);
  }

  Random random{1};
  Attention<double> attention;
  KeyValueCache<double> memory;
};

}  // namespace

TEST_CASE("Attention: gradients") {
  Random random(1);
  const Index lanes = GENERATE(1, 2, 3), heads = GENERATE(1, 2);
  const double rate = GENERATE(0.0, 0.4);
  const PositionTerm term =
      GENERATE(PositionTerm::none, PositionTerm::relative_key, PositionTerm::per_head, PositionTerm::buckets);
  const bool output_bias = GENERATE(true, false);
  Attention<double> layer(width, heads, head_size, output_bias, rate, random);
  Position<double> position(term, head_size, heads, span, random);
  scatter(layer, random);
  scatter(position, random);
  // four steps that see 1, 2, 3 and 3 slots of 6
  const KeyValueCache<double> memory = random_cache(head_size, heads, lanes, 6, random);
  const GradientReport report =
      check_memory_layer<AttentionRun>(layer, position, memory, width, 1, {4, lanes, true, 9}, random);
  INFO(report.where);
  const Index parameters = 2 * width * heads * head_size + (output_bias ? width : 0);
  CHECK(report.compared == width * 4 * lanes + 2 * memory.keys.size() + parameters + count_parameters(position));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("Attention: softmax over the window by hand") {
  ByHand layer(1);
  layer.attention.output.bias << 1000;
  layer.memory.keys.col(0) << 50, std::log(1), std::log(3), 50, 50;
  layer.memory.values.row(0) << 1e9, 4, 8, 1e9, 1e9;
  Position<double> none(PositionTerm::none, 1, 1, span, layer.random);
  CHECK(layer(1, {1, 2}, none) == Approx(1000 + (1 * 4 + 3 * 8) / 4.0).epsilon(1e-14));
  CHECK(layer(2, {1, 2}, none) == Approx(1000 + (1 * 4 + 9 * 8) / 10.0).epsilon(1e-14));
  CHECK(layer(1, {2, 1}, none) == Approx(1008).epsilon(1e-14));
}

TEST_CASE("Attention: the newest slot takes the last row of the position table") {
  ByHand layer(1);
  layer.memory.keys.col(0) << 0, 0, 0, 0, 0;
  layer.memory.values.row(0) << 1, 10, 100, 1000, 10000;
  Position<double> position(PositionTerm::relative_key, 1, 1, span, layer.random);
  position.weight << std::log(7), std::log(1), std::log(3);
  CHECK(layer(1, {3, 1}, position) == Approx(1000).epsilon(1e-14));
  CHECK(layer(1, {1, 2}, position) == Approx((1 * 10 + 3 * 100) / 4.0).epsilon(1e-14));
  CHECK(layer(1, {2, 3}, position) == Approx((7 * 100 + 1 * 1000 + 3 * 10000) / 11.0).epsilon(1e-14));
}

TEST_CASE("Attention: scores are divided by the root of the head size") {
  ByHand layer(4);
  layer.memory.keys.row(0).setConstant(std::log(3) / 2);  // q . k / sqrt(4) = 4 * log(3) / 2 / 2
  layer.memory.values.row(0) << 4, 8, 0, 0, 0;
  Position<double> none(PositionTerm::none, 4, 1, span, layer.random);
  CHECK(layer(1, {0, 2}, none) == Approx((3 * 4 + 1 * 8) / 4.0).epsilon(1e-14));
  Position<double> position(PositionTerm::relative_key, 4, 1, span, layer.random);
  position.weight.setZero();
  position.weight.row(2).setConstant(std::log(3) / 2);  // the same for the other slot: they are equal again
  CHECK(layer(1, {0, 2}, position) == Approx(6).epsilon(1e-14));
}

TEST_CASE("Attention: heads and lanes are independent") {
  Random random(1);
  const Index heads = 2, lanes = 3;
  const Attention<double> both(width, heads, head_size, false, 0, random);
  const Position<double> position(PositionTerm::relative_key, head_size, heads, span, random);
  const KeyValueCache<double> memory = random_cache(head_size, heads, lanes, 4, random);
  const Matrix<double> x = random_matrix(width, lanes, random);
  const Window window{1, 3};
  Attention<double>::Trace trace;
  both.prepare(position, span, trace, {1, lanes, false, 0});
  Matrix<double> y(width, lanes);
  both.forward(x, memory, std::vector<Window>(3, window), position, trace, 0, y);

  Matrix<double> sum = Matrix<double>::Zero(width, lanes);
  for (Index j = 0; j < heads; ++j) {
    for (Index b = 0; b < lanes; ++b) {
      Attention<double> one(width, 1, head_size, false, 0, random);
      one.query.weight = both.query.weight.middleRows(j * head_size, head_size);
      one.output.weight = both.output.weight.middleCols(j * head_size, head_size);
      KeyValueCache<double> part(head_size, 1, 1, 4);
      part.keys = memory.key(b, j, {0, 4});
      part.values = memory.value(b, j, {0, 4});
      one.prepare(position, span, trace, {1, 1, false, 0});
      Matrix<double> share(width, 1);
      one.forward(x.col(b), part, {&window, 1}, position, trace, 0, share);
      sum.col(b) += share;
    }
  }
  CHECK(difference(y, sum) < 1e-14);
}

TEST_CASE("Attention: a skipped step adds nothing to any gradient") {
  Random random(1);
  const PositionTerm term = GENERATE(PositionTerm::none, PositionTerm::relative_key);
  const Attention<double> layer(width, 2, head_size, true, 0, random);
  const Position<double> position(term, head_size, 2, span, random);
  const KeyValueCache<double> memory = random_cache(head_size, 2, 2, 4, random);
  const Matrix<double> x = random_matrix(width, 2, random);
  Matrix<double> y(width, 2);
  const std::vector<Window> windows(2, {0, 3});
  Attention<double>::Trace trace;
  layer.prepare(position, span, trace, {1, 2, true, 0});
  layer.forward(x, memory, windows, position, trace, 0, y);
  layer.backward(x, memory, windows, position, trace, 0, y);
  layer.skip(trace, 0);
  Attention<double> grad = zeros_like(layer);
  Position<double> dposition = zeros_like(position);
  layer.accumulate(trace, 0, 1, grad);
  position.accumulate(trace.position, 0, 1, dposition);
  CHECK(squared_norm(grad) == 0);
  CHECK(squared_norm(dposition) == 0);
}

TEST_CASE("Attention: layers that share slots add to them at once what they add one by one") {
  Random random(1);
  const Index count = GENERATE(1, 2, 3, 7, 8, 9, 13), heads = 2, lanes = 2;
  const PositionTerm term = GENERATE(PositionTerm::relative_key, PositionTerm::per_head);
  Position<double> position(term, head_size, heads, span, random);
  scatter(position, random);
  const KeyValueCache<double> memory = random_cache(head_size, heads, lanes, 6, random);
  const std::vector<Window> windows(lanes, {1, 3}), none(lanes, {2, 0});
  std::vector<Attention<double>::Trace> traces(static_cast<std::size_t>(count));
  KeyValueCache<double> one_by_one = memory, at_once = memory;
  Matrix<double> y(width, lanes);
  for (auto& trace : traces) {
    const Attention<double> layer(width, heads, head_size, true, 0.3, random);
    layer.prepare(position, span, trace, {2, lanes, true, random.bits()});
    const Matrix<double> x = random_matrix(width, lanes, random);
    layer.forward(x, memory, windows, position, trace, 1, y);
    layer.backward(x, memory, windows, position, trace, 1, y);
    layer.add_to_cache(
        1, [&](Index) -> auto& { return trace; }, windows, 1, one_by_one);
  }
  const auto trace_of = [&](Index l) -> auto& { return traces[static_cast<std::size_t>(l)]; };
  Attention<double>::add_to_cache(count, trace_of, windows, 1, at_once);
  CHECK(difference(at_once.keys, one_by_one.keys) < 1e-14);
  CHECK(difference(at_once.values, one_by_one.values) < 1e-14);
  CHECK(difference(at_once.keys, memory.keys) > 1e-3);
  Attention<double>::add_to_cache(count, trace_of, none, 1, one_by_one);  // nothing was seen
  CHECK(difference(at_once.values, one_by_one.values) < 1e-14);
}

TEST_CASE("Attention: gradients where every lane has a window of its own") {
  Random random(1);
  const Index lanes = 4, heads = 2;
  const double rate = GENERATE(0.0, 0.4);
  const PositionTerm term =
      GENERATE(PositionTerm::none, PositionTerm::relative_key, PositionTerm::per_head, PositionTerm::buckets);
  const bool learned_spans = GENERATE(false, true);
  Attention<double> layer(width, heads, head_size, true, rate, random);
  Position<double> position(term, head_size, heads, span, random);
  scatter(layer, random);
  scatter(position, random);
  if (learned_spans) {
    layer.span = AdaptiveSpan<double>(heads, span, 2);
    layer.span.length << 0.13, 0.55;
  }
  const KeyValueCache<double> memory = random_cache(head_size, heads, lanes, 7, random);
  // four steps that see slots up to 2 .. 5: lane 1 begins within them, lane 2 sees nothing at first, lane 3 never does
  const std::vector<Index> begin{0, 2, 4, 7};
  const GradientReport report =
      check_memory_layer<AttentionRun>(layer, position, memory, width, 3, begin, {4, lanes, true, 9}, random);
  INFO(report.where);
  CHECK(report.compared ==
        width * 4 * lanes + 2 * memory.keys.size() + count_parameters(layer) + count_parameters(position));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("Attention: a lane with a window of its own is the lane alone; an empty one gives the output bias") {
  Random random(1);
  const Index lanes = 3, heads = 2;
  const PositionTerm term = GENERATE(PositionTerm::relative_key, PositionTerm::per_head);
  Attention<double> layer(width, heads, head_size, true, 0, random);
  Position<double> position(term, head_size, heads, span, random);
  scatter(layer, random);
  scatter(position, random);
  const KeyValueCache<double> memory = random_cache(head_size, heads, lanes, 6, random);
  const Matrix<double> x = random_matrix(width, lanes, random), dy = random_matrix(width, lanes, random);
  const std::vector<Window> windows{{2, 3}, {5, 0}, {4, 1}};
  const auto run = [&](Windows seen, KeyValueCache<double>& dcache) {
    Attention<double>::Trace trace;
    layer.prepare(position, span, trace, {1, lanes, true, 0});
    Matrix<double> y(width, lanes), dx(width, lanes);
    layer.forward(x, memory, seen, position, trace, 0, y);
    dcache = memory;
    dcache.set_zero_like(memory, 6);
    AttentionRun::backward(layer, dy, memory, dcache, seen, position, trace, 0, dx);
    return std::pair(y, dx);
  };
  KeyValueCache<double> dmixed, dalone;
  const auto [y, dx] = run(windows, dmixed);
  for (Index b = 0; b < lanes; ++b) {
    const auto [y_of, dx_of] = run(std::vector<Window>(3, windows[static_cast<std::size_t>(b)]), dalone);
    CHECK(y.col(b) == y_of.col(b));
    CHECK(dx.col(b) == dx_of.col(b));
    for (Index j = 0; j < heads; ++j) {
      CHECK(dmixed.key(b, j, {0, 6}) == dalone.key(b, j, {0, 6}));
      CHECK(dmixed.value(b, j, {0, 6}) == dalone.value(b, j, {0, 6}));
    }
  }
  CHECK(y.col(1) == layer.output.bias);
  CHECK(dx.col(1).isZero(0));
  CHECK(dmixed.key(1, 0, {0, 6}).isZero(0));
  CHECK(!dmixed.key(0, 0, {2, 3}).isZero(0));
}
