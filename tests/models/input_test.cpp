#include "fbt/models/input.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

#include <limits>
#include <string>
#include <vector>

using namespace fbt;

static_assert(Layer<TokenInput<float>> && Layer<TokenInput<double>> && !ColumnLayer<TokenInput<double>, double>);

namespace {

// What a TokenInput reads of a config.
struct Options {
  Index vocabulary = 5, width = 4;
  double dropout = 0, embedding_deviation = 1;
};

Matrix<double> run(const TokenInput<double>& input, Tokens tokens, const Segment& segment,
                   TokenInput<double>::Trace& trace) {
  Matrix<double> x = Matrix<double>::Constant(4, segment.columns(), std::numeric_limits<double>::quiet_NaN());
  input.prepare(trace, segment);
  for (Index t = 0; t < segment.steps; ++t)
    input.forward(step_columns(tokens, t, segment.lanes), trace, t, step_columns(x, t, segment.lanes));
  return x;
}
Matrix<double> run(const TokenInput<double>& input, Tokens tokens, const Segment& segment) {
  TokenInput<double>::Trace trace;
  return run(input, tokens, segment, trace);
}

}  // namespace

TEST_CASE("TokenInput: a column for every token") {
  Random random(1);
  const TokenInput<double> input(Options{}, random);
  const std::vector<Token> tokens{3, 0, 4, 4, 1, 3};
  const Matrix<double> x = run(input, tokens, {3, 2, false, 0});
  for (Index i = 0; i < 6; ++i)
    CHECK(x.col(i) == input.embedding.weight.row(tokens[static_cast<std::size_t>(i)]).transpose());
}

TEST_CASE("TokenInput: gradients") {
  Random random(1);
  Options options;
  options.dropout = GENERATE(0.0, 0.4);
  const Segment segment = GENERATE(Segment{4, 2, true, 9}, Segment{1, 3, true, 9});
  TokenInput<double> input(options, random);
  const std::vector<Token> tokens = random_tokens(segment.columns(), 4, random);  // token 4 never comes
  const Matrix<double> weights = random_matrix(4, segment.columns(), random);
  TokenInput<double>::Trace trace;
  const auto loss = [&] { return run(input, tokens, segment, trace).cwiseProduct(weights).sum(); };
  loss();
  for (Index t = segment.steps - 1; t >= 0; --t) input.backward(step_columns(weights, t, segment.lanes), trace, t);
  TokenInput<double> grad = ones_like(input);
  input.accumulate(trace, grad);
  remove_ones(grad);
  GradientReport report;
  compare_parameters(report, loss, input, grad);
  CHECK(report.compared == 20);
  CHECK(report.worst < 1e-9);
  CHECK(grad.embedding.weight.row(4).isZero(0));
  CHECK(squared_norm(grad) > 0.1);
}

TEST_CASE("TokenInput: dropout in training only, one seed for one result") {
  Random random(1);
  Options options;
  options.dropout = 0.5;
  const TokenInput<double> input(options, random);
  const std::vector<Token> tokens = random_tokens(12, 5, random);
  const Matrix<double> plain = run(input, tokens, {6, 2, false, 1}), dropped = run(input, tokens, {6, 2, true, 1});
  CHECK(run(input, tokens, {6, 2, false, 2}) == plain);
  CHECK(run(input, tokens, {6, 2, true, 1}) == dropped);
  CHECK(run(input, tokens, {6, 2, true, 2}) != dropped);
  Index zeros = 0;
  for (Index i = 0; i < plain.size(); ++i) {
    const bool kept = dropped(i) != 0;
    CHECK(dropped(i) == (kept ? 2 * plain(i) : 0));
    zeros += !kept;
  }
  CHECK(zeros > 10);
  CHECK(zeros < 38);
}

TEST_CASE("TokenInput: values that do not fit are refused") {
  Random random(1);
  const TokenInput<double> input(Options{}, random);
  const Segment segment{2, 2, false, 0};
  CHECK_NOTHROW(input.check_values(std::vector<Token>{0, 4, 1, 2}, segment));
  CHECK_THROWS_WITH(input.check_values(std::vector<Token>{0, 4, 1}, segment),
                    "expected 4 tokens (2 steps of 2 lanes), found 3");
  CHECK_THROWS_WITH(input.check_values(std::vector<Token>{0, 4, 1, 5}, segment),
                    "token 5 is outside the vocabulary: expected 0 to 4");
  CHECK_THROWS_WITH(input.check_values(std::vector<Token>{-1, 4, 1, 0}, segment),
                    "token -1 is outside the vocabulary: expected 0 to 4");
}

TEST_CASE("TokenInput: its parameters") {
  Random random(1);
  const TokenInput<double> input(Options{}, random);
  std::vector<std::string> names;
  visit([&](std::string_view name, const auto&) { names.emplace_back(name); }, input);
  CHECK(names == std::vector<std::string>{"embedding.weight"});
  CHECK(input.embedding.weight.rows() == 5);
  CHECK(input.embedding.weight.cols() == 4);
}
