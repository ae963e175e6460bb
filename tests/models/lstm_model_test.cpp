#include "fbt/models/lstm_model.hpp"

#include "fbt/generation/generate.hpp"
#include "fbt/testing/gradient_check.hpp"
#include "fbt/training/trainer.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <set>

using namespace fbt;

namespace {

using Model = LstmModel<double>;

LstmConfig small_config(bool attention) {
  LstmConfig c;
  c.vocabulary = 5;
  c.width = 4;
  c.layers = 2;
  c.attention = attention;
  c.heads = 2;
  c.window = 3;
  return c;
}
Model small_model(const LstmConfig& config, Random& random) {
  Model model(config, random);
  scatter(model, random);
  return model;
}

// The logits of a sequence of one or more lanes, read in segments of the given lengths.
Matrix<double> read(const Model& model, Tokens tokens, Index lanes, std::initializer_list<Index> lengths) {
  Matrix<double> logits(model.config().vocabulary, static_cast<Index>(tokens.size()));
  Model::State state{model.make_memory(lanes), {}};
  Index t = 0;
  for (const Index length : lengths) {
    const auto columns = static_cast<std::size_t>(length * lanes);
    logits.middleCols(t, length * lanes) =
        model.forward(tokens.subspan(static_cast<std::size_t>(t), columns), {length, lanes, false, 0}, state);
    t += length * lanes;
  }
  return logits;
}

// Clear loops over vectors, one lane, no Trace; the LSTM's own equations are checked with the layer.
Matrix<double> reference(const Model& model, const std::vector<Token>& tokens) {
  const LstmConfig& c = model.config();
  const Index n = c.width, e = n / c.heads;
  std::vector<Vector<double>> hidden(model.layers.size(), Vector<double>::Zero(n)), cell = hidden, keys, values;
  Matrix<double> logits(c.vocabulary, static_cast<Index>(tokens.size()));
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    Vector<double> h = model.embedding.weight.row(tokens[t]).transpose();
    for (std::size_t l = 0; l < model.layers.size(); ++l) {
      const auto& gates = model.layers[l].gates;
      const Vector<double> a = gates.weight.leftCols(n) * h + gates.weight.rightCols(n) * hidden[l] + gates.bias;
      for (Index k = 0; k < n; ++k) {
        const auto sigmoid = [&](Index gate) { return 1 / (1 + std::exp(-a(gate * n + k))); };
        cell[l](k) = sigmoid(1) * cell[l](k) + sigmoid(0) * std::tanh(a(3 * n + k));
        hidden[l](k) = sigmoid(2) * std::tanh(cell[l](k));
      }
      h = hidden[l];
    }
    Vector<double> top = h;
    if (c.attention && !keys.empty()) {
      const std::size_t first = keys.size() > static_cast<std::size_t>(c.window) ? keys.size() - 3 : 0;
      const Vector<double> q = model.attention.query.weight * h;
      Vector<double> found = Vector<double>::Zero(n);
      for (Index j = 0; j < c.heads; ++j) {
        double total = 0;
        for (std::size_t i = first; i < keys.size(); ++i) {
          const Index row = c.window - static_cast<Index>(keys.size() - i);  // the newest slot has the last row
          const double s = q.segment(j * e, e).dot(keys[i].segment(j * e, e) + model.position.weight.row(row).transpose());
          const double weight = std::exp(s / std::sqrt(static_cast<double>(e)));
          total += weight;
          found.segment(j * e, e) += weight * values[i].segment(j * e, e);
        }
        found.segment(j * e, e) /= total;
      }
      top += model.attention.output.weight * found + model.attention.output.bias;
    }
    if (c.attention) {
      keys.push_back(model.key_value.key.weight * h);
      values.push_back(model.key_value.value.weight * h);
    }
    logits.col(static_cast<Index>(t)) = model.head.weight * top + model.head.bias;
  }
  return logits;
}

}  // namespace

TEST_CASE("LstmModel: a naive model gives the same logits") {
  Random random(1);
  const Model model = small_model(small_config(GENERATE(false, true)), random);
  const std::vector<Token> tokens = random_tokens(9, 5, random);
  CHECK(difference(read(model, tokens, 1, {9}), reference(model, tokens)) < 1e-12);
}

