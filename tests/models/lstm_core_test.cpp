#include "fbt/models/lstm_core.hpp"

#include "fbt/generation/generate.hpp"
#include "fbt/models/sequence_model.hpp"
#include "fbt/testing/gradient_check.hpp"
#include "fbt/training/evaluate.hpp"
#include "fbt/training/schedule.hpp"
#include "support/catch.hpp"
#include "support/core_run.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/lanes.hpp"
#include "support/training.hpp"

#include <set>
#include <string>

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
  Lanes run(model, lanes);
  Index t = 0;
  for (const Index length : lengths) {
    const auto columns = static_cast<std::size_t>(length * lanes);
    logits.middleCols(t, length * lanes) =
        run.forward(tokens.subspan(static_cast<std::size_t>(t), columns), {length, lanes, false, 0});
    t += length * lanes;
  }
  return logits;
}

// Clear loops over vectors, one lane, no Trace; the LSTM's own equations are checked with the layer.
Matrix<double> reference(const Model& model, const std::vector<Token>& tokens) {
  const LstmConfig& c = model.config();
  const Index n = c.width, e = n / c.heads;
  std::vector<Vector<double>> hidden(model.core.layers.size(), Vector<double>::Zero(n)), cell = hidden, keys, values;
  Matrix<double> logits(c.vocabulary, static_cast<Index>(tokens.size()));
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    Vector<double> h = model.input.embedding.weight.row(tokens[t]).transpose();
    for (std::size_t l = 0; l < model.core.layers.size(); ++l) {
      const auto& gates = model.core.layers[l].gates;
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
      const Vector<double> q = model.core.attention.query.weight * h;
      Vector<double> found = Vector<double>::Zero(n);
      for (Index j = 0; j < c.heads; ++j) {
        double total = 0;
        for (std::size_t i = first; i < keys.size(); ++i) {
          const Index row = c.window - static_cast<Index>(keys.size() - i);  // the newest slot has the last row
          const double s =
              q.segment(j * e, e).dot(keys[i].segment(j * e, e) + model.core.position.weight.row(row).transpose());
          const double weight = std::exp(s / std::sqrt(static_cast<double>(e)));
          total += weight;
          found.segment(j * e, e) += weight * values[i].segment(j * e, e);
        }
        found.segment(j * e, e) /= total;
      }
      top += model.core.attention.output.weight * found + model.core.attention.output.bias;
    }
    if (c.attention) {
      keys.push_back(model.core.key_value.key.weight * h);
      values.push_back(model.core.key_value.value.weight * h);
    }
    logits.col(static_cast<Index>(t)) = model.head.linear.weight * top + model.head.linear.bias;
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
  // large queries and values: what attention does to the loss is not to be as small as its rounding
  visit(
      [](std::string_view name, auto& tensor) {
        if (name == "attention.query.weight" || name == "key_value.value.weight") tensor *= 10;
      },
      model);
  Lanes run(model, lanes);
  if (carried_steps > 0) run.forward(random_tokens(carried_steps * lanes, 5, random), {carried_steps, lanes, true, 3});
  const LstmMemory<double> carried = run.memory;  // stays as it is while the parameters are varied
  const std::vector<Token> tokens = random_tokens(steps * lanes, 5, random);
  const Matrix<double> weights = random_matrix(5, steps * lanes, random);
  const auto loss = [&] {
    run.memory = carried;
    return run.forward(tokens, {steps, lanes, true, 11}).cwiseProduct(weights).sum();
  };
  loss();
  Model grad = ones_like(model);
  run.backward(weights, grad);
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
  Model::Stepper state = model.start(lanes);
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
    Lanes lane(model, 1);
    return Matrix<double>(lane.forward(tokens, {6, 1, train, seed}));
  };
  CHECK(run(false, 1) == run(false, 2));
  CHECK(run(true, 1) == run(true, 1));
  CHECK(difference(run(true, 1), run(true, 2)) > 1e-3);
  CHECK(difference(run(true, 1), run(false, 1)) > 1e-3);
}

