#include "fbt/training/losses.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <cmath>
#include <limits>

using namespace fbt;

namespace {

/// -log softmax(z)_target as it is written, without the usual care.
double direct(const Matrix<double>& z, Index column, Token target) {
  double sum = 0;
  for (Index i = 0; i < z.rows(); ++i) sum += std::exp(z(i, column));
  return -std::log(std::exp(z(target, column)) / sum);
}

template <class Scalar>
LossSum loss_and_gradient(const In<Scalar>& z, Tokens labels, Scalar scale, Out<Scalar> dz) {
  return CrossEntropy{}.operator()<Scalar>(z, labels, scale, dz);
}

}  // namespace

TEST_CASE("cross_entropy: the value, with labels that are not scored") {
  Random random(1);
  const Matrix<double> z = 3 * random_matrix(5, 4, random);
  const std::vector<Token> targets{4, -1, 0, 2};
  const LossSum loss = cross_entropy(z, targets);
  CHECK(loss.count == 3);
  CHECK(CrossEntropy::count(targets) == 3);
  CHECK(loss.sum == Approx(direct(z, 0, 4) + direct(z, 2, 0) + direct(z, 3, 2)).epsilon(1e-13));
  CHECK(loss.mean() == Approx(loss.sum / 3).epsilon(1e-15));

  // equal logits: log V, whatever their size
  CHECK(cross_entropy<double>(Matrix<double>::Constant(7, 1, -12.5), std::vector<Token>{3}).sum ==
        Approx(std::log(7.0)).epsilon(1e-14));

  LossSum total = loss;
  total += loss;
  CHECK(total.count == 6);
  CHECK(total.sum == 2 * loss.sum);
}

TEST_CASE("cross_entropy: no column is scored") {
  const Matrix<double> z = Matrix<double>::Random(3, 2);
  const LossSum loss = cross_entropy(z, std::vector<Token>{-1, -100});
  CHECK(loss.count == 0);
  CHECK(loss.sum == 0);
}

TEST_CASE("cross_entropy: the gradient") {
  Random random(2);
  Matrix<double> z = random_matrix(6, 5, random);
  const std::vector<Token> targets{5, 0, -1, 3, 3};
  const double scale = 0.25;
  Matrix<double> dz = Matrix<double>::Constant(6, 5, std::numeric_limits<double>::quiet_NaN());
  const LossSum loss = loss_and_gradient<double>(z, targets, scale, dz);
  CHECK(loss.sum == Approx(cross_entropy(z, targets).sum).epsilon(1e-15));
  CHECK(dz.col(2).isZero(0));

  GradientReport report;
  compare(
      report, "logits", [&] { return scale * cross_entropy(z, targets).sum; }, z, dz);
  CHECK(report.compared == 30);
  CHECK(report.worst < 1e-9);

  Matrix<double> in_place = z;
  const LossSum same = loss_and_gradient<double>(in_place, targets, scale, in_place);
  CHECK(in_place == dz);
  CHECK(same.sum == loss.sum);
}

TEST_CASE("cross_entropy: smoothed labels") {
  Random random(3);
  Matrix<double> z = 2 * random_matrix(4, 3, random);
  const std::vector<Token> targets{3, -1, 1};
  const CrossEntropy smoothed{0.2};
  Matrix<double> none;
  const auto value = [&] { return smoothed.operator()<double>(z, targets, 1.0, none).sum; };
  double expected = 0;  // 0.8 of every label itself, 0.05 of each of the four classes
  for (const Index column : {0, 2}) {
    expected += 0.8 * direct(z, column, targets[static_cast<std::size_t>(column)]);
    for (Token label = 0; label < 4; ++label) expected += 0.05 * direct(z, column, label);
  }
  CHECK(value() == Approx(expected).epsilon(1e-14));

  Matrix<double> dz = Matrix<double>::Constant(4, 3, std::numeric_limits<double>::quiet_NaN());
  smoothed.operator()<double>(z, targets, 1.0, dz);
  GradientReport report;
  compare(report, "logits", value, z, dz);
  CHECK(report.compared == 12);
  CHECK(report.worst < 1e-9);
  CHECK(dz.col(1).isZero(0));
  Matrix<double> in_place = z;
  smoothed.operator()<double>(in_place, targets, 1.0, in_place);
  CHECK(in_place == dz);

  for (const double bad : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()})
    CHECK_THROWS_WITH(CrossEntropy{bad}.operator()<double>(z, targets, 1.0, none),
                      ContainsSubstring("smoothing must be at least 0 and below 1"));
}

TEST_CASE("cross_entropy: huge logits") {
  Matrix<float> z(3, 2);
  z << 1e30f, -1e30f, 0, 0, -1e30f, 1e30f;
  Matrix<float> dz(3, 2);
  const LossSum loss = loss_and_gradient<float>(z, std::vector<Token>{0, 1}, 1, dz);
  CHECK(loss.sum == Approx(1e30));
  Matrix<float> expected(3, 2);
  expected << 0, 0, 0, -1, 0, 1;
  CHECK(dz == expected);

  Matrix<double> narrow(2, 1);  // 800 apart: exp() of either would overflow or vanish
  narrow << 1000, 200;
  CHECK(cross_entropy(narrow, std::vector<Token>{1}).sum == Approx(800));
  CHECK(cross_entropy(narrow, std::vector<Token>{0}).sum == 0);
}

