#include "fbt/layers/dropout.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"

using namespace fbt;

static_assert(ColumnLayer<Dropout<float>, float> && ColumnLayer<Dropout<double>, double>);

namespace {

Matrix<double> mask_of(const Dropout<double>& layer, const Segment& segment) {
  Dropout<double>::Trace trace;
  layer.prepare(trace, segment);
  return trace.mask;
}

}  // namespace

TEST_CASE("Dropout: gradients") {
  Random random(1);
  const Index lanes = GENERATE(1, 2, 3);
  const GradientReport report = check_layer(Dropout<double>{5, 0.4}, 5, 5, random, {3, lanes, true, 7});
  CHECK(report.compared == 5 * 3 * lanes);
  CHECK(report.worst < 1e-9);
}

TEST_CASE("Dropout: rate and scale") {
  const double rate = GENERATE(0.1, 0.5, 0.9);
  const Matrix<double> mask = mask_of({100, rate}, {50, 4, true, 3});
  CHECK(mask.rows() == 100);
  CHECK(mask.cols() == 200);
  const double keep = mask.maxCoeff();
  CHECK(keep == Approx(1 / (1 - rate)).epsilon(1e-3));
  CHECK((mask.array() == 0 || mask.array() == keep).all());
  CHECK(static_cast<double>((mask.array() == 0).count()) / 20000 == Approx(rate).margin(0.015));
  CHECK(mask.mean() == Approx(1).margin(0.06));
}

TEST_CASE("Dropout: the expectation is kept exactly, whatever multiple of 2^-16 the rate becomes") {
  const double rate = GENERATE(0.1, 0.3, 1e-4);
  const double kept_rate = std::round(rate * 65536) / 65536;
  const double keep = mask_of({100, rate}, {10, 1, true, 3}).maxCoeff();
  CHECK(keep * (1 - kept_rate) == Approx(1).epsilon(1e-15));
}

TEST_CASE("Dropout: one seed gives one mask") {
  const Dropout<double> layer{10, 0.5};
  const Matrix<double> mask = mask_of(layer, {4, 2, true, 3});
  CHECK(mask == mask_of(layer, {4, 2, true, 3}));
  CHECK(mask != mask_of(layer, {4, 2, true, 4}));
  CHECK(step_columns(mask, 0, 2) != step_columns(mask, 1, 2));
}

TEST_CASE("Dropout: the masks of a group of steps can be drawn again alone") {
  const Dropout<double> layer{3, 0.4};
  const Segment segment{2 * delta_steps + 3, 3, true, 7};
  const Matrix<double> mask = mask_of(layer, segment);
  for (Index g = 0; g < 3; ++g) {
    CAPTURE(g);
    const Index steps = g < 2 ? delta_steps : 3;
    const Matrix<double> again = mask_of(layer, segment.group(g));
    CHECK(again.cols() == delta_steps * 3);
    CHECK(again.leftCols(steps * 3) == mask.middleCols(g * delta_steps * 3, steps * 3));
  }
  CHECK(mask.leftCols(delta_steps * 3) != mask.middleCols(delta_steps * 3, delta_steps * 3));
}

TEST_CASE("Dropout: the identity when evaluating, or at rate 0") {
  Random random(1);
  const auto [rate, train] = GENERATE(table<double, bool>({{0.5, false}, {0, true}, {1e-9, true}}));
  const Dropout<double> layer{4, rate};
  Dropout<double>::Trace trace;
  layer.prepare(trace, {2, 3, true, 1});  // whatever the Trace held before
  layer.prepare(trace, {1, 3, train, 1});
  CHECK_FALSE(trace.active());
  const Matrix<double> x = random_matrix(4, 3, random);
  Matrix<double> y(4, 3), dx(4, 3);
  layer.forward(x, trace, 0, y);
  layer.backward(x, trace, 0, dx);
  CHECK(y == x);
  CHECK(dx == x);
}

TEST_CASE("Dropout: works in place") {
  Random random(1);
  const Dropout<double> layer{4, 0.5};
  Dropout<double>::Trace trace;
  layer.prepare(trace, {1, 3, true, 1});
  const Matrix<double> x = random_matrix(4, 3, random);
  Matrix<double> y = x;
  layer.forward(y, trace, 0, y);
  CHECK(y == x.cwiseProduct(trace.mask));
}

TEST_CASE("Dropout: a rate out of range is refused") {
  const double rate = GENERATE(-0.1, 1.0, std::numeric_limits<double>::quiet_NaN());
  Dropout<double>::Trace trace;
  CHECK_THROWS_WITH((Dropout<double>{4, rate}.prepare(trace, {1, 3, true, 1})),
                    ContainsSubstring("the dropout rate must be at least 0 and below 1, found "));
}

TEST_CASE("Dropout: some are kept at any rate below 1, and there have to be rows") {
  const Matrix<double> mask = mask_of({100, 0.999999}, {5000, 4, true, 3});
  CHECK(mask.allFinite());
  CHECK(mask.maxCoeff() == 65536);
  CHECK_THROWS_WITH(mask_of({0, 0.5}, {1, 1, true, 3}), "a dropout rate of 0.5: expected at least 1 row, found 0");
  CHECK_NOTHROW(mask_of({0, 0}, {1, 1, true, 3}));
}
