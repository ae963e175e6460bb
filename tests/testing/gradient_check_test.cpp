#include "fbt/testing/gradient_check.hpp"

#include "fbt/layers/feed_forward.hpp"
#include "fbt/models/feedback_core.hpp"
#include "fbt/models/lstm_core.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"
#include "support/small_models.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <string>

using namespace fbt;

namespace {

enum class Fault { none, value, sign_of_last, adds, left_out, first_left_out, overwrites_gradient, nan, first_nan };

/// y = w * x (elementwise) with w a vector, and one fault in its backward pass.
struct Scale {
  Vector<double> weight = Vector<double>{{2, 3}};
  Fault fault = Fault::none;

  struct Trace {
    Matrix<double> x, dy;
    Index lanes = 0;
  };

  void prepare(Trace& trace, const Segment& segment) const {
    trace.lanes = segment.lanes;
    trace.x.resize(2, segment.columns());
    trace.dy.resize(2, segment.columns());
  }
  void forward(const In<double>& x, Trace& trace, Index t, Out<double> y) const {
    step_columns(trace.x, t, trace.lanes) = x;
    if (fault == Fault::left_out) return;
    y = weight.asDiagonal() * x;
  }
  void backward(const In<double>& dy, Trace& trace, Index t, Out<double> dx) const {
    step_columns(trace.dy, t, trace.lanes) = dy;
    if (fault == Fault::adds) {
      dx += weight.asDiagonal() * dy;
      return;
    }
    if (fault == Fault::first_left_out && t == 0) {
      dx.bottomRightCorner(1, 1) = weight.tail(1) * dy.bottomRightCorner(1, 1);
      return;
    }
    dx = weight.asDiagonal() * dy;
    if (fault == Fault::value) dx *= 1.001;
    if (fault == Fault::sign_of_last) dx(1, trace.lanes - 1) *= -1;
  }
  void accumulate(Trace& trace, Index first, Index count, Scale& grad) const {
    if (fault == Fault::overwrites_gradient) grad.weight.setZero();
    const auto x = step_columns(trace.x, first, trace.lanes, count), dy = step_columns(trace.dy, first, trace.lanes, count);
    grad.weight += x.cwiseProduct(dy).rowwise().sum();
    if (fault == Fault::first_nan) grad.weight(0) = std::numeric_limits<double>::quiet_NaN();
    if (fault == Fault::nan) grad.weight(1) = std::numeric_limits<double>::quiet_NaN();
  }
  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
  }
};
static_assert(ColumnLayer<Scale, double>);

GradientReport report_of(Fault fault) {
  Random random(1);
  Scale layer;
  layer.fault = fault;
  return check_layer(layer, 2, 2, random);
}

}  // namespace

TEST_CASE("check_layer: a right layer passes") {
  const GradientReport report = report_of(Fault::none);
  CHECK(report.worst < 1e-10);
  CHECK(report.compared == 2 * 3 * 2 + 2);
}

TEST_CASE("check_layer: every fault shows, in the right place") {
  CHECK(report_of(Fault::value).worst > 1e-4);
  CHECK(report_of(Fault::value).where == "input");
  CHECK(report_of(Fault::sign_of_last).worst > 1e-2);
  CHECK(report_of(Fault::sign_of_last).where == "input");
  CHECK(std::isinf(report_of(Fault::adds).worst));
  CHECK(std::isinf(report_of(Fault::left_out).worst));
  CHECK(std::isinf(report_of(Fault::first_left_out).worst));
  CHECK(report_of(Fault::first_left_out).where == "input");
  CHECK(std::isinf(report_of(Fault::first_nan).worst));
  CHECK(report_of(Fault::first_nan).where == "weight");
  CHECK(report_of(Fault::overwrites_gradient).worst > 0.1);
  CHECK(report_of(Fault::overwrites_gradient).where == "weight");
  CHECK(std::isinf(report_of(Fault::nan).worst));
  CHECK(report_of(Fault::nan).where == "weight");
}