namespace {

using Core = LstmCore<double>;

Core scattered_core(const LstmConfig& config, Random& random) {
  Core core(config, random);
  scatter(core, random);
  return core;
}
Core::Memory carried_memory(const Core& core, Index steps, Index lanes, Random& random) {
  CoreRun run(core, lanes);
  if (steps > 0) run.forward_segment(random_matrix(core.config().width, steps * lanes, random), {steps, lanes, true, 3});
  return run.memory;
}

}  // namespace

TEST_CASE("LstmCore: gradients of inputs and parameters, step by step and whole") {
  LstmConfig config = small_config(GENERATE(false, true));
  config.dropout = GENERATE(0.0, 0.3);
  const bool whole = GENERATE(false, true);
  const Index carried_steps = GENERATE(0, 4), lanes = 2;
  Random random(1);
  const Core core = scattered_core(config, random);
  const Core::Memory carried = carried_memory(core, carried_steps, lanes, random);
  const GradientReport report = check_carried_core(core, carried, {5, lanes, true, 11}, whole, random);
  INFO(report.where << ", attention " << config.attention << ", carried " << carried_steps << ", whole " << whole);
  CHECK(report.compared == config.width * 5 * lanes + count_parameters(core));
  CHECK(report.worst < 1e-7);
}

TEST_CASE("LstmCore: a whole segment is its steps, to the bit, there and back") {
  LstmConfig config = small_config(GENERATE(false, true));
  config.dropout = GENERATE(0.0, 0.3);
  const Index carried_steps = GENERATE(0, 5), lanes = 3, steps = 7;
  Random random(1);
  const Core core = scattered_core(config, random);
  const Core::Memory carried = carried_memory(core, carried_steps, lanes, random);
  const Matrix<double> x = random_matrix(4, lanes * steps, random), dy = random_matrix(4, lanes * steps, random);
  const Segment segment{steps, lanes, true, 11};
  CoreRun stepped(core, carried), whole(core, carried);
  const Matrix<double> y = stepped.forward_steps(x, segment);
  CHECK(whole.forward_segment(x, segment) == y);
  CHECK(stepped.trace.outputs() == y);
  for (std::size_t l = 0; l < 2; ++l) {
    CHECK(whole.memory.cells[l].hidden == stepped.memory.cells[l].hidden);
    CHECK(whole.memory.cells[l].cell == stepped.memory.cells[l].cell);
  }
  CHECK(whole.memory.past.end == stepped.memory.past.end);
  CHECK(whole.backward_segment(dy) == stepped.backward_steps(dy));
  CHECK(parameter_difference(whole.grad, stepped.grad) == 0);
  CHECK(squared_norm(whole.grad) > 1e-3);
}

TEST_CASE("LstmCore: gradients of a segment whose deltas are not kept all at once, and no recompute") {
  LstmConfig config = small_config(GENERATE(false, true));
  config.dropout = GENERATE(0.0, 0.3);
  Random random(1);
  const Core core = scattered_core(config, random);
  Segment segment{delta_steps + 3, 2, true, 11};
  const GradientReport report =
      check_carried_core(core, carried_memory(core, GENERATE(0, 2), 2, random), segment, GENERATE(false, true), random);
  INFO(report.where);
  CHECK(report.compared == config.width * segment.columns() + count_parameters(core));
  CHECK(report.worst < 1e-7);
  segment.recompute = true;
  Core::Trace trace;
  CHECK_THROWS_WITH(core.prepare(trace, segment),
                    "an LstmCore keeps what it needs of all steps: expected a segment without recompute");
}

