#include "fbt/training/series.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"

#include <vector>

using namespace fbt;

TEST_CASE("Series: tokens") {
  using Of = Series<Tokens>;
  const std::vector<Token> tokens{5, 6, 7, 8};
  CHECK(Of::length(tokens) == 4);
  CHECK(Of::length({}) == 0);
  Of::Buffer buffer = Of::room(tokens, 3);
  CHECK(buffer.size() == 3);
  Of::copy(tokens, 1, 2, buffer, 1);
  CHECK(buffer == std::vector<Token>{0, 6, 7});
  Of::leave_out(buffer, 1);
  CHECK(buffer[1] < 0);
  CHECK(buffer[2] == 7);
  const Tokens first = Of::first(buffer, 2);
  CHECK(first.data() == buffer.data());
  CHECK(first.size() == 2);
}

TEMPLATE_TEST_CASE("Series: vectors", "", float, double) {
  using Of = Series<Vectors<TestType>>;
  Matrix<TestType> m(2, 4);
  m << 1, 2, 3, 4, 5, 6, 7, 8;
  const Vectors<TestType> vectors(m.data(), 2, 4);
  CHECK(Of::length(vectors) == 4);
  typename Of::Buffer buffer = Of::room(vectors, 3);
  CHECK(buffer.rows() == 2);
  CHECK(buffer.cols() == 3);
  CHECK(buffer.isZero(0));
  Of::copy(vectors, 1, 2, buffer, 1);
  CHECK(buffer.col(0).isZero(0));
  CHECK(buffer.rightCols(2) == m.middleCols(1, 2));
  Of::leave_out(buffer, 1);
  CHECK(buffer.col(1).array().isNaN().all());
  CHECK(buffer.col(2) == m.col(2));
  const Vectors<TestType> first = Of::first(buffer, 2);
  CHECK(first.data() == buffer.data());
  CHECK(first.rows() == 2);
  CHECK(first.cols() == 2);
}

TEST_CASE("Series: a matrix as vectors, whole or in part") {
  Random random(1);
  const Matrix<double> m = random_matrix(2, 5, random);
  CHECK(vectors(m) == m);
  CHECK(vectors(m).data() == m.data());
  CHECK(vectors(m, 1, 3) == m.middleCols(1, 3));
  CHECK(vectors(m, 5, 0).cols() == 0);
  CHECK_THROWS_WITH(vectors(m, 3, 3), "expected columns within the 5 of a matrix, found 3 to 6");
  CHECK_THROWS_WITH(vectors(m, -1, 2), "expected columns within the 5 of a matrix, found -1 to 1");
}