TEST_CASE("compare: derivatives of a known function") {
  Matrix<double> x(1, 2), analytic(1, 2);
  x << 1, 2;
  const Matrix<double> before = x;
  const auto loss = [&] { return std::sin(x(0)) * x(1) * x(1); };
  analytic << std::cos(1.0) * 4, std::sin(1.0) * 4;
  GradientReport report;
  compare(report, "right", loss, x, analytic);
  CHECK(report.compared == 2);
  CHECK(report.worst < 1e-11);
  CHECK(x == before);

  analytic(1) += 0.4;
  compare(report, "wrong", loss, x, analytic);
  compare(report, "right again", loss, x, Matrix<double>{{std::cos(1.0) * 4, std::sin(1.0) * 4}});
  CHECK(report.where == "wrong");
  CHECK(report.worst == Approx(0.4 / (std::sin(1.0) * 4 + 0.4)).epsilon(1e-6));
  CHECK(report.compared == 6);
}

TEST_CASE("compare: shapes must agree") {
  GradientReport report;
  Matrix<double> x(1, 2);
  CHECK_THROWS_WITH(compare(
                        report, "w", [] { return 0.0; }, x, Matrix<double>(2, 1)),
                    "gradient check: w has shape (1, 2), its gradient (2, 1)");
}

TEST_CASE("GradientReport: when it is ok") {
  GradientReport report;
  CHECK_FALSE(report.ok());  // nothing was compared
  Matrix<double> x = Matrix<double>::Ones(1, 1), analytic = 2 * x;
  const auto loss = [&] { return x(0) * x(0); };
  compare(report, "x", loss, x, analytic);
  CHECK(report.ok());
  CHECK(report.kinks == 0);
  analytic *= 1 + 1e-6;
  compare(report, "x", loss, x, analytic);
  CHECK_FALSE(report.ok());
  report.tolerance = 1e-5;
  CHECK(report.ok());
  report.merge(std::numeric_limits<double>::quiet_NaN(), "y");
  CHECK_FALSE(report.ok());
  CHECK(report.where == "y");
}

TEST_CASE("compare: a kink beside the point is counted, and is no fault") {
  Matrix<double> x(1, 3), analytic(1, 3);
  x << 2e-4, -3e-5, 0.5;  // max(0, x) bends within the first step of two of them
  analytic << 1, 0, 1;
  const auto loss = [&] { return x.cwiseMax(0.0).sum(); };
  GradientReport report;
  compare(report, "x", loss, x, analytic);
  CHECK(report.ok());
  CHECK(report.kinks == 2);
  CHECK(report.compared == 3);

  // the derivative of the other side is wrong
  for (const Index wrong : {0, 1}) {
    Matrix<double> other = analytic;
    other(wrong) = 1 - other(wrong);
    GradientReport of_other;
    compare(of_other, "x", loss, x, other);
    CHECK(of_other.worst > 0.4);
    CHECK(of_other.kinks == 1);
  }
  // and so is a right one with an error, however near the kink
  for (const double error : {1e-3, 1e-5, 1e-6, -1e-3}) {
    Matrix<double> other = analytic;
    other(0) += error;
    GradientReport of_other;
    compare(of_other, "x", loss, x, other);
    INFO(error);
    CHECK_FALSE(of_other.ok());
    CHECK(of_other.worst > 0.3 * std::abs(error));
  }
}

TEST_CASE("check_layer: a FeedForward with relu is right, wherever its kinks are") {
  Index kinks = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Random random(seed);
    FeedForward<double> layer(3, 5, Activation::relu, seed % 3 == 0 ? 0.3 : 0, random);
    scatter(layer, random);
    const GradientReport report = check_layer(layer, 3, 3, random, {3, 2, true, seed});
    INFO("seed " << seed << ": " << report.where << ", " << report.worst);
    CHECK(report.ok());
    CHECK(report.compared == 18 + 3 * 5 + 5 + 5 * 3 + 3);
    kinks += report.kinks;
  }
  CHECK(kinks > 0);
}

namespace {

/// A FeedForward with relu whose gradients are changed.
struct FaultyFeedForward : FeedForward<double> {
  using FeedForward::FeedForward;
  std::function<void(Out<double>)> change_dx = [](Out<double>) {};
  std::function<void(FeedForward<double>&)> change_grad = [](FeedForward<double>&) {};
  std::function<void(Trace&, Index)> change_trace = [](Trace&, Index) {};

