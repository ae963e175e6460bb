#include "fbt/testing/gradient_check.hpp"

#include "support/catch.hpp"

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
  void accumulate(Trace& trace, Scale& grad) const {
    if (fault == Fault::overwrites_gradient) grad.weight.setZero();
    grad.weight += trace.x.cwiseProduct(trace.dy).rowwise().sum();
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
