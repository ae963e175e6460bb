#include "fbt/layers/position.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"

using namespace fbt;

static_assert(ColumnLayer<Position<float>, float> && ColumnLayer<Position<double>, double>);

TEST_CASE("Position: backward needs a Trace that was prepared to train") {
  Random random(1);
  const Position<double> layer(PositionTerm::relative_key, 3, 2, 4, random);
  Position<double>::Trace trace;
  layer.prepare(trace, {1, 2, false, 0});
  Matrix<double> queries = Matrix<double>::Ones(3, 2), scores(4, 2);
  layer.forward(queries, trace, 0, scores);
  CHECK_THROWS_WITH(layer.backward(scores, trace, 0, queries),
                    "backward() of a position term needs a Trace prepared with segment.train");
}

TEST_CASE("Position: gradients") {
  Random random(1);
  const PositionTerm term =
      GENERATE(PositionTerm::none, PositionTerm::relative_key, PositionTerm::per_head, PositionTerm::buckets);
  const Index heads = 2, lanes = heads * GENERATE(1, 2, 3);
  const Position<double> layer(term, 3, heads, 5, random);
  const GradientReport report = check_layer(layer, 3, 5, random, {3, lanes, true, 0});
  INFO(report.where);
  CHECK(report.compared == (3 * 3 * lanes) + count_parameters(layer));
  CHECK(report.worst < 1e-9);
}

TEST_CASE("Position: scores of the newest slots only are the last rows of all scores") {
  Random random(1);
  const PositionTerm term = GENERATE(PositionTerm::relative_key, PositionTerm::per_head, PositionTerm::buckets);
  Position<double> layer(term, 3, 2, 5, random);
  visit([&](std::string_view, auto& tensor) { fill_normal(tensor, 1, random); }, layer);
  const Matrix<double> q = random_matrix(3, 4, random);
  Matrix<double> all(5, 4), some(2, 4);
  Position<double>::Trace trace;
  layer.prepare(trace, {1, 4, false, 0});
  layer.forward(q, trace, 0, all);
  layer.prepare(trace, {1, 4, false, 0}, 2);
  layer.forward(q, trace, 0, some);
  CHECK((some - all.bottomRows(2)).cwiseAbs().maxCoeff() < 1e-14);
}

TEST_CASE("Position: a table and a bias per head") {
  Random random(1);
  Position<double> layer(PositionTerm::per_head, 1, 2, 3, random);
  CHECK(count_parameters(layer) == 3 * 2 + 3 * 2 + 2);
  layer.weight << 1, 10, 2, 20, 3, 30;
  layer.bias << 0.1, 0.2, 0.3, 0.4, 0.5, 0.6;
  Position<double>::Trace trace;
  layer.prepare(trace, {1, 2, false, 0});
  Matrix<double> q(1, 2), scores(3, 2), expected(3, 2);
  q << 1, 2;
  expected << 1.1, 20.4, 2.2, 40.5, 3.3, 60.6;
  layer.forward(q, trace, 0, scores);
  CHECK(scores.isApprox(expected, 1e-14));
}

TEST_CASE("Position: buckets of ages") {
  for (Index age = 0; age < 16; ++age) CHECK(age_bucket(age) == age);
  CHECK(age_bucket(16) == 16);
  CHECK(age_bucket(18) == 16);
  CHECK(age_bucket(19) == 17);   // 16 + 16 log(19/16) / log(8) = 17.3
  CHECK(age_bucket(45) == 23);   // 23.96
  CHECK(age_bucket(46) == 24);   // 24.13
  CHECK(age_bucket(112) == 30);  // 30.97
  CHECK(age_bucket(113) == 31);
  CHECK(age_bucket(100000) == 31);
  Random random(1);
  Position<double> layer(PositionTerm::buckets, 4, 1, 20, random);
  for (Index i = 0; i < 32; ++i) layer.weight(i, 0) = static_cast<double>(i);
  Position<double>::Trace trace;
  layer.prepare(trace, {1, 1, false, 0});
  Matrix<double> scores(20, 1);
  layer.forward(Matrix<double>::Ones(4, 1), trace, 0, scores);
  CHECK(scores(19, 0) == 2 * 1);  // age 1, times the root of the head size
  CHECK(scores(0, 0) == 2 * 17);  // age 20
}

TEST_CASE("Position: a relative key is a row per slot of the window, without bias") {
  Random random(1);
  Position<double> layer(PositionTerm::relative_key, 2, 1, 3, random);
  CHECK(layer.weight.rows() == 3);
  CHECK(layer.weight.cols() == 2);
  CHECK(count_parameters(layer) == 6);
  layer.weight << 1, 2, 3, 4, 5, 6;
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
  const Position<double> layer(PositionTerm::none, 2, 1, 3, random);
  CHECK(count_parameters(layer) == 0);
  Position<double>::Trace trace;
  layer.prepare(trace, {1, 2, false, 0});
  Matrix<double> scores = Matrix<double>::Ones(3, 2);
  layer.forward(Matrix<double>::Ones(2, 2), trace, 0, scores);
  CHECK(scores == Matrix<double>::Zero(3, 2));
}