  void backward(const In<double>& dy, Trace& trace, Index t, Out<double> dx) const {
    FeedForward::backward(dy, trace, t, dx);
    change_trace(trace, t);
    change_dx(dx);
  }
  void accumulate(Trace& trace, Index first_step, Index count, FaultyFeedForward& grad) const {
    FeedForward::accumulate(trace, first_step, count, grad);
    change_grad(grad);
  }
};

GradientReport report_of_faulty(std::uint64_t seed, auto&& plant) {
  Random random(seed);
  FaultyFeedForward layer(3, 5, Activation::relu, 0, random);
  scatter(layer, random);
  plant(layer);
  return check_layer(layer, 3, 3, random);
}

}  // namespace

TEST_CASE("check_layer: faults in a FeedForward with relu are found, however small") {
  // without a fault nothing is found
  for (std::uint64_t seed = 1; seed <= 10; ++seed) CHECK(report_of_faulty(seed, [](auto&) {}).ok());
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    INFO("seed " << seed);
    for (const double error : {1e-3, 1e-5}) {
      INFO("relative error " << error);
      const GradientReport input =
          report_of_faulty(seed, [&](auto& layer) { layer.change_dx = [&](Out<double> dx) { dx *= 1 + error; }; });
      CHECK_FALSE(input.ok());
      CHECK(input.where == "input");
      CHECK(input.worst > 0.9 * error);  // beside a kink it may show as a larger one
      const GradientReport weights = report_of_faulty(seed, [&](auto& layer) {
        layer.change_grad = [&](FeedForward<double>& grad) {  // adds to a gradient of ones
          grad.first.weight.array() = 1 + (grad.first.weight.array() - 1) * (1 - error);
        };
      });
      CHECK_FALSE(weights.ok());
      CHECK(weights.where == "first.weight");
      CHECK(weights.worst > 0.9 * error);
    }
    // a term is missing: the bias's gradient of the last step
    const GradientReport missing = report_of_faulty(seed, [](auto& layer) {
      layer.change_trace = [](auto& trace, Index t) {
        if (t == 2) trace.second.delta(t).setZero();
      };
    });
    CHECK(missing.worst > 1e-2);
    CHECK(missing.where.starts_with("second."));
    // a wrong sign, in one place
    const GradientReport sign =
        report_of_faulty(seed, [](auto& layer) { layer.change_dx = [](Out<double> dx) { dx(1, 1) *= -1; }; });
    CHECK_FALSE(sign.ok());
  }
}

namespace {

/// y = max(0, x), whose gradient is wrong in its size on one side of the kink only.
struct OneSided {
  bool above = true;  // where the fault is
  double error = 0;

  struct Trace {
    Matrix<double> x;
    Index lanes = 0;
  };
  void prepare(Trace& trace, const Segment& segment) const {
    trace.lanes = segment.lanes;
    trace.x.resize(4, segment.columns());
  }
  void forward(const In<double>& x, Trace& trace, Index t, Out<double> y) const {
    step_columns(trace.x, t, trace.lanes) = x;
    y = x.cwiseMax(0.0);
  }
  void backward(const In<double>& dy, Trace& trace, Index t, Out<double> dx) const {
    const auto x = step_columns(trace.x, t, trace.lanes);
    for (Index b = 0; b < dx.cols(); ++b)
      for (Index i = 0; i < 4; ++i) dx(i, b) = ((x(i, b) > 0 ? 1 : 0) + ((x(i, b) > 0) == above ? error : 0)) * dy(i, b);
  }
  void accumulate(Trace&, Index, Index, OneSided&) const {}
  template <class F, class... Same>
  static void visit(F&&, Same&...) {}
};
static_assert(ColumnLayer<OneSided, double>);

}  // namespace

TEST_CASE("check_layer: a fault on one side of a kink is found") {
  for (const bool above : {true, false}) {
    for (const double error : {1.0, 1e-3, 1e-5}) {
      for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        Random random(seed);
        INFO("above " << above << ", error " << error << ", seed " << seed);
        CHECK_FALSE(check_layer(OneSided{above, error}, 4, 4, random).ok());
        CHECK(check_layer(OneSided{above, 0}, 4, 4, random).ok());
      }
    }
  }
  // also where every point is so near to the kink that differences go across it
  Matrix<double> x(1, 2), analytic(1, 2);
  x << 1e-5, -1e-5;
  const auto loss = [&] { return x.cwiseMax(0.0).sum(); };
  for (const auto& [above, below] : std::vector<std::pair<double, double>>{{1, 1}, {0, 0}, {0.5, 0}, {1, 0.5}, {1.001, 0}}) {
    analytic << above, below;
    GradientReport report;
    compare(report, "x", loss, x, analytic);
    CHECK_FALSE(report.ok());
  }
}

