#include "fbt/kernels/columns.hpp"

#include "support/catch.hpp"
#include "support/framed.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

using namespace fbt;
using namespace fbt::kernels;

TEMPLATE_TEST_CASE("relu_backward: only where y is above 0, at every length", "", float, double) {
  Random random(1);
  for (Index n = 0; n <= 40; ++n) {
    const Vector<TestType> y = random_matrix<TestType>(n, 1, random).cwiseMax(TestType(0));
    const Vector<TestType> before = random_matrix<TestType>(n + 5, 1, random);
    Vector<TestType> dy = before;
    relu_backward(y.data(), dy.data(), n);
    for (Index i = 0; i < n + 5; ++i) CHECK(dy(i) == (i >= n || y(i) > 0 ? before(i) : 0));
  }
}

TEMPLATE_TEST_CASE("add_columns: all small shapes", "", float, double, long double) {
  Random random(1);
  const Index last = std::is_same_v<TestType, long double> ? 10 : 70;
  long double worst = 0;
  for (Index m = 1; m <= last; ++m) {
    for (Index n = 1; n <= last; ++n) {
      const Matrix<TestType> a = random_matrix<TestType>(m, n, random);
      const Matrix<TestType> y = random_matrix<TestType>(m, 1, random);
      Framed<TestType> matrix(a), sum(y);
      add_columns<TestType>(matrix.view(), sum.view().data());
      const Exact ones = Exact::Ones(n, 1);
      const long double error = error_of(exact(sum.view()), exact(y) + times(exact(a), ones), exact(a), ones,
                                         std::numeric_limits<TestType>::epsilon());
      worst = std::max(worst, sum.intact() ? error : infinity);
    }
  }
  CHECK(worst < 1);
}

TEST_CASE("softmax: by hand") {
  Vector<double> v{{std::log(1), std::log(2), std::log(5)}};
  softmax(v);
  CHECK(v(0) == Approx(0.125).epsilon(1e-14));
  CHECK(v(1) == Approx(0.25).epsilon(1e-14));
  CHECK(v(2) == Approx(0.625).epsilon(1e-14));
}

TEST_CASE("softmax: huge values") {
  Vector<float> v{{3e38f, 3e38f, -3e38f}};
  softmax(v);
  CHECK(v(0) == 0.5f);
  CHECK(v(1) == 0.5f);
  CHECK(v(2) == 0);
  v << -3e38f, -3e38f, -3e38f;
  softmax(v);
  CHECK(v.isApproxToConstant(1 / 3.f));
  v << 1e30f, 0, -1e30f;
  softmax(v);
  CHECK(v == Vector<float>{{1, 0, 0}});
  v << 0, -std::numeric_limits<float>::infinity(), 0;  // a masked entry
  softmax(v);
  CHECK(v == Vector<float>{{0.5f, 0, 0.5f}});
}

TEST_CASE("softmax: adding a constant changes nothing; single entries; parts of a matrix") {
  Matrix<double> m(3, 2);
  m << 1, 101, 2, 102, 3, 103;
  softmax(m.col(0));
  softmax(m.col(1));
  CHECK((m.col(0) - m.col(1)).norm() < 1e-14);
  CHECK(m.col(0).sum() == Approx(1));
  auto part = m.col(0).tail(1);
  softmax(part);
  CHECK(m(2, 0) == 1);
}

TEST_CASE("gelu: values") {
  CHECK(gelu(0.0) == 0);
  CHECK(gelu(1.0) == Approx(0.8413447460685429).epsilon(1e-15));
  CHECK(gelu(-1.0) == Approx(-0.15865525393145707).epsilon(1e-14));
  CHECK(gelu(2.0) == Approx(1.9544997361036416).epsilon(1e-15));
  CHECK(gelu(1.f) == Approx(0.8413447f).epsilon(1e-6));
  CHECK(gelu(1e3) == 1e3);
  CHECK(std::abs(gelu(-1e3)) == 0);
}

TEST_CASE("gelu: derivative") {
  CHECK(gelu_derivative(0.0) == 0.5);
  CHECK(gelu_derivative(1e3) == 1);
  CHECK(gelu_derivative(-1e3) == 0);
  for (double x = -4; x <= 4; x += 0.25) {
    const double h = 1e-3;
    const double numeric = (8 * (gelu(x + h) - gelu(x - h)) - (gelu(x + 2 * h) - gelu(x - 2 * h))) / (12 * h);
    CHECK(gelu_derivative(x) == Approx(numeric).margin(1e-11));
  }
}

TEMPLATE_TEST_CASE("normalize and its way back: all lengths", "", float, double, long double) {
  Random random(1);
  constexpr long double epsilon = std::numeric_limits<TestType>::epsilon();
  for (Index n = 2; n <= 70; ++n) {
    const Matrix<TestType> start = random_matrix<TestType>(n, 2, random);
    Framed<TestType> x(start.col(0)), dy(start.col(1)), weight(random_matrix<TestType>(n, 1, random)),
        bias(random_matrix<TestType>(n, 1, random)), normal(start.col(0)), y(start.col(0)), dweight(start.col(0)),
        dbias(start.col(0)), dx(start.col(0));
    const Exact in = exact(start.col(0)), d = exact(start.col(1)), w = exact(weight.view());
    const auto size = static_cast<long double>(n);
    const Exact centred = in.array() - in.mean();
    const long double inverse = 1 / std::sqrt(centred.squaredNorm() / size + static_cast<long double>(TestType(0.01)));
    const Exact expected = centred * inverse, dn = d.cwiseProduct(w);
    const TestType found = normalize<TestType>(x.view().data(), n, TestType(0.01), weight.view().data(), bias.view().data(),
                                               normal.view().data(), y.view().data());
    CHECK(std::abs(found - inverse) < 200 * epsilon * inverse);
    CHECK(largest(exact(normal.view()) - expected) < 50 * epsilon);
    CHECK(largest(exact(y.view()) - expected.cwiseProduct(w) - exact(bias.view())) < 200 * epsilon);
    normalize_backward<TestType>(dy.view().data(), n, found, weight.view().data(), normal.view().data(),
                                 dweight.view().data(), dbias.view().data(), dx.view().data());
    const Exact expected_dx = ((dn - expected * (dn.cwiseProduct(expected).sum() / size)).array() - dn.mean()) * inverse;
    CHECK(largest(exact(dx.view()) - expected_dx) < 200 * epsilon * (1 + inverse));
    CHECK(largest(exact(dweight.view()) - in - d.cwiseProduct(expected)) < 200 * epsilon);
    CHECK(largest(exact(dbias.view()) - in - d) < 20 * epsilon);
    for (Framed<TestType>* framed : {&x, &dy, &normal, &y, &dweight, &dbias, &dx}) CHECK(framed->intact());
  }
}
