#include "fbt/kernels/attention_products.hpp"

#include "support/catch.hpp"
#include "support/framed.hpp"

#include <vector>

using namespace fbt;
using namespace fbt::kernels;

namespace {

/// The largest error of all products of one shape.
template <class Scalar>
long double worst_vector_error(Index m, Index n, Random& random) {
  const Matrix<Scalar> a = random_matrix<Scalar>(m, n, random), x = random_matrix<Scalar>(n, 1, random);
  const Matrix<Scalar> y = random_matrix<Scalar>(m, 1, random);
  const Exact exact_a = exact(a), exact_x = exact(x), exact_y = exact(y);
  const Matrix<Scalar> more_x = random_matrix<Scalar>(n, 10, random), more_y = random_matrix<Scalar>(m, 10, random);
  Framed<Scalar> matrix(a), sum(a), column(y), row(x), x_framed(x), y_framed(y);
  add_product<Scalar>(matrix.view(), x_framed.view().data(), column.view().data());
  add_transposed_product<Scalar>(matrix.view(), y_framed.view().data(), row.view().data());
  std::vector<const Scalar*> lefts, rights;  // 10 pairs and one: groups of every size
  Framed<Scalar> more_x_framed(more_x), more_y_framed(more_y);
  const Index pairs = 1 + (m + n) % 10;
  for (Index l = 0; l < pairs; ++l) {
    lefts.push_back(more_y_framed.view().col(l).data());
    rights.push_back(more_x_framed.view().col(l).data());
  }
  add_outer_products<Scalar>(sum.view(), lefts, rights);

  long double worst = 0;
  const auto see = [&](Framed<Scalar>& result, const Exact& start, const Exact& left, const Exact& right) {
    constexpr long double epsilon = std::numeric_limits<Scalar>::epsilon();
    const long double error = error_of(exact(result.view()), start + times(left, right), left, right, epsilon);
    worst = std::max(worst, result.intact() ? error : infinity);
  };
  see(column, exact_y, exact_a, exact_x);
  see(row, exact_x, exact_a.transpose(), exact_y);
  see(sum, exact_a, exact(more_y.leftCols(pairs)), exact(more_x.leftCols(pairs)).transpose());
  return worst;
}

template <class Scalar>
Exact exact_softmax(const Exact& x, Scalar scale) {
  const Exact powers = ((x.array() - x.maxCoeff()) * static_cast<long double>(scale)).exp();
  return powers / powers.sum();
}

}  // namespace

TEMPLATE_TEST_CASE("vector products: all small shapes", "", float, double, long double) {
  Random random(1);
  long double worst = 0;
  const Index last = std::is_same_v<TestType, long double> ? 10 : 70;
  for (Index m = 1; m <= last; ++m)
    for (Index n = 1; n <= last; ++n) worst = std::max(worst, worst_vector_error<TestType>(m, n, random));
  CHECK(worst < 1);
  CHECK(worst_vector_error<TestType>(300, 17, random) < 1);
  CHECK(worst_vector_error<TestType>(17, 300, random) < 1);
}

TEMPLATE_TEST_CASE("scaled_softmax: all lengths", "", float, double, long double) {
  Random random(1);
  constexpr long double epsilon = std::numeric_limits<TestType>::epsilon();
  for (Index n = 1; n <= 70; ++n) {
    Framed<TestType> x(10 * random_matrix<TestType>(n, 1, random));
    const Exact expected = exact_softmax(exact(x.view()), TestType(0.5));
    scaled_softmax(x.view().data(), n, TestType(0.5));
    // the argument of exp, up to 35 here, carries its own rounding error
    CHECK(largest(exact(x.view()) - expected) < 50 * epsilon);
    CHECK(x.intact());
  }
}

TEMPLATE_TEST_CASE("scaled_softmax: huge values and values far apart", "", float, double) {
  for (const Index n : {2, 3, 20, 33}) {
    constexpr TestType huge = std::numeric_limits<TestType>::max();
    Vector<TestType> x = Vector<TestType>::Constant(n, -huge);
    x(n - 1) = x(0) = huge;
    scaled_softmax(x.data(), n, TestType(0.125));
    CHECK(x(0) == Approx(0.5));
    CHECK(x(n - 1) == Approx(0.5));
    CHECK(x.sum() == Approx(1));
    x.setConstant(-huge);
    scaled_softmax(x.data(), n, TestType(1));
    CHECK(x.isApproxToConstant(TestType(1) / static_cast<TestType>(n)));
    x.setZero();
    x(1) = std::numeric_limits<TestType>::quiet_NaN();
    scaled_softmax(x.data(), n, TestType(1));
    CHECK(std::isnan(x(0)));  // what is wrong shows
  }
}

TEMPLATE_TEST_CASE("scaled_softmax_backward: all lengths", "", float, double, long double) {
  Random random(1);
  constexpr long double epsilon = std::numeric_limits<TestType>::epsilon();
  for (Index n = 1; n <= 70; ++n) {
    Matrix<TestType> start = random_matrix<TestType>(n, 1, random);
    scaled_softmax(start.data(), n, TestType(1));
    Framed<TestType> p(start), dp(random_matrix<TestType>(n, 1, random));
    const Exact exact_p = exact(start), exact_dp = exact(dp.view());
    const long double mean = exact_p.cwiseProduct(exact_dp).sum();
    const Exact expected = exact_p.array() * (exact_dp.array() - mean) * 0.25L;
    scaled_softmax_backward(p.view().data(), dp.view().data(), n, TestType(0.25));
    CHECK(largest(exact(p.view()) - expected) < 10 * epsilon);
    CHECK(p.intact());
  }
}
