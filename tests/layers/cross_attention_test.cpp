#include "fbt/layers/cross_attention.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"
#include "support/memory_layer_check.hpp"

#include <cmath>

using namespace fbt;

namespace {

constexpr Index width = 4, heads = 2, head_size = 3;

}  // namespace

TEST_CASE(
    "CrossAttention: gradients of input, parameters and source, in one group of steps or several; lanes without one pass") {
  Random random(1);
  const double rate = GENERATE(0.0, 0.3);
  const Index steps = GENERATE(3, 2 * CrossAttention<double>::group_steps, 2 * CrossAttention<double>::group_steps + 3);
  CrossAttention<double> layer(width, heads, head_size, true, rate, 0.1, random);
  scatter(layer, random);
  const Segment segment{steps, 3, true, 5};
  KeyValueCache<double> cache = random_cache(head_size, heads, 3, 4, random);
  const std::vector<Window> windows{{0, 4}, {0, 0}, {0, 1}};
  const SourceView<double> source{&cache, windows};
  Matrix<double> x = random_matrix(width, segment.columns(), random);
  const Matrix<double> weights = random_matrix(width, segment.columns(), random);
  Matrix<double> y(width, segment.columns()), dx(width, segment.columns());
  CrossAttention<double>::Trace trace;
  const auto loss = [&] {
    y.setConstant(std::nan(""));
    layer.prepare(trace, segment);
    layer.prepare_source(4, trace);
    for (Index t = 0; t < steps; ++t) layer.forward(step_columns(x, t, 3), source, trace, t, step_columns(y, t, 3));
    return y.cwiseProduct(weights).sum();
  };
  loss();
  for (Index t = 0; t < steps; ++t) CHECK(y.col(3 * t + 1) == x.col(3 * t + 1));
  dx.setConstant(std::nan(""));
  KeyValueCache<double> dcache;
  dcache.set_zero_like(cache, 4);
  CrossAttention<double> grad = layer;
  visit([](std::string_view, auto& tensor) { tensor.setOnes(); }, grad);
  const auto back = [&](Index t) {
    layer.backward(step_columns(weights, t, 3), source, trace, t, step_columns(dx, t, 3));
    Attention<double>::add_to_cache(
        1, [&](Index) -> auto& { return trace.attention; }, windows, layer.place(t), dcache);
  };
  walk_back(steps, back, [&](Index first, Index count) { layer.accumulate(trace, first, count, grad); });
  visit([](std::string_view, auto& tensor) { tensor.array() -= 1; }, grad);
  GradientReport report;
  compare(report, "input", loss, x, dx);
  compare(report, "keys", loss, cache.keys, dcache.keys);
  compare(report, "values", loss, cache.values, dcache.values);
  compare_parameters(report, loss, layer, grad);
  INFO(report.where);
  CHECK(report.compared == x.size() + 2 * cache.keys.size() + count_parameters(layer));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("CrossAttention: without any source it passes and adds nothing to a gradient") {
  Random random(2);
  CrossAttention<double> layer(width, heads, head_size, true, 0, 1e-5, random);
  scatter(layer, random);
  const std::vector<Window> none(2);
  const SourceView<double> source{nullptr, none};
  const Matrix<double> x = random_matrix(width, 2, random), dy = random_matrix(width, 2, random);
  Matrix<double> y(width, 2), dx(width, 2);
  CrossAttention<double>::Trace trace;
  layer.prepare(trace, {1, 2, true, 0});
  layer.prepare_source(0, trace);
  layer.forward(x, source, trace, 0, y);
  layer.backward(dy, source, trace, 0, dx);
  CrossAttention<double> grad = zeros_like(layer);
  layer.accumulate(trace, 0, 1, grad);
  CHECK(y == x);
  CHECK(dx == dy);
  CHECK(squared_norm(grad) == 0);
}