TEST_CASE("LstmCore: a call that is refused moves nothing") {
  Random random(1);
  const Core core = scattered_core(small_config(true), random);
  const Matrix<double> x = random_matrix(4, 6, random);
  Matrix<double> y(4, 2);
  CoreRun run(core, 2), plain(core, 2);
  Core::Memory wrong = core.make_memory(3);
  run.prepare({3, 2, true, 0});
  CHECK_THROWS_WITH(core.forward(x.leftCols(2), wrong, run.trace, 0, y), "the memory has 3 lanes, expected 2");
  CHECK_THROWS_WITH(core.forward(x.leftCols(2), run.memory, run.trace, 1, y),
                    "forward: expected step 0 of a segment of 3, found 1");
  for (Index t = 0; t < 3; ++t) core.forward(step_columns(x, t, 2), run.memory, run.trace, t, y);
  const Matrix<double> expected = plain.forward_steps(x, {3, 2, true, 0});
  CHECK(run.trace.outputs() == expected);
  Core::Memory cleared = run.memory;
  cleared.past.clear();
  CHECK_THROWS_WITH(core.backward(x.leftCols(2), cleared, run.trace, 2, y),
                    ContainsSubstring("backward: the memory has changed since forward()"));
  CHECK(run.backward_steps(x) == plain.backward_steps(x));
}

TEST_CASE("LstmCore: weights that have changed are refused before a cell changes") {
  const Index lanes = GENERATE(1, 2);
  Random random(1);
  Core core = scattered_core(small_config(true), random);
  const Matrix<double> x = random_matrix(4, lanes, random);
  Matrix<double> y(4, lanes);
  CoreRun run(core, lanes);
  run.prepare({1, lanes, false, 0});
  core.forward(x, run.memory, run.trace, 0, y);
  const Matrix<double> hidden = run.memory.cells[0].hidden;
  for (Matrix<double>* const weight :
       {&core.layers[1].gates.weight, &core.attention.output.weight, &core.position.weight, &core.key_value.value.weight}) {
    const Matrix<double> before = *weight;
    *weight *= 1.5;
    CHECK_THROWS_WITH(core.forward(x, run.memory, run.trace, 0, y),
                      ContainsSubstring("have changed since the Trace was prepared"));
    CHECK(run.memory.cells[0].hidden == hidden);
    CHECK(run.memory.past.end == 1);
    *weight = before;
  }
  CHECK_NOTHROW(core.forward(x, run.memory, run.trace, 0, y));
}

TEST_CASE("LstmCore: steps in a wrong order are refused") {
  const LstmConfig config = small_config(GENERATE(false, true));
  Random random(1);
  const Core core = scattered_core(config, random);
  const Matrix<double> x = random_matrix(4, 2, random);
  Matrix<double> y(4, 2);
  Core grad = zeros_like(core);
  CoreRun run(core, 2);
  const auto forward = [&](Index t) { core.forward(x, run.memory, run.trace, t, y); };
  const auto backward = [&](Index t) { core.backward(x, run.memory, run.trace, t, y); };
  constexpr const char* none_read =
      "backward: expected a segment that forward() has read with segment.train, once each, found none";
  constexpr const char* none_walked =
      "accumulate: expected steps that backward() has gone through since the last time, found none";

  CHECK_THROWS_AS(forward(0), std::invalid_argument);  // not prepared
  run.prepare({3, 2, true, 0});
  CHECK_THROWS_WITH(forward(1), "forward: expected step 0 of a segment of 3, found 1");
  CHECK_THROWS_WITH(backward(2), none_read);
  forward(0);
  CHECK_THROWS_WITH(forward(2), "forward: expected step 1 of a segment of 3, found 2");
  forward(1);
  CHECK_THROWS_WITH(backward(1), none_read);
  forward(2);
  CHECK_THROWS_WITH(forward(3), "forward: expected step 3 of a segment of 3, found 3");
  CHECK_THROWS_WITH(backward(1), "backward: expected step 2, found 1");
  CHECK_THROWS_WITH(core.accumulate(run.trace, 0, 3, grad), none_walked);
  backward(2);
  CHECK_THROWS_WITH(core.accumulate(run.trace, 0, 3, grad), "accumulate: expected the 1 steps from 2 on, found 3 from 0 on");
  CHECK_THROWS_WITH(backward(2), "backward: expected step 1, found 2");
  backward(1);
  backward(0);
  CHECK_THROWS_WITH(backward(2), none_read);  // once each
  CHECK(squared_norm(grad) == 0);
  core.accumulate(run.trace, 0, 3, grad);
  CHECK(squared_norm(grad) > 0);
  CHECK_THROWS_WITH(core.accumulate(run.trace, 0, 3, grad), none_walked);

  run.prepare({3, 2, false, 0});
  for (Index t = 0; t < 3; ++t) forward(t);
  CHECK_THROWS_WITH(backward(2), none_read);
  CHECK_THROWS_WITH(core.accumulate(run.trace, 0, 3, grad), none_walked);
}

