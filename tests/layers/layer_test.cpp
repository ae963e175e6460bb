#include "fbt/layers/layer.hpp"

#include "fbt/layers/attention.hpp"
#include "fbt/layers/embedding.hpp"
#include "fbt/layers/feed_forward.hpp"
#include "fbt/layers/layer_mix.hpp"
#include "fbt/layers/layer_norm.hpp"
#include "fbt/layers/linear.hpp"
#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

using namespace fbt;

namespace {

// The least that the contract asks for, and what is left of it when one thing is missing.
struct Whole {
  struct Trace {};
  void prepare(Trace&, const Segment&) const {}
  void forward(const In<double>&, Trace&, Index, Out<double>) const {}
  void backward(const In<double>&, Trace&, Index, Out<double>) const {}
  void accumulate(Trace&, Index, Index, Whole&) const {}
  template <class F, class... Same>
  static void visit(F&&, Same&...) {}
};
struct NoForward : Whole {
  void forward() const {}
  void accumulate(Trace&, Index, Index, NoForward&) const {}
};
struct NoBackward : Whole {
  void backward() const {}
  void accumulate(Trace&, Index, Index, NoBackward&) const {}
};
struct NoPrepare : Whole {
  void prepare() const {}
};
struct PreparesItself : Whole {  // its state would not be the caller's
  void prepare(Trace&, const Segment&) {}
};
struct NoAccumulate : Whole {
  void accumulate() const {}
};
struct NoVisit : Whole {
  static void visit() {}
};
struct NoCopy : Whole {
  NoCopy(const NoCopy&) = delete;
};

static_assert(Layer<Whole> && ColumnLayer<Whole, double>);
static_assert(!ColumnLayer<Whole, float>);  // of another scalar
static_assert(Layer<NoForward> && !ColumnLayer<NoForward, double>);
static_assert(Layer<NoBackward> && !ColumnLayer<NoBackward, double>);
static_assert(!Layer<NoPrepare> && !Layer<PreparesItself> && !Layer<NoAccumulate> && !Layer<NoVisit> && !Layer<NoCopy>);
static_assert(!Layer<int>);

static_assert(ColumnLayer<Linear<float>, float> && ColumnLayer<LayerNorm<double>, double>);
static_assert(ColumnLayer<FeedForward<double>, double> && ColumnLayer<LayerMix<float>, float>);
static_assert(Layer<Embedding<double>> && !ColumnLayer<Embedding<double>, double>);  // reads tokens
static_assert(!Layer<Attention<double>>);                                            // reads a cache

}  // namespace

TEST_CASE("layer: gradients of a segment whose deltas are not kept all at once") {
  Random random(1);
  const Segment segment{delta_steps + 3, 2, true, 7};
  const auto check_long = [&](auto layer, Index inputs, Index outputs) {
    scatter(layer, random);
    const GradientReport report = check_layer(layer, inputs, outputs, random, segment);
    INFO(report.where << ", " << report.worst);
    CHECK(report.ok());
    CHECK(report.compared == inputs * segment.columns() + count_parameters(layer));
  };
  check_long(Linear<double>(3, 4, random), 3, 4);
  check_long(LayerNorm<double>(4, 0.1), 4, 4);
  check_long(LayerMix<double>(2, 3), 9, 3);
  for (const Activation activation : {Activation::relu, Activation::gelu, Activation::geglu})
    check_long(FeedForward<double>(3, 4, activation, 0.3, random), 3, 3);
}

TEST_CASE("layer: an input goes straight into a Trace that has the place, else into another matrix") {
  Random random(1);
  const Linear<double> linear(3, 2, random);
  Linear<double>::Trace has;
  linear.prepare(has, {4, 2, true, 0});
  Matrix<double> other(3, 2), dother(2, 2);
  const Out<double> x = input_place(has, 1, other), dy = delta_place(has, 1, dother);
  CHECK(x.data() == has.input(1).data());
  CHECK(dy.data() == has.delta(1).data());
  CHECK(x.rows() == 3);
  CHECK(dy.rows() == 2);
  CHECK(x.cols() == 2);

  Whole::Trace has_none;
  CHECK(input_place(has_none, 1, other).data() == other.data());
  CHECK(delta_place(has_none, 1, dother).data() == dother.data());
}
