#include "fbt/training/cross_entropy.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

using namespace fbt;

namespace {

/// -log softmax(z)_target as it is written, without the usual care.
double direct(const Matrix<double>& z, Index column, Token target) {
  double sum = 0;
  for (Index i = 0; i < z.rows(); ++i) sum += std::exp(z(i, column));
  return -std::log(std::exp(z(target, column)) / sum);
}

}  // namespace

TEST_CASE("cross_entropy: the value, with labels that are not scored") {
  Random random(1);
  const Matrix<double> z = 3 * random_matrix(5, 4, random);
  const std::vector<Token> targets{4, -1, 0, 2};
  const CrossEntropy loss = cross_entropy(z, targets);
  CHECK(loss.count == 3);
  CHECK(loss.sum == Approx(direct(z, 0, 4) + direct(z, 2, 0) + direct(z, 3, 2)).epsilon(1e-13));
  CHECK(loss.mean() == Approx(loss.sum / 3).epsilon(1e-15));

  // equal logits: log V, whatever their size
  CHECK(cross_entropy<double>(Matrix<double>::Constant(7, 1, -12.5), std::vector<Token>{3}).sum ==
        Approx(std::log(7.0)).epsilon(1e-14));

  CrossEntropy total = loss;
  total += loss;
  CHECK(total.count == 6);
  CHECK(total.sum == 2 * loss.sum);
}

TEST_CASE("cross_entropy: no column is scored") {
  const Matrix<double> z = Matrix<double>::Random(3, 2);
  const CrossEntropy loss = cross_entropy(z, std::vector<Token>{-1, -100});
  CHECK(loss.count == 0);
  CHECK(loss.sum == 0);
}

TEST_CASE("cross_entropy: the gradient") {
  Random random(2);
  Matrix<double> z = random_matrix(6, 5, random);
  const std::vector<Token> targets{5, 0, -1, 3, 3};
  const double scale = 0.25;
  Matrix<double> dz = Matrix<double>::Constant(6, 5, std::numeric_limits<double>::quiet_NaN());
  const CrossEntropy loss = cross_entropy<double>(z, targets, scale, dz);
  CHECK(loss.sum == Approx(cross_entropy(z, targets).sum).epsilon(1e-15));
  CHECK(dz.col(2).isZero(0));

  GradientReport report;
  compare(
      report, "logits", [&] { return scale * cross_entropy(z, targets).sum; }, z, dz);
  CHECK(report.compared == 30);
  CHECK(report.worst < 1e-9);

  Matrix<double> in_place = z;
  const CrossEntropy same = cross_entropy<double>(in_place, targets, scale, in_place);
  CHECK(in_place == dz);
  CHECK(same.sum == loss.sum);
}

TEST_CASE("cross_entropy: huge logits") {
  Matrix<float> z(3, 2);
  z << 1e30f, -1e30f, 0, 0, -1e30f, 1e30f;
  Matrix<float> dz(3, 2);
  const CrossEntropy loss = cross_entropy<float>(z, std::vector<Token>{0, 1}, 1, dz);
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
  CHECK(message_of<std::invalid_argument>([&] { cross_entropy<double>(z, good, 1, dz); }) ==
        "cross-entropy: expected a gradient of shape (3, 2), found (3, 1)");
  CHECK_NOTHROW(cross_entropy<double>(z, good, 1, none));
}
