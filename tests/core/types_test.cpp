#include "fbt/core/types.hpp"

#include "support/catch.hpp"

#include <vector>

using namespace fbt;

TEST_CASE("step_columns: the columns of a step, one per lane") {
  Matrix<double> m(1, 6);
  m << 0, 1, 2, 3, 4, 5;
  CHECK(step_columns(m, 0, 2) == Matrix<double>{{0, 1}});
  CHECK(step_columns(std::as_const(m), 2, 2) == Matrix<double>{{4, 5}});
  CHECK(step_columns(m, 1, 3) == Matrix<double>{{3, 4, 5}});
  step_columns(m, 1, 2) = Matrix<double>{{30, 40}};
  CHECK(m == Matrix<double>{{0, 1, 30, 40, 4, 5}});

  const std::vector<Token> tokens{0, 1, 2, 3, 4, 5};
  const Tokens step = step_columns(Tokens(tokens), 1, 2);
  CHECK(std::vector<Token>(step.begin(), step.end()) == std::vector<Token>{2, 3});
}

TEST_CASE("In and Out: blocks of whole columns, or parts of them, bind without a copy") {
  Matrix<double> m(4, 6);
  const auto data = [](const In<double>& in) { return in.data(); };
  const auto written = [](Out<double> out) { return out.data(); };
  CHECK(data(m) == m.data());
  CHECK(data(step_columns(m, 1, 2)) == &m(0, 2));
  CHECK(data(m.block(1, 2, 2, 3)) == &m(1, 2));
  CHECK(written(step_columns(m, 1, 2)) == &m(0, 2));
  CHECK(written(m.block(1, 2, 2, 3)) == &m(1, 2));
}