TEST_CASE("LstmCore: a memory that does not fit, or has changed, is refused") {
  Random random(1);
  const LstmConfig config = small_config(true);
  const Core core = scattered_core(config, random);
  const Matrix<double> x = random_matrix(4, 6, random);
  const Segment segment{3, 2, true, 0};
  const auto refused = [&](const Core::Memory& memory, const std::string& why) {
    CoreRun other(core, memory);
    CHECK_THROWS_WITH(other.forward_steps(x, segment), ContainsSubstring(why));
    CHECK_THROWS_WITH(other.forward_segment(x, segment), ContainsSubstring(why));
  };
  refused(core.make_memory(3), "the memory has 3 lanes, expected 2");
  refused(Core(small_config(false), random).make_memory(2),
          "expected 2 layers of 4 cells and a past of 3 steps for 2 heads, found 2 of 4");
  LstmConfig other = config;
  other.window = 4;
  refused(Core(other, random).make_memory(2), "found 2 of 4 and a past of 4 steps for 2 heads");
  other = config;
  other.width = 8;
  refused(Core(other, random).make_memory(2), "found 2 of 8");
  CoreRun narrow(core, carried_memory(core, 3, 2, random));
  core.prepare(narrow.trace, segment, 2);
  Matrix<double> y(4, 2);
  CHECK_THROWS_WITH(core.forward(x.leftCols(2), narrow.memory, narrow.trace, 0, y),
                    "forward: the Trace was prepared for windows of at most 2 slots, found 3");
  for (const bool whole : {false, true}) {
    CoreRun walked(core, 2);
    walked.forward_segment(x, segment);
    walked.memory.past.clear();
    CHECK_THROWS_WITH(whole ? walked.backward_segment(x) : walked.backward_steps(x),
                      "backward: the memory has changed since forward(): expected 3 slots in use, found 0");
  }
}

