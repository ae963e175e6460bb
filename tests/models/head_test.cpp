#include "fbt/models/head.hpp"

#include "fbt/models/config.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

#include <string>
#include <vector>

using namespace fbt;

static_assert(ColumnLayer<Head<float>, float> && ColumnLayer<Head<double>, double>);

namespace {

// What a head reads of a config.
struct Options {
  Index width = 4, rows = 3;
  bool norm = true, log_probabilities = false;
  double norm_epsilon = 0.1;

  Index output_rows() const { return rows; }
  bool norms_output() const { return norm; }
};

Head<double> scattered_head(const Options& options, Random& random) {
  Head<double> head(options, random);
  scatter(head, random);
  return head;
}
Matrix<double> outputs_of(const Head<double>& head, const Matrix<double>& h, const Segment& segment) {
  Head<double>::Trace trace;
  head.prepare(trace, segment);
  Matrix<double> y(head.outputs(), segment.columns());
  for (Index t = 0; t < segment.steps; ++t)
    head.forward(step_columns(h, t, segment.lanes), trace, t, step_columns(y, t, segment.lanes));
  return y;
}

}  // namespace

TEST_CASE("Head: gradients") {
  Random random(1);
  Options options;
  options.norm = GENERATE(true, false);
  options.log_probabilities = GENERATE(true, false);
  const Segment segment = GENERATE(Segment{3, 2, true, 1}, Segment{1, 6, true, 1}, Segment{2, 1, true, 1});
  const Head<double> head = scattered_head(options, random);
  const GradientReport report = check_layer(head, options.width, options.rows, random, segment);
  INFO(report.where << ", norm " << options.norm << ", log probabilities " << options.log_probabilities);
  CHECK(report.compared == options.width * segment.columns() + count_parameters(head));
  CHECK(count_parameters(head) == 3 * 4 + 3 + (options.norm ? 8 : 0));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("Head: plain arithmetic gives the same") {
  Random random(1);
  Options options;
  options.norm = GENERATE(true, false);
  options.log_probabilities = GENERATE(true, false);
  const Head<double> head = scattered_head(options, random);
  const Matrix<double> h = random_matrix(options.width, 6, random);
  Matrix<double> expected(options.rows, 6);
  for (Index c = 0; c < 6; ++c) {
    Vector<double> n = h.col(c);
    if (options.norm) {
      const double mean = n.sum() / 4;
      double variance = 0;
      for (const double v : n) variance += (v - mean) * (v - mean) / 4;
      for (Index i = 0; i < 4; ++i)
        n(i) = head.norm.weight(i) * (n(i) - mean) / std::sqrt(variance + options.norm_epsilon) + head.norm.bias(i);
    }
    double total = 0;
    for (Index r = 0; r < options.rows; ++r) {
      double z = head.linear.bias(r);
      for (Index i = 0; i < 4; ++i) z += head.linear.weight(r, i) * n(i);
      expected(r, c) = z;
      total += std::exp(z);
    }
    if (options.log_probabilities) expected.col(c).array() -= std::log(total);
  }
  CHECK(difference(outputs_of(head, h, {3, 2, false, 0}), expected) < 1e-13);
  // a model runs it over all columns of a segment as one step
  CHECK(difference(outputs_of(head, h, {1, 6, false, 0}), expected) < 1e-13);
  CHECK(difference(outputs_of(head, h, {1, 6, true, 0}), expected) < 1e-13);
}

TEST_CASE("Head: log-probabilities of huge numbers") {
  Random random(1);
  Options options;
  options.norm = false;
  options.log_probabilities = true;
  Head<double> head(options, random);
  head.linear.weight.setZero();
  const auto run = [&] { return outputs_of(head, Matrix<double>::Zero(4, 1), {1, 1, false, 0}); };
  head.linear.bias << 1e5, 1e5, -1e5;  // exp of it is infinite
  const Matrix<double> y = run();
  CHECK(y(0) == Approx(-std::log(2)).epsilon(1e-9));
  CHECK(y(1) == Approx(-std::log(2)).epsilon(1e-9));
  CHECK(y(2) == Approx(-2e5 - std::log(2)).epsilon(1e-15));
  head.linear.bias << 1e300, 1e300, -1e300;
  CHECK(run()(0) == Approx(-std::log(2)).epsilon(1e-12));
  CHECK(run().allFinite());
}

TEST_CASE("Head: names, sizes, and what is kept only to go back") {
  Random random(1);
  Options options;
  options.rows = 7;
  options.log_probabilities = true;
  for (const bool norm : {true, false}) {
    options.norm = norm;
    const Head<double> head(options, random);
    std::vector<std::string> names;
    visit([&](std::string_view name, const auto&) { names.emplace_back(name); }, head);
    const std::vector<std::string> with_norm{"norm_out.weight", "norm_out.bias", "head.weight", "head.bias"};
    CHECK(names == std::vector<std::string>(with_norm.begin() + (norm ? 0 : 2), with_norm.end()));
    CHECK(head.outputs() == 7);
    Head<double>::Trace trace;
    head.prepare(trace, {2, 3, true, 0});
    CHECK(trace.probabilities.size() == 7 * 6);
    head.prepare(trace, {2, 3, false, 0});
    CHECK(trace.probabilities.size() == 0);
    CHECK(trace.dnormed.size() == 0);
  }
}

namespace {

/// y = x / max |x|: a norm without a parameter.
struct Weightless {
  struct Trace {
    Matrix<double> x, y;
    Index lanes = 0;
  };
  Weightless() = default;
  Weightless(Index, double) {}
  void prepare(Trace& trace, const Segment& segment) const { trace.lanes = segment.lanes; }
  void forward(const In<double>& x, Trace&, Index, Out<double> y) const {
    for (Index b = 0; b < x.cols(); ++b) y.col(b) = x.col(b) / x.col(b).cwiseAbs().maxCoeff();
  }
  void backward(const In<double>&, Trace&, Index, Out<double>) const {}
  void accumulate(Trace&, Index, Index, Weightless&) const {}
  template <class F, class... Same>
  static void visit(F&&, Same&...) {}
};

}  // namespace

TEST_CASE("Head: a norm without parameters is a norm, too") {
  Random random(1);
  Config config{.vocabulary = 3, .width = 4};
  const Head<double, Weightless> head(config, random);
  typename Head<double, Weightless>::Trace trace;
  head.prepare(trace, {1, 1, false, 0});
  const Matrix<double> h = Matrix<double>::Random(4, 1);
  Matrix<double> y(3, 1), larger(3, 1);
  head.forward(h, trace, 0, y);
  head.forward(10 * h, trace, 0, larger);
  CHECK((y - larger).norm() < 1e-12);
  CHECK(y.norm() > 0);
}
