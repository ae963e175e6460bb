#include "fbt/kernels/streamed.hpp"

#include "support/catch.hpp"
#include "support/framed.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

using namespace fbt;
using namespace fbt::kernels;

namespace {

/// The largest error of both kernels for one shape, with every part of the epilogue on or off.
template <class Scalar>
long double worst_epilogue_error(Index m, Index n, Random& random) {
  constexpr long double epsilon = std::numeric_limits<Scalar>::epsilon();
  const Matrix<Scalar> a = random_matrix<Scalar>(m, n, random), x = random_matrix<Scalar>(n, 1, random);
  const Matrix<Scalar> y = random_matrix<Scalar>(m, 1, random), bias = random_matrix<Scalar>(m, 1, random);
  const Exact exact_a = exact(a), ones = Exact::Ones(n, 1);
  Framed<Scalar> matrix(a), x_framed(x), bias_framed(bias);
  long double worst = 0;
  for (int bits = 0; bits < 8; ++bits) {
    const bool with_bias = bits & 1, with_add = bits & 2, relu = bits & 4;
    const auto check = [&](const Exact& right, auto&& run) {
      // what is added may stand where the result goes, which otherwise is overwritten
      Framed<Scalar> result(with_add ? y : Matrix<Scalar>::Constant(m, 1, Framed<Scalar>::nan));
      Epilogue<Scalar> epilogue;
      if (with_bias) epilogue.bias = bias_framed.view().data();
      if (with_add) epilogue.add = result.view().data();
      epilogue.relu = relu;
      run(result.view().data(), epilogue);
      Exact expected = times(exact_a, right);
      if (with_bias) expected += exact(bias);
      if (with_add) expected += exact(y);
      if (relu) expected = expected.cwiseMax(0.0L);
      const long double error = error_of(exact(result.view()), expected, exact_a, right, epsilon);
      worst = std::max(worst, result.intact() ? error : infinity);
    };
    check(exact(x), [&](Scalar* to, const Epilogue<Scalar>& epilogue) {
      multiply_vector<Scalar>(matrix.view(), x_framed.view().data(), to, epilogue);
    });
    check(ones, [&](Scalar* to, const Epilogue<Scalar>& epilogue) { add_parts<Scalar>(matrix.view(), to, epilogue); });
  }
  return worst;
}

}  // namespace

TEMPLATE_TEST_CASE("multiply_vector and add_parts: all small shapes, with every epilogue", "", float, double, long double) {
  Random random(1);
  const Index last = std::is_same_v<TestType, long double> ? 10 : 70;
  long double worst = 0;
  for (Index m = 1; m <= last; ++m)
    for (Index n = 1; n <= last; ++n) worst = std::max(worst, worst_epilogue_error<TestType>(m, n, random));
  CHECK(worst < 1);
}

TEMPLATE_TEST_CASE("multiply_vector: a high and a wide matrix", "", float, double) {
  Random random(1);
  CHECK(worst_epilogue_error<TestType>(300, 17, random) < 1);
  CHECK(worst_epilogue_error<TestType>(17, 300, random) < 1);
}

TEST_CASE("multiply_vector: by hand") {
  const Matrix<double> a{{1, 2, 3}, {4, 5, 6}};
  const Vector<double> x{{1, -1, 2}}, bias{{-10, 0.5}};
  Vector<double> y(2);
  multiply_vector<double>(a, x.data(), y.data(), {});
  CHECK(y == Vector<double>{{5, 11}});
  multiply_vector<double>(a, x.data(), y.data(), {.bias = bias.data(), .relu = true});
  CHECK(y == Vector<double>{{0, 11.5}});
  add_parts<double>(a, y.data(), {.add = y.data()});
  CHECK(y == Vector<double>{{6, 26.5}});
}
