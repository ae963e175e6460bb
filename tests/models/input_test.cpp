#include "fbt/models/input.hpp"

#include "fbt/models/sequence_model.hpp"
#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"
#include "support/small_models.hpp"

#include <limits>
#include <string>
#include <vector>

using namespace fbt;

static_assert(Layer<TokenInput<float>> && Layer<TokenInput<double>> && !ColumnLayer<TokenInput<double>, double>);

namespace {

// What a TokenInput reads of a config.
struct Options {
  Index vocabulary = 5, inputs = 0, width = 4;
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
  input.accumulate(trace, 0, segment.steps, grad);
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

TEST_CASE("TokenInput: a config of vectors is refused") {
  Random random(1);
  CHECK_THROWS_WITH(TokenInput<double>(Options{.vocabulary = 0, .inputs = 3}, random),
                    "a model of tokens needs a vocabulary, found 0 and 3 inputs");
}

static_assert(Layer<VectorInput<float>> && Layer<VectorInput<double>> && !ColumnLayer<VectorInput<double>, double>);
static_assert(InputLayer<TokenInput<float>, float> && InputLayer<VectorInput<double>, double>);

namespace {

Matrix<double> run(const VectorInput<double>& input, const Matrix<double>& values, const Segment& segment,
                   VectorInput<double>::Trace& trace) {
  Matrix<double> x = Matrix<double>::Constant(4, segment.columns(), std::numeric_limits<double>::quiet_NaN());
  input.prepare(trace, segment);
  for (Index t = 0; t < segment.steps; ++t)
    input.forward(step_columns(values, t, segment.lanes), trace, t, step_columns(x, t, segment.lanes));
  return x;
}
constexpr Options of_vectors{.vocabulary = 0, .inputs = 3};

}  // namespace

TEST_CASE("VectorInput: x = W v + b") {
  Random random(1);
  VectorInput<double> input(of_vectors, random);
  scatter(input, random);
  const Matrix<double> values = random_matrix(3, 6, random);
  VectorInput<double>::Trace trace;
  const Matrix<double> expected = (input.linear.weight * values).colwise() + input.linear.bias;
  CHECK(difference(run(input, values, {3, 2, false, 0}, trace), expected) < 1e-14);
  CHECK(trace.dvalues.size() == 0);  // kept only to go back
}

TEST_CASE("VectorInput: gradients of parameters and vectors") {
  Random random(1);
  Options options = of_vectors;
  options.dropout = GENERATE(0.0, 0.4);
  const Segment segment = GENERATE(Segment{4, 2, true, 9}, Segment{1, 3, true, 9}, Segment{3, 1, true, 9});
  VectorInput<double> input(options, random);
  scatter(input, random);
  Matrix<double> values = random_matrix(3, segment.columns(), random);
  const Matrix<double> weights = random_matrix(4, segment.columns(), random), kept = weights;
  VectorInput<double>::Trace trace;
  const auto loss = [&] { return run(input, values, segment, trace).cwiseProduct(weights).sum(); };
  loss();
  trace.dvalues.setConstant(std::numeric_limits<double>::quiet_NaN());
  for (Index t = segment.steps - 1; t >= 0; --t) input.backward(step_columns(weights, t, segment.lanes), trace, t);
  const Matrix<double> dvalues = trace.dvalues;
  VectorInput<double> grad = ones_like(input);
  input.accumulate(trace, 0, segment.steps, grad);
  remove_ones(grad);
  GradientReport report;
  compare(report, "vectors", loss, values, dvalues);
  compare_parameters(report, loss, input, grad);
  INFO(report.where);
  CHECK(report.compared == 3 * segment.columns() + 3 * 4 + 4);
  CHECK(report.worst < 1e-9);
  CHECK(weights == kept);
  CHECK(dvalues.squaredNorm() > 0.1);
}

TEST_CASE("VectorInput: dropout in training only, one seed for one result") {
  Random random(1);
  Options options = of_vectors;
  options.dropout = 0.5;
  const VectorInput<double> input(options, random);
  const Matrix<double> values = random_matrix(3, 12, random);
  VectorInput<double>::Trace trace;
  const auto of = [&](bool train, std::uint64_t seed) { return run(input, values, {6, 2, train, seed}, trace); };
  const Matrix<double> plain = of(false, 1), dropped = of(true, 1);
  CHECK(of(false, 2) == plain);
  CHECK(of(true, 1) == dropped);
  CHECK(of(true, 2) != dropped);
  for (Index i = 0; i < plain.size(); ++i) CHECK((dropped(i) == 0 || dropped(i) == 2 * plain(i)));
}

TEST_CASE("VectorInput: values and configs that do not fit are refused") {
  Random random(1);
  const VectorInput<double> input(of_vectors, random);
  const Segment segment{2, 2, false, 0};
  CHECK_NOTHROW(input.check_values(Matrix<double>::Zero(3, 4), segment));
  CHECK_THROWS_WITH(input.check_values(Matrix<double>::Zero(3, 3), segment),
                    "expected vectors of shape (3, 4) (2 steps of 2 lanes), found (3, 3)");
  CHECK_THROWS_WITH(input.check_values(Matrix<double>::Zero(2, 4), segment),
                    "expected vectors of shape (3, 4) (2 steps of 2 lanes), found (2, 4)");
  CHECK_THROWS_WITH(VectorInput<double>(Options{}, random),
                    "a model of vectors needs inputs, found 0 and a vocabulary of 5");
}

TEST_CASE("VectorInput: its parameters") {
  Random random(1);
  const VectorInput<double> input(of_vectors, random);
  std::vector<std::string> names;
  visit([&](std::string_view name, const auto&) { names.emplace_back(name); }, input);
  CHECK(names == std::vector<std::string>{"input.weight", "input.bias"});
  CHECK(input.linear.weight.rows() == 4);
  CHECK(input.linear.weight.cols() == 3);
}

TEST_CASE("VectorModel: gradients of parameters and of the vectors that it reads") {
  Config c = small_config();
  c.vocabulary = 0;
  c.inputs = 3;
  c.outputs = 2;
  c.norm_epsilon = 0.1;
  c.activation = GENERATE(Activation::relu, Activation::gelu);
  c.memory_rule = GENERATE(MemoryRule::feedback, MemoryRule::transformer);
  c.share_key_value = !c.remembers_per_layer();
  Random random(1);
  VectorModel<double> model(c, random);
  scatter(model, random);
  const Segment segment{5, 2, true, 11};
  Matrix<double> values = random_matrix(3, 10, random);
  const Matrix<double> weights = random_matrix(2, 10, random);
  VectorModel<double>::Trace trace;
  auto memory = model.make_memory(2);
  const auto loss = [&] {
    memory.clear();
    return model.forward(values, segment, memory, trace).cwiseProduct(weights).sum();
  };
  loss();
  VectorModel<double> grad = ones_like(model);
  model.backward(weights, memory, trace, grad);
  remove_ones(grad);
  const Matrix<double> dvalues = trace.input.dvalues;
  GradientReport report;
  compare(report, "vectors", loss, values, dvalues);
  compare_parameters(report, loss, model, grad);
  INFO(report.where);
  CHECK(report.compared == 30 + count_parameters(model));
  CHECK(c.parameters() == static_cast<double>(count_parameters(model)));
  CHECK(report.ok());

  // step by step it gives the same outputs
  const Matrix<double> outputs = model.forward(values, {5, 2, false, 0}, memory = model.make_memory(2), trace);
  auto stepper = model.start(2);
  for (Index t = 0; t < 5; ++t)
    CHECK(difference(model.step(step_columns(values, t, 2), stepper), step_columns(outputs, t, 2)) < 1e-13);
}