TEST_CASE("LstmModel: Trainer, evaluate and generate work: a short text is memorised, with any number of threads") {
  std::vector<Token> text;
  for (int n = 0; n < 20; ++n) text.insert(text.end(), {0, 1, 2, 0, 3, 4});  // 0 needs memory
  LstmConfig config = small_config(GENERATE(false, true));
  config.width = 16;
  const Schedule schedule{0.02, 0, 1};
  TrainerOptions options;
  std::vector<LstmModel<float>> models;
  for (const Index threads : {1, 2}) {
    options.threads = threads;
    Random random(1);
    auto& model = models.emplace_back(config, random);
    Training training(model, Batches(text, BatchOptions{3, 8}), {}, options);
    for (int n = 0; n < 150; ++n) training.update(schedule.rate(n, n / 150.0), n / 150.0);
  }
  visit([](std::string_view, const auto& a, const auto& b) { CHECK(a == b); }, models[0], models[1]);
  CHECK(evaluate(models[0], text).mean() < 0.1);

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
  CHECK(message([](LstmConfig& c) {
          c.vocabulary = 0;
          c.inputs = 3;
        }) == "config: outputs must be between 1 and 16777216, found 0");
  CHECK(message([](LstmConfig& c) { c.inputs = c.outputs = 3; }) ==
        "config: a model reads tokens or vectors: expected a vocabulary or inputs, found 5 and 3");
  CHECK(message([](LstmConfig& c) { c.width = -1; }) == "config: width must be between 1 and 16777216, found -1");
  CHECK(message([](LstmConfig& c) { c.layers = 65; }) == "config: layers must be between 1 and 64, found 65");
  CHECK(message([](LstmConfig& c) { c.heads = 3; }) == "config: width 4 is not divisible by heads 3");
  CHECK(message([](LstmConfig& c) { c.window = 0; }) == "config: window must be between 1 and 16777216, found 0");
  CHECK(message([](LstmConfig& c) { c.dropout = 1; }) == "config: dropout must be at least 0 and below 1, found 1");
  CHECK(message([](LstmConfig& c) { c.embedding_deviation = 0; }) ==
        "config: embedding_deviation must be above 0 and at most 100, found 0");

  Random random(1);
  const Model model(small_config(true), random);
  Model::Stepper stepper = model.start(2);
  const std::vector<Token> outside{0, 5}, two{0, 1};
  CHECK(message_of<std::invalid_argument>([&] { model.step(outside, stepper); }) ==
        "token 5 is outside the vocabulary: expected 0 to 4");
  CHECK(message_of<std::invalid_argument>([&] { model.step(Tokens(outside).first(1), stepper); }) ==
        "expected 2 tokens (1 steps of 2 lanes), found 1");
  CHECK_THROWS_AS(model.make_memory(0), std::invalid_argument);
  model.step(two, stepper);
  CHECK_THROWS_WITH(model.step(outside, stepper), ContainsSubstring("outside the vocabulary"));
  CHECK_NOTHROW(model.step(two, stepper));  // a call that was refused has changed nothing

  Model grad = zeros_like(model);
  const Matrix<double> zero = Matrix<double>::Zero(5, 2);
  Lanes run(model, 2);
  CHECK_THROWS_WITH(run.backward(zero, grad), ContainsSubstring("once each, found none"));
  CHECK_THROWS_WITH(run.forward(outside, {1, 2, false, 0}), ContainsSubstring("outside the vocabulary"));
  run.forward(two, {1, 2, true, 0});
  run.backward(zero, grad);
  CHECK_THROWS_WITH(run.backward(zero, grad), ContainsSubstring("once each, found none"));
  LstmConfig other = small_config(true);
  other.layers = 3;
  CHECK_THROWS_WITH(Model(other, random).forward(two, {1, 2, false, 0}, run.memory, run.trace),
                    "the memory was made by a model of another config: expected 3 layers of 4 cells and a past of 3 steps "
                    "for 2 heads, found 2 of 4 and a past of 3 steps for 2 heads");
  other = small_config(true);
  other.heads = 4;
  CHECK_THROWS_WITH(Model(other, random).forward(two, {1, 2, false, 0}, run.memory, run.trace),
                    ContainsSubstring("a past of 3 steps for 4 heads, found 2 of 4 and a past of 3 steps for 2 heads"));
  run.forward(two, {1, 2, true, 0});
  Lanes taken = run;
  taken.memory.past.clear();
  CHECK_THROWS_WITH(taken.backward(zero, grad), ContainsSubstring("the memory has changed since forward()"));
  Model none;
  CHECK_THROWS_WITH(run.backward(zero, none), ContainsSubstring("expected a gradient made by zeros_like(model)"));
  run.backward(zero, grad);
  stepper = model.start(2);
  CHECK_THROWS_WITH(Model(other, random).step(two, stepper), ContainsSubstring("made by a model of another config"));
  stepper.memory = model.make_memory(1);
  CHECK_THROWS_WITH(model.step(two, stepper), "the memory has 1 lanes, expected 2");

  Model changed = model;
  scatter(changed, random);  // the stepper holds what was packed of the model as it was
  stepper = model.start(2);
  model.step(two, stepper);
  CHECK_THROWS_WITH(changed.step(two, stepper), ContainsSubstring("have changed since the Trace was prepared"));
}