TEST_CASE("cross_entropy: logits that are not finite give a loss that is not finite") {
  const double bad = GENERATE(std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity());
  const Index row = GENERATE(0, 1, 2);
  Matrix<double> z = Matrix<double>::Zero(3, 1);
  z(row, 0) = bad;
  CHECK_FALSE(std::isfinite(cross_entropy(z, std::vector<Token>{1}).sum));
}

TEST_CASE("cross_entropy: errors") {
  Matrix<double> z = Matrix<double>::Zero(3, 2), dz(3, 1), none;
  const std::vector<Token> three{0, 0, 0}, outside{0, 3}, good{0, 2};
  CHECK(message_of<std::invalid_argument>([&] { cross_entropy(z, three); }) ==
        "cross-entropy: 3 targets for 2 columns of logits");
  CHECK(message_of<std::invalid_argument>([&] { cross_entropy(z, outside); }) ==
        "cross-entropy: target 3 is outside the vocabulary of 3");
  CHECK(message_of<std::invalid_argument>([&] { loss_and_gradient<double>(z, good, 1, dz); }) ==
        "cross-entropy: expected a gradient of shape (3, 2), found (3, 1)");
  CHECK_NOTHROW(loss_and_gradient<double>(z, good, 1, none));
}

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
Vectors<double> view(const Matrix<double>& m) { return {m.data(), m.rows(), m.cols()}; }

}  // namespace

TEST_CASE("SquaredError: the value, with entries that are not scored") {
  Matrix<double> y(2, 3), targets(2, 3), none;
  y << 1, 2, 3, 4, 5, 6;
  targets << 0, 2, not_a_number, 1, not_a_number, not_a_number;  // differences 1, 0, 3
  const SquaredError<double> squared_error;
  CHECK(SquaredError<double>::count(view(targets)) == 3);
  const LossSum loss = squared_error(y, view(targets), 1.0, none);
  CHECK(loss.count == 3);
  CHECK(loss.sum == 10);
  CHECK(loss.mean() == Approx(10.0 / 3));

  const Matrix<double> all_nan = Matrix<double>::Constant(2, 3, not_a_number);
  CHECK(squared_error(y, view(all_nan), 1.0, none).count == 0);
  CHECK(squared_error(y, view(all_nan), 1.0, none).sum == 0);
}

TEST_CASE("SquaredError: the gradient") {
  Random random(2);
  Matrix<double> y = random_matrix(3, 4, random), targets = random_matrix(3, 4, random), none;
  targets(1, 2) = not_a_number;
  targets.col(3).setConstant(not_a_number);
  const SquaredError<double> squared_error;
  const double scale = 0.25;
  Matrix<double> dy = Matrix<double>::Constant(3, 4, not_a_number);
  const LossSum loss = squared_error(y, view(targets), scale, dy);
  CHECK(loss.count == 8);
  CHECK(dy(1, 2) == 0);
  CHECK(dy.col(3).isZero(0));
  GradientReport report;
  compare(
      report, "outputs", [&] { return scale * squared_error(y, view(targets), scale, none).sum; }, y, dy);
  CHECK(report.compared == 12);
  CHECK(report.worst < 1e-9);
  CHECK(dy.squaredNorm() > 0.01);

  Matrix<double> in_place = y;
  const LossSum same = squared_error(in_place, view(targets), scale, in_place);
  CHECK(in_place == dy);
  CHECK(same.sum == loss.sum);
}

TEST_CASE("SquaredError: an output that is not finite gives a loss that is not finite, where it is scored") {
  const double bad = GENERATE(std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity());
  Matrix<double> y = Matrix<double>::Zero(2, 1), targets = Matrix<double>::Ones(2, 1), dy(2, 1);
  y(1) = bad;
  CHECK_FALSE(std::isfinite(SquaredError<double>{}(y, view(targets), 1.0, dy).sum));
  targets(1) = not_a_number;
  CHECK(SquaredError<double>{}(y, view(targets), 1.0, dy).sum == 1);
  CHECK(dy(1) == 0);
}

TEST_CASE("SquaredError: errors") {
  const Matrix<double> y = Matrix<double>::Zero(3, 2), good = y, narrow = Matrix<double>::Zero(3, 1),
                       flat_one = Matrix<double>::Zero(2, 2);
  Matrix<double> dy(3, 1), none;
  const SquaredError<double> squared_error;
  CHECK(message_of<std::invalid_argument>([&] { squared_error(y, view(narrow), 1.0, none); }) ==
        "squared error: expected targets of shape (3, 2), found (3, 1)");
  CHECK(message_of<std::invalid_argument>([&] { squared_error(y, view(flat_one), 1.0, none); }) ==
        "squared error: expected targets of shape (3, 2), found (2, 2)");
  CHECK(message_of<std::invalid_argument>([&] { squared_error(y, view(good), 1.0, dy); }) ==
        "squared error: expected a gradient of shape (3, 2), found (3, 1)");
}
