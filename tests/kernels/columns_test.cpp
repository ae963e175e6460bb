#include "fbt/kernels/columns.hpp"

#include "support/catch.hpp"
#include "support/framed.hpp"

#include <limits>

using namespace fbt;

TEMPLATE_TEST_CASE("relu_backward: only where y is above 0, at every length", "", float, double) {
  Random random(1);
  for (Index n = 0; n <= 40; ++n) {
    const Vector<TestType> y = kernels::random_matrix<TestType>(n, 1, random).cwiseMax(TestType(0));
    const Vector<TestType> before = kernels::random_matrix<TestType>(n + 5, 1, random);
    Vector<TestType> dy = before;
    relu_backward(y.data(), dy.data(), n);
    for (Index i = 0; i < n + 5; ++i) CHECK(dy(i) == (i >= n || y(i) > 0 ? before(i) : 0));
  }
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