TEST_CASE("check_block: every parameter, the input, the slots, and the position term") {
  Config c = small_config();
  c.head_size = 3;
  c.norm_epsilon = 0.1;
  c.activation = GENERATE(Activation::relu, Activation::geglu);
  c.pre_norm = GENERATE(true, false);
  c.dropout = GENERATE(0.0, 0.3);
  c.position = GENERATE(PositionTerm::relative_key, PositionTerm::per_head);
  Random random(1);
  Block<double> block(c, random);
  Position<double> position(c.position, c.head_columns(), c.heads, c.window, random);
  scatter(block, random);
  scatter(position, random);
  const GradientReport report = check_block(block, position, c.width, random);
  INFO(describe(c) << report.where << ", " << report.worst);
  CHECK(report.ok());
  // 4 steps of 3 lanes, before which there are 2 slots
  CHECK(report.compared == 4 * 3 * c.width + 2 * 6 * 3 * c.heads * 3 + count_parameters(block) + count_parameters(position));
}

TEST_CASE("check_core: a core that is right passes, step by step from a carried memory") {
  Config c = small_config();
  c.norm_epsilon = 0.1;
  c.activation = Activation::relu;
  c.memory_rule = GENERATE(MemoryRule::feedback, MemoryRule::recurrent, MemoryRule::transformer);
  c.share_key_value = !c.remembers_per_layer();
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  c.dropout = GENERATE(0.0, 0.3);
  Random random(1);
  FeedbackCore<double> core(c, random);
  scatter(core, random);
  const GradientReport report = check_core(core, random);
  INFO(describe(c) << report.where << ", " << report.worst);
  CHECK(report.ok());
  CHECK(report.compared == c.width * 10 + count_parameters(core));
}

TEST_CASE("check_core: an LstmCore") {
  LstmConfig c;
  c.vocabulary = 5;
  c.width = 4;
  c.heads = 2;
  c.window = 3;
  c.attention = GENERATE(false, true);
  Random random(1);
  LstmCore<double> core(c, random);
  scatter(core, random);
  const GradientReport report = check_core(core, random);
  INFO(report.where);
  CHECK(report.ok());
  CHECK(report.compared == c.width * 10 + count_parameters(core));
}

namespace {

/// A FeedForward that forgets the gradient of its first bias.
struct Forgetful : FeedForward<double> {
  using FeedForward::FeedForward;
  void accumulate(Trace& trace, Index first_step, Index count, Forgetful& grad) const {
    const Vector<double> before = grad.first.bias;
    FeedForward::accumulate(trace, first_step, count, grad);
    grad.first.bias = before;
  }
};
/// A norm whose way back leaves out the mean.
struct Careless : LayerNorm<double> {
  using LayerNorm::LayerNorm;
  void backward(const In<double>& dy, Trace& trace, Index t, Out<double> dx) const {
    LayerNorm::backward(dy, trace, t, dx);
    dx.array() += 1e-4;
  }
};

}  // namespace

TEST_CASE("check_block and check_core: a faulty part is found") {
  Config c = small_config();
  c.norm_epsilon = 0.1;
  Random random(1);
  const Position<double> position(c.position, c.head_columns(), c.heads, c.window, random);
  const Block<double, LayerNorm<double>, Forgetful> forgetful(c, random);
  const GradientReport of_block = check_block(forgetful, position, c.width, random);
  CHECK(of_block.worst > 0.5);
  CHECK(of_block.where == "feed_forward.first.bias");
  const FeedbackCore<double, Block<double, LayerNorm<double>, Forgetful>> forgetful_core(c, random);
  const GradientReport of_core = check_core(forgetful_core, random);
  CHECK(of_core.worst > 0.5);
  CHECK(of_core.where.ends_with("feed_forward.first.bias"));

  const Block<double, Careless> careless(c, random);
  CHECK_FALSE(check_block(careless, position, c.width, random).ok());
  const FeedbackCore<double, Block<double, Careless>> careless_core(c, random);
  CHECK_FALSE(check_core(careless_core, random).ok());
}