TEST_CASE("LstmModel: gradients") {
  Random random(1);
  LstmConfig config = small_config(GENERATE(false, true));
  config.dropout = GENERATE(0.0, 0.3);
  const Index carried_steps = GENERATE(0, 4), lanes = 2, steps = 5;
  Model model = small_model(config, random);
  Model::State state{model.make_memory(lanes), {}};
  if (carried_steps > 0)
    model.forward(random_tokens(carried_steps * lanes, 5, random), {carried_steps, lanes, true, 3}, state);
  const LstmMemory<double> carried = state.memory;  // stays as it is while the parameters are varied
  const std::vector<Token> tokens = random_tokens(steps * lanes, 5, random);
  const Matrix<double> weights = random_matrix(5, steps * lanes, random);
  const auto loss = [&] {
    state.memory = carried;
    return model.forward(tokens, {steps, lanes, true, 11}, state).cwiseProduct(weights).sum();
  };
  loss();
  model.backward(weights, state);
  Model grad = ones_like(model);
  model.accumulate(state, grad);
  remove_ones(grad);
  GradientReport report;
  compare_parameters(report, loss, model, grad);
  INFO(report.where << ", attention " << config.attention << ", carried " << carried_steps);
  CHECK(report.compared == count_parameters(model));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("LstmModel: lanes do not see each other") {
  Random random(1);
  const Model model = small_model(small_config(GENERATE(false, true)), random);
  const Index lanes = 3, steps = 8;
  const std::vector<Token> tokens = random_tokens(steps * lanes, 5, random);
  const Matrix<double> logits = read(model, tokens, lanes, {steps});
  for (Index b = 0; b < lanes; ++b) {
    std::vector<Token> lane;
    for (Index t = 0; t < steps; ++t) lane.push_back(tokens[static_cast<std::size_t>(t * lanes + b)]);
    CHECK(difference(logits(Eigen::all, Eigen::seqN(b, steps, lanes)), read(model, lane, 1, {steps})) < 1e-12);
  }
}

TEST_CASE("LstmModel: a segment is the same as its steps, and as two segments") {
  Random random(1);
  const Model model = small_model(small_config(GENERATE(false, true)), random);
  const Index lanes = GENERATE(1, 3), steps = 20;
  const std::vector<Token> tokens = random_tokens(steps * lanes, 5, random);
  const Matrix<double> logits = read(model, tokens, lanes, {steps});
  CHECK(difference(read(model, tokens, lanes, {10, 10}), logits) < 1e-12);
  CHECK(difference(read(model, tokens, lanes, {1, 2, 5, 11, 1}), logits) < 1e-12);
  Model::State state = model.start(lanes);
  for (Index t = 0; t < steps; ++t)
    CHECK(difference(model.step(step_columns(Tokens(tokens), t, lanes), state), step_columns(logits, t, lanes)) < 1e-12);
}

TEST_CASE("LstmModel: dropout in training only") {
  Random random(1);
  LstmConfig config = small_config(true);
  config.dropout = 0.5;
  const Model model = small_model(config, random);
  const std::vector<Token> tokens = random_tokens(6, 5, random);
  const auto run = [&](bool train, std::uint64_t seed) {
    Model::State state{model.make_memory(1), {}};
    return Matrix<double>(model.forward(tokens, {6, 1, train, seed}, state));
  };
  CHECK(run(false, 1) == run(false, 2));
  CHECK(run(true, 1) == run(true, 1));
  CHECK(difference(run(true, 1), run(true, 2)) > 1e-3);
  CHECK(difference(run(true, 1), run(false, 1)) > 1e-3);
}

TEST_CASE("LstmModel: Trainer, evaluate and generate work: a short text is memorised, with any number of threads") {
  std::vector<Token> text;
  for (int n = 0; n < 20; ++n) text.insert(text.end(), {0, 1, 2, 0, 3, 4});  // 0 needs memory
  LstmConfig config = small_config(GENERATE(false, true));
  config.width = 16;
  TrainerOptions options;
  options.lanes = 3;
  options.segment = 8;
  options.shards = 2;
  options.schedule = {0.02, 0, 1};
  std::vector<LstmModel<float>> models;
  for (const Index threads : {1, 2}) {
    options.threads = threads;
    Random random(1);
    auto& model = models.emplace_back(config, random);
    Trainer trainer(model, text, options);
    for (int n = 0; n < 150; ++n) trainer.update(n / 150.0);
  }
  visit([](std::string_view, const auto& a, const auto& b) { CHECK(a == b); }, models[0], models[1]);
  CHECK(evaluate(models[0], text, 1, 0, 1).mean() < 0.1);

  GenerationOptions generation;
  generation.length = 12;
  generation.sampling.temperature = 0;
  std::vector<Token> written;
  generate(models[0], Tokens(text).first(6), generation, [&](Token token) {
    written.push_back(token);
    return true;
  });
  CHECK(written == std::vector<Token>(text.begin() + 6, text.begin() + 18));
}

TEST_CASE("LstmModel: parameter names and their number") {
  for (const bool attention : {false, true}) {
    LstmConfig config = small_config(attention);
    config.layers = 1;
    Random random(1);
    const Model model(config, random);
    std::set<std::string> names,
        expected{"embedding.weight", "layers.0.gates.weight", "layers.0.gates.bias", "head.weight", "head.bias"};
    if (attention)
      expected.insert({"position.weight", "key_value.key.weight", "key_value.value.weight", "attention.query.weight",
                       "attention.output.weight", "attention.output.bias"});
    visit([&](std::string_view name, const auto&) { names.emplace(name); }, model);
    CHECK(names == expected);
    CHECK(config.parameters() == static_cast<double>(count_parameters(model)));
  }
}

TEST_CASE("LstmModel: errors") {
  const auto message = [](auto&& change) {
    LstmConfig config = small_config(true);
    change(config);
    return message_of<std::invalid_argument>([&] { config.validate(); });
  };
  CHECK(message([](LstmConfig& c) { c.vocabulary = 0; }) == "config: vocabulary must be between 1 and 16777216, found 0");
  CHECK(message([](LstmConfig& c) { c.width = -1; }) == "config: width must be between 1 and 16777216, found -1");
  CHECK(message([](LstmConfig& c) { c.layers = 65; }) == "config: layers must be between 1 and 64, found 65");
  CHECK(message([](LstmConfig& c) { c.heads = 3; }) == "config: width 4 is not divisible by heads 3");
  CHECK(message([](LstmConfig& c) { c.window = 0; }) == "config: window must be between 1 and 16777216, found 0");
  CHECK(message([](LstmConfig& c) { c.dropout = 1; }) == "config: dropout must be at least 0 and below 1, found 1");
  CHECK(message([](LstmConfig& c) { c.embedding_deviation = 0; }) ==
        "config: embedding_deviation must be above 0 and at most 100, found 0");

  Random random(1);
  const Model model(small_config(true), random);
  Model::State state = model.start(2);
  const std::vector<Token> outside{0, 5};
  CHECK(message_of<std::invalid_argument>([&] { model.step(outside, state); }) ==
        "token 5 is outside the vocabulary: expected 0 to 4");
  CHECK(message_of<std::invalid_argument>([&] { model.step(Tokens(outside).first(1), state); }) ==
        "expected 2 tokens (1 steps of 2 lanes), found 1");
  CHECK_THROWS_AS(model.backward(Matrix<double>(5, 2), state), std::invalid_argument);
  CHECK_THROWS_AS(model.make_memory(0), std::invalid_argument);
  {
    Model grad = zeros_like(model);
    const std::vector<Token> two{0, 1};
    model.step(two, state);
    CHECK_THROWS_WITH(model.forward(outside, {1, 2, false, 0}, state), ContainsSubstring("outside the vocabulary"));
    CHECK_NOTHROW(model.step(two, state));  // a call that was refused has changed nothing
    model.forward(two, {1, 2, true, 0}, state);
    CHECK_THROWS_WITH(model.step(two, state), ContainsSubstring("expected a state made by start()"));
    CHECK_THROWS_WITH(model.accumulate(state, grad), ContainsSubstring("that backward() has gone through, found none"));
    model.backward(Matrix<double>::Zero(5, 2), state);
    CHECK_NOTHROW(model.accumulate(state, grad));
    CHECK_THROWS_WITH(model.backward(Matrix<double>::Zero(5, 2), state), ContainsSubstring("once each, found none"));
    LstmConfig other = small_config(true);
    other.layers = 3;
    CHECK_THROWS_WITH(Model(other, random).forward(two, {1, 2, false, 0}, state),
                      "the memory was made by a model of another config: expected 3 layers of 4 cells and a past of 3 steps "
                      "for 2 heads, found 2 of 4 and a past of 3 steps for 2 heads");
    other = small_config(true);
    other.heads = 4;
    CHECK_THROWS_WITH(Model(other, random).forward(two, {1, 2, false, 0}, state),
                      ContainsSubstring("a past of 3 steps for 4 heads, found 2 of 4 and a past of 3 steps for 2 heads"));
    model.forward(two, {1, 2, true, 0}, state);
    Model::State taken = state;
    taken.memory.past.clear();
    CHECK_THROWS_WITH(model.backward(Matrix<double>::Zero(5, 2), taken),
                      ContainsSubstring("the memory has changed since forward()"));
    model.backward(Matrix<double>::Zero(5, 2), state);
    Model none;
    CHECK_THROWS_WITH(model.accumulate(state, none), ContainsSubstring("expected a gradient made by zeros_like(model)"));
    state = model.start(2);
    CHECK_THROWS_WITH(Model(other, random).step(two, state), ContainsSubstring("made by a model of another config"));
  }

  Model changed = model;
  scatter(changed, random);  // the state holds what was packed of the model as it was
  const std::vector<Token> two{0, 1};
  model.step(two, state);
  CHECK_THROWS_WITH(changed.step(two, state), ContainsSubstring("have changed since they were packed"));
}
