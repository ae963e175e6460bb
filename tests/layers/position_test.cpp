#include "fbt/layers/position.hpp"

#include "catch.hpp"
#include "fbt/testing/gradient_check.hpp"

using namespace fbt;

static_assert(ColumnLayer<Position<float>, float> && ColumnLayer<Position<double>, double>);

TEST_CASE("Position: gradients") {
  Random random(1);
  const PositionTerm term = GENERATE(PositionTerm::none, PositionTerm::relative_key);
  const Index lanes = GENERATE(1, 2, 3);
  const Position<double> layer(term, 3, 5, random);
  const GradientReport report = check_layer(layer, 3, 5, random, {3, lanes, true, 0});
  INFO(report.where);
  CHECK(report.compared == (3 * 3 * lanes) + (term == PositionTerm::none ? 0 : 15));
  CHECK(report.worst < 1e-9);
}

TEST_CASE("Position: a relative key is a row per slot of the window, without bias") {
  Random random(1);
  Position<double> layer(PositionTerm::relative_key, 2, 3, random);
  CHECK(layer.linear.weight.rows() == 3);
  CHECK(layer.linear.weight.cols() == 2);
  CHECK(count_parameters(layer) == 6);
  layer.linear.weight << 1, 2, 3, 4, 5, 6;
  Position<double>::Trace trace;
  layer.prepare(trace, {1, 2, false, 0});
  Matrix<double> q(2, 2), scores(3, 2), expected(3, 2);
  q << 1, 0, 0, 10;
  expected << 1, 20, 3, 40, 5, 60;
  layer.forward(q, trace, 0, scores);
  CHECK(scores == expected);
}

TEST_CASE("Position: none has no parameters and scores of 0") {
  Random random(1);
  const Position<double> layer(PositionTerm::none, 2, 3, random);
  CHECK(count_parameters(layer) == 0);
  Position<double>::Trace trace;
  layer.prepare(trace, {1, 2, false, 0});
  Matrix<double> scores = Matrix<double>::Ones(3, 2);
  layer.forward(Matrix<double>::Ones(2, 2), trace, 0, scores);
  CHECK(scores == Matrix<double>::Zero(3, 2));
}
