#include "fbt/models/sequence_model.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/losses.hpp"
#include "support/catch.hpp"
#include "support/lanes.hpp"
#include "support/small_models.hpp"

#include <set>

using namespace fbt;

namespace {

using Model = FeedbackTransformer<double>;

// The logits of a sequence of one or more lanes, read in segments of the given lengths.
Matrix<double> read(Lanes<Model>& run, Tokens tokens, Index lanes, std::initializer_list<Index> lengths,
                    Segment segment = {}) {
  Matrix<double> logits(run.model->config().vocabulary, static_cast<Index>(tokens.size()));
  Index t = 0;
  segment.lanes = lanes;
  for (const Index length : lengths) {
    segment.steps = length;
    const auto columns = static_cast<std::size_t>(length * lanes);
    logits.middleCols(t, length * lanes) = run.forward(tokens.subspan(static_cast<std::size_t>(t), columns), segment);
    t += length * lanes;
  }
  return logits;
}
Matrix<double> read(const Model& model, Tokens tokens, Index lanes, std::initializer_list<Index> lengths,
                    Segment segment = {}) {
  Lanes run(model, lanes);
  return read(run, tokens, lanes, lengths, segment);
}

// Lane b of tokens laid out step by step.
std::vector<Token> lane_of(Tokens tokens, Index lanes, Index b) {
  std::vector<Token> lane;
  for (auto i = static_cast<std::size_t>(b); i < tokens.size(); i += static_cast<std::size_t>(lanes))
    lane.push_back(tokens[i]);
  return lane;
}

Config generated_config() {
  Config c = small_config();
  c.share_key_value = GENERATE(true, false);
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  return c;
}

std::set<std::string> names_of(const Config& config) {
  Random random(1);
  const Model model(config, random);
  std::set<std::string> names;
  visit([&](std::string_view name, const auto&) { CHECK(names.emplace(name).second); }, model);
  return names;
}

}  // namespace

TEST_CASE("FeedbackTransformer: lanes do not see each other") {
  Random random(1);
  const Model model = scattered_model<double>(generated_config(), random);
  const Index lanes = GENERATE(2, 3), steps = 8;
  const std::vector<Token> tokens = random_tokens(steps * lanes, 5, random);
  const Matrix<double> weights = random_matrix(5, steps * lanes, random);
  Lanes together(model, lanes);
  const Matrix<double> logits = together.forward(tokens, {steps, lanes, true, 0});
  Model grad = zeros_like(model), sum = zeros_like(model);
  together.backward(weights, grad);

  for (Index b = 0; b < lanes; ++b) {
    const auto column = Eigen::seqN(b, steps, lanes);
    Lanes single(model, 1);
    const Matrix<double> expected = single.forward(lane_of(tokens, lanes, b), {steps, 1, true, 0});
    CHECK(difference(logits(Eigen::all, column), expected) < 1e-12);
    single.backward(Matrix<double>(weights(Eigen::all, column)), sum);
  }
  visit(
      [](std::string_view name, const auto& a, const auto& b) {
        INFO(name);
        CHECK(difference(a, b) < 1e-12);
      },
      grad, sum);
}

TEST_CASE("FeedbackTransformer: sequences padded on the right and labelled -1 there train as they do alone") {
  Random random(1);
  const Model model = scattered_model<double>(generated_config(), random);
  const std::vector<Index> lengths{9, 1, 4};
  const Index lanes = 3, steps = 9;
  const std::vector<Token> tokens = random_tokens(steps * lanes, 5, random);  // the padding: any tokens
  std::vector<Token> labels = random_tokens(steps * lanes, 5, random);
  for (Index t = 0; t < steps; ++t)
    for (Index b = 0; b < lanes; ++b)
      if (t >= lengths[static_cast<std::size_t>(b)]) labels[static_cast<std::size_t>(t * lanes + b)] = -1;

  Lanes together(model, lanes);
  Model grad = zeros_like(model), sum = zeros_like(model);
  Matrix<double> dlogits(5, steps * lanes);
  const auto loss =
      CrossEntropy{}.operator()<double>(together.forward(tokens, {steps, lanes, true, 0}), labels, 0.5, dlogits);
  together.backward(dlogits, grad);
  LossSum apart;
  for (Index b = 0; b < lanes; ++b) {
    const Index length = lengths[static_cast<std::size_t>(b)];
    const auto begin = [&](const std::vector<Token>& all) {
      std::vector<Token> lane = lane_of(all, lanes, b);
      lane.resize(static_cast<std::size_t>(length));
      return lane;
    };
    Lanes single(model, 1);
    const Matrix<double>& logits = single.forward(begin(tokens), {length, 1, true, 0});
    dlogits.resize(5, length);
    apart += CrossEntropy{}.operator()<double>(logits, begin(labels), 0.5, dlogits);
    single.backward(dlogits, sum);
  }
  CHECK(loss.count == 14);
  CHECK(apart.count == 14);
  CHECK(std::abs(loss.sum - apart.sum) < 1e-12);
  visit(
      [](std::string_view name, const auto& a, const auto& b) {
        INFO(name);
        CHECK(difference(a, b) < 1e-12);
      },
      grad, sum);
}

TEST_CASE("FeedbackTransformer: a segment is the same as its steps") {
  Random random(1);
  const Model model = scattered_model<double>(generated_config(), random);
  const Index lanes = GENERATE(1, 3), steps = 20;  // many times the window: the memory grows, and moves to the front
  const std::vector<Token> tokens = random_tokens(steps * lanes, 5, random);
  const Matrix<double> logits = read(model, tokens, lanes, {steps});
  Model::Stepper state = model.start(lanes);
  for (Index t = 0; t < steps; ++t)
    CHECK(difference(model.step(step_columns(Tokens(tokens), t, lanes), state), step_columns(logits, t, lanes)) < 1e-12);
}

TEST_CASE("FeedbackTransformer: a Transformer goes layer by layer through a segment, and step by step, to the last bit") {
  Random random(1);
  Config c = small_config();
  c.memory_rule = MemoryRule::transformer;
  c.share_key_value = false;
  c.pre_norm = GENERATE(true, false);
  const Model model = scattered_model<double>(c, random);
  const Index lanes = GENERATE(1, 3), steps = 11;
  const std::vector<Token> tokens = random_tokens(steps * lanes, c.vocabulary, random);
  const Matrix<double> weights = random_matrix(c.vocabulary, steps * lanes, random);
  Lanes whole(model, lanes);
  Model::Stepper stepped = model.start(lanes);
  const Matrix<double> logits = whole.forward(tokens, {steps, lanes, true, 0});
  for (Index t = 0; t < steps; ++t)
    CHECK(difference(model.step(step_columns(Tokens(tokens), t, lanes), stepped), step_columns(logits, t, lanes)) < 1e-13);

  // the gradient in one segment is that of the loss, which a chain of steps gives, too: shift every parameter
  Model grad = zeros_like(model);
  whole.backward(weights, grad);
  const auto loss = [&](Model& at) {
    Model::Stepper state = at.start(lanes);
    double sum = 0;
    for (Index t = 0; t < steps; ++t)
      sum += at.step(step_columns(Tokens(tokens), t, lanes), state).cwiseProduct(step_columns(weights, t, lanes)).sum();
    return sum;
  };
  Model moved = model;
  double slope = 0;
  constexpr double h = 1e-7;
  visit(
      [&](std::string_view, auto& p, const auto& g) {
        slope += g.squaredNorm();
        p += h * g;
      },
      moved, grad);
  const double above = loss(moved);
  visit([&](std::string_view, auto& p, const auto& g) { p -= 2 * h * g; }, moved, grad);
  CHECK((above - loss(moved)) / (2 * h) == Approx(slope).epsilon(1e-5));
}

TEST_CASE("FeedbackTransformer: threads share a step and give the same to the last bit") {
  Random random(1);
  Config c{.vocabulary = 70, .width = 136, .layers = 2, .heads = 4, .feed_forward = 600, .window = 300};
  const FeedbackTransformer<float> model(c, random);
  const Index lanes = GENERATE(1, 2), threads = GENERATE(2, 3);
  auto alone = model.start(lanes), shared = model.start(lanes, threads);
  for (int t = 0; t < 320; ++t) {
    const std::vector<Token> tokens = random_tokens(lanes, c.vocabulary, random);
    REQUIRE(model.step(tokens, shared) == model.step(tokens, alone));
  }
  auto copy = shared;
  const std::vector<Token> tokens = random_tokens(lanes, c.vocabulary, random);
  CHECK(model.step(tokens, copy) == model.step(tokens, shared));
}

TEST_CASE("FeedbackTransformer: the memory carries a sequence over the borders of segments") {
  Random random(1);
  const Model model = scattered_model<double>(generated_config(), random);
  const std::vector<Token> tokens = random_tokens(2 * 12, 5, random);
  const Matrix<double> whole = read(model, tokens, 2, {12});
  CHECK(difference(read(model, tokens, 2, {6, 6}), whole) < 1e-12);
  CHECK(difference(read(model, tokens, 2, {1, 2, 3, 5, 1}), whole) < 1e-12);
  CHECK(difference(read(model, tokens, 2, {1, 1, 10}), whole) < 1e-12);
}

TEST_CASE("FeedbackTransformer: a copied state goes on independently") {
  Random random(1);
  const Model model = scattered_model<double>(generated_config(), random);
  Model::Stepper state = model.start(1);
  for (const Token token : {1, 2, 3, 4}) model.step(Tokens(&token, 1), state);
  Model::Stepper copy = state;
  const Token a = 0, b = 4;
  model.step(Tokens(&a, 1), state);
  const Matrix<double> after_a = model.step(Tokens(&b, 1), state);
  model.step(Tokens(&b, 1), copy);
  CHECK(difference(model.step(Tokens(&b, 1), copy), after_a) > 1e-6);
  copy = model.start(1);
  for (const Token token : {1, 2, 3, 4, 0}) model.step(Tokens(&token, 1), copy);
  CHECK(difference(model.step(Tokens(&b, 1), copy), after_a) < 1e-12);
}

TEST_CASE("FeedbackTransformer: the top of one step reaches the bottom of the next") {
  // the last block's output bias changes nothing but h^L: seen by the next step only through the memory
  Random random(1);
  Config c = small_config();
  c.layers = 1;
  Model model = scattered_model<double>(c, random);
  model.head.linear.weight.setZero();
  model.head.linear.weight.topRows(4).setIdentity();
  Model changed = model;
  changed.core.blocks[0].feed_forward.second.bias(0) += 1;
  const std::vector<Token> tokens{1, 2};
  Lanes run(model, 1), other(changed, 1);
  read(run, tokens, 1, {2});
  read(other, tokens, 1, {2});
  // what the second step's attention produced differs, although its own input is the same
  CHECK(difference(run.trace.core.blocks[0].attention.output.x.col(1),
                   other.trace.core.blocks[0].attention.output.x.col(1)) > 1e-3);
}

TEST_CASE("FeedbackTransformer: a step sees at most the window") {
  Random random(1);
  Config c = small_config();
  c.layers = 1;
  const Model model = scattered_model<double>(c, random);
  // with the embedding alone in the memory, nothing older than the window can be seen
  Model direct = model;
  direct.core.aggregator.mix.weight << 1000, 0;
  std::vector<Token> tokens{0, 1, 2, 3, 4}, changed{4, 1, 2, 3, 4};
  CHECK(difference(read(direct, tokens, 1, {5}).col(3), read(direct, changed, 1, {5}).col(3)) > 1e-6);
  CHECK(difference(read(direct, tokens, 1, {5}).col(4), read(direct, changed, 1, {5}).col(4)) == 0);
  // with the block's output in it, the past reaches on from memory vector to memory vector
  CHECK(difference(read(model, tokens, 1, {5}).col(4), read(model, changed, 1, {5}).col(4)) > 1e-9);
}

TEST_CASE("FeedbackTransformer: dropout in training only, one seed for one result") {
  Random random(1);
  Config c = small_config();
  Model plain = scattered_model<double>(c, random);
  c.dropout = 0.5;
  Model model(c, random);
  visit([](std::string_view, auto& to, const auto& from) { to = from; }, model, plain);
  const std::vector<Token> tokens = random_tokens(6, 5, random);
  const Matrix<double> expected = read(plain, tokens, 1, {6});
  CHECK(read(model, tokens, 1, {6}) == expected);
  Segment segment;
  segment.train = true;
  segment.seed = 1;
  const Matrix<double> first = read(model, tokens, 1, {6}, segment);
  CHECK(read(model, tokens, 1, {6}, segment) == first);
  CHECK(difference(first, expected) > 1e-3);
  segment.seed = 2;
  CHECK(difference(read(model, tokens, 1, {6}, segment), first) > 1e-3);
}

TEST_CASE("FeedbackTransformer: gradients of several segments add up") {
  Random random(1);
  const Model model = scattered_model<double>(small_config(), random);
  const std::vector<Token> tokens = random_tokens(8, 5, random);
  const Matrix<double> weights = random_matrix(5, 4, random);
  Model once = zeros_like(model), twice = zeros_like(model);
  for (int i = 0; i < 2; ++i) {
    Lanes run(model, 2);
    run.forward(tokens, {4, 2, true, 0});
    run.backward(weights.replicate(1, 2), i == 0 ? once : twice);
    if (i == 0) twice = once;
  }
  add(once, Model(once));
  visit([](std::string_view, const auto& a, const auto& b) { CHECK(difference(a, b) < 1e-12); }, once, twice);
}

TEST_CASE("FeedbackTransformer: one seed gives one model") {
  Random a(7), b(7), c(8);
  const Model first(small_config(), a), second(small_config(), b), third(small_config(), c);
  visit([](std::string_view, const auto& x, const auto& y) { CHECK(x == y); }, first, second);
  CHECK(first.input.embedding.weight != third.input.embedding.weight);
}

TEST_CASE("FeedbackTransformer: memorises a short sequence") {
  Random random(1);
  Config c;
  c.vocabulary = 5;
  c.width = 16;
  c.layers = 2;
  c.heads = 2;
  c.feed_forward = 32;
  c.window = 8;
  Model model(c, random);
  const std::vector<Token> text{0, 1, 2, 2, 3, 4, 0, 1, 2, 2, 3, 4, 0, 1, 2, 2, 3};  // hello hello hello
  const Index steps = static_cast<Index>(text.size()) - 1;
  const auto first = zeros_like(model);
  Lanes run(model, 1);
  double loss = 0;
  for (int update = 0; update < 200; ++update) {
    run.memory = model.make_memory(1);
    Matrix<double> delta = run.forward(Tokens(text).first(text.size() - 1), {steps, 1, true, 0});
    loss = 0;
    for (Index t = 0; t < steps; ++t) {  // cross-entropy: -log p(next), with the gradient p - (1 at next)
      softmax(delta.col(t));
      double& next = delta(text[static_cast<std::size_t>(t + 1)], t);
      loss -= std::log(next) / static_cast<double>(steps);
      next -= 1;
    }
    auto grad = first;
    run.backward(delta / static_cast<double>(steps), grad);
    visit([](std::string_view, auto& parameter, const auto& g) { parameter -= 0.2 * g; }, model, grad);
    if (update == 0) CHECK(loss > 1);
  }
  CHECK(loss < 0.05);
}

TEST_CASE("FeedbackTransformer: parameter names") {
  Config c = small_config();
  c.layers = 1;
  const std::set<std::string> plain{"embedding.weight",
                                    "blocks.0.norm1.weight",
                                    "blocks.0.norm1.bias",
                                    "blocks.0.attention.query.weight",
                                    "blocks.0.attention.output.weight",
                                    "blocks.0.attention.output.bias",
                                    "blocks.0.norm2.weight",
                                    "blocks.0.norm2.bias",
                                    "blocks.0.feed_forward.first.weight",
                                    "blocks.0.feed_forward.first.bias",
                                    "blocks.0.feed_forward.second.weight",
                                    "blocks.0.feed_forward.second.bias",
                                    "positions.0.weight",
                                    "mix.weight",
                                    "key_values.0.norm.weight",
                                    "key_values.0.norm.bias",
                                    "key_values.0.key.weight",
                                    "key_values.0.value.weight",
                                    "norm_out.weight",
                                    "norm_out.bias",
                                    "head.weight",
                                    "head.bias"};
  CHECK(names_of(c) == plain);

  std::set<std::string> names = plain;
  names.insert("key_values.0.value.bias");
  for (const char* name : {"blocks.0.attention.output.bias", "positions.0.weight", "key_values.0.norm.weight",
                           "key_values.0.norm.bias", "norm_out.weight", "norm_out.bias"})
    names.erase(name);
  Config other = c;
  other.value_bias = true;
  other.output_bias = other.pre_norm = false;
  other.memory_norm = MemoryNorm::none;
  other.position = PositionTerm::none;
  CHECK(names_of(other) == names);

  names = plain;
  names.insert({"positions.0.bias", "positions.0.query_bias"});
  other = c;
  other.position = PositionTerm::per_head;
  CHECK(names_of(other) == names);
  other.position = PositionTerm::buckets;
  CHECK(names_of(other) == plain);

  names = plain;  // the norm of the memory is that of the block
  names.erase("blocks.0.norm1.weight");
  names.erase("blocks.0.norm1.bias");
  other = c;
  other.memory_norm = MemoryNorm::block;
  CHECK(names_of(other) == names);

  names = plain;
  c.layers = 2;
  for (const std::string& name : plain)
    if (name.starts_with("blocks.0")) names.insert("blocks.1" + name.substr(8));
  CHECK(names_of(c) == names);

  c.share_key_value = false;
  for (const std::string& name : plain)
    if (name.starts_with("key_values.0")) names.insert("key_values.1" + name.substr(12));
  CHECK(names_of(c) == names);
}

TEST_CASE("FeedbackTransformer: the config knows the number of parameters") {
  Config c = generated_config();
  c.activation = GENERATE(Activation::relu, Activation::geglu);
  c.position = GENERATE(PositionTerm::none, PositionTerm::relative_key, PositionTerm::per_head, PositionTerm::buckets);
  c.head_size = GENERATE(0, 3);
  c.pre_norm = GENERATE(true, false);
  c.span_ramp = c.head_size > 0 ? 2 : 0;
  for (const bool on : {true, false}) {
    c.memory_norm = on ? MemoryNorm::own : MemoryNorm::none;
    c.value_bias = on;
    c.output_bias = !on;
    Random random(1);
    CHECK(c.parameters() == static_cast<double>(count_parameters(Model(c, random))));
  }
  Random random(1);
  c.memory_norm = MemoryNorm::soft;
  CHECK(c.parameters() == static_cast<double>(count_parameters(Model(c, random))));
  if (!c.pre_norm) return;
  c.memory_norm = MemoryNorm::block;
  CHECK(c.parameters() == static_cast<double>(count_parameters(Model(c, random))));
}

TEST_CASE("FeedbackTransformer: shapes and starting values") {
  Random random(1);
  Config c = small_config();
  c.head_size = 3;
  c.activation = Activation::geglu;
  const Model model(c, random);
  CHECK(model.config() == c);
  const auto is = [](const auto& m, Index rows, Index columns) { return m.rows() == rows && m.cols() == columns; };
  CHECK(is(model.input.embedding.weight, 5, 4));
  CHECK(is(model.core.blocks[1].attention.query.weight, 6, 4));
  CHECK(is(model.core.blocks[1].attention.output.weight, 4, 6));
  CHECK(is(model.core.blocks[1].feed_forward.first.weight, 6, 4));
  CHECK(is(model.core.blocks[1].feed_forward.second.weight, 4, 3));
  CHECK(is(model.core.positions[0].weight, 3, 3));
  CHECK(is(model.core.aggregator.key_values[0].key.weight, 6, 4));
  CHECK(is(model.head.linear.weight, 5, 4));
  CHECK(difference(model.core.aggregator.mix.mix_weights(), Vector<double>{{2.0 / 3, 1.0 / 6, 1.0 / 6}}) < 1e-15);
  CHECK(model.head.norm.weight == Vector<double>::Ones(4));
}

TEST_CASE("FeedbackTransformer: a state of before a change of the parameters is refused") {
  Random random(1);
  Model model(small_config(), random);
  Model::Stepper state = model.start(2);
  const std::vector<Token> two{0, 1};
  model.step(two, state);
  Model grad = zeros_like(model);
  visit([](std::string_view, auto& tensor) { tensor.setOnes(); }, grad);
  Adam<Model>(model, {}).update(model, grad, 0.01);
  CHECK_THROWS_WITH(model.step(two, state), ContainsSubstring("have changed since the Trace was prepared"));
  CHECK(state.memory.end == 1);  // nothing more was remembered
  state = model.start(2);
  model.step(two, state);
}

TEST_CASE("FeedbackTransformer: a state of before a change is refused with one lane, too, once there is a past") {
  Random random(1);
  Model model(small_config(), random);
  Model::Stepper state = model.start(1);
  const std::vector<Token> one{0};
  model.step(one, state);
  model.core.positions[0].weight.array() += 0.01;
  CHECK_THROWS_WITH(model.step(one, state),
                    ContainsSubstring("the positions (3, 2) have changed since the Trace was prepared"));
}

TEST_CASE("FeedbackTransformer: steps go on from what forward() has read") {
  Random random(1);
  const Model model = scattered_model<double>(small_config(), random);
  const std::vector<Token> tokens{0, 1, 2, 3, 4, 0, 1};
  for (const std::size_t read : {1u, 2u, 5u}) {
    Lanes segment(model, 1);
    Model::Stepper steps = model.start(1), on = model.start(1);
    segment.forward(Tokens(tokens).first(read), {static_cast<Index>(read), 1, false, 0});
    on.memory = std::move(segment.memory);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      const Matrix<double> expected = model.step({&tokens[t], 1}, steps);
      if (t >= read) CHECK(model.step({&tokens[t], 1}, on).isApprox(expected, 1e-12));
    }
  }
}

TEST_CASE("FeedbackTransformer: wrong calls are refused") {
  Random random(1);
  const Config c = small_config();
  const Model model(c, random);
  const std::vector<Token> four{0, 1, 2, 3};
  const Tokens two = Tokens(four).first(2);
  Model::Stepper stepper = model.start(2);
  CHECK_THROWS_WITH(model.make_memory(0), "memory: lanes must be at least 1, found 0");
  CHECK_THROWS_WITH(model.start(0), "memory: lanes must be at least 1, found 0");
  CHECK_THROWS_AS(model.start(1, 0), std::invalid_argument);
  CHECK_THROWS_WITH(model.step(Tokens(four).first(1), stepper), "expected 2 tokens (1 steps of 2 lanes), found 1");
  CHECK_THROWS_WITH(model.step(four, stepper), "expected 2 tokens (1 steps of 2 lanes), found 4");
  CHECK_THROWS_WITH(model.step(std::vector<Token>{0, 5}, stepper), "token 5 is outside the vocabulary: expected 0 to 4");
  CHECK_THROWS_WITH(model.step(std::vector<Token>{-1, 0}, stepper), "token -1 is outside the vocabulary: expected 0 to 4");
  CHECK(stepper.memory.end == 0);  // nothing was remembered
  Lanes run(model, 2);
  CHECK_THROWS_WITH(run.forward(four, {0, 2, false, 0}), "forward: a segment has at least 1 step and 1 lane, found 0 and 2");
  CHECK_THROWS_WITH(run.forward({}, {1, 0, false, 0}), "forward: a segment has at least 1 step and 1 lane, found 1 and 0");
  CHECK_THROWS_WITH(run.forward(four, {4, 1, false, 0}), "the memory has 2 lanes, expected 1");
  CHECK_THROWS_WITH(run.forward(four, {3, 2, false, 0}), "expected 6 tokens (3 steps of 2 lanes), found 4");
  CHECK_THROWS_WITH(run.forward(std::vector<Token>{0, 1, 5, 0}, {2, 2, false, 0}),
                    ContainsSubstring("outside the vocabulary"));
  CHECK(run.memory.end == 0);

  Model grad = zeros_like(model);
  const Matrix<double> zero = Matrix<double>::Zero(5, 4);
  constexpr const char* none_read =
      "backward: expected a segment that forward() has read with segment.train, once each, found none";
  CHECK_THROWS_WITH(run.backward(zero, grad), none_read);
  run.forward(four, {2, 2, false, 0});
  CHECK_THROWS_WITH(run.backward(zero, grad), none_read);
  run.forward(four, {2, 2, true, 0});
  CHECK_THROWS_WITH(run.backward(Matrix<double>::Zero(5, 3), grad),
                    "backward: expected the gradient of the outputs (5, 4), found (5, 3)");
  CHECK_THROWS_AS(run.backward(Matrix<double>::Zero(4, 4), grad), std::invalid_argument);
  Model none;
  CHECK_THROWS_WITH(run.backward(zero, none),
                    "backward: expected a gradient made by zeros_like(model), found one of another config");
  CHECK_NOTHROW(run.backward(zero, grad));  // what was refused has changed nothing
  CHECK_THROWS_WITH(run.backward(zero, grad), none_read);
  run.forward(four, {2, 2, true, 0});
  Lanes cleared = run, moved = run;
  cleared.memory.clear();
  moved.memory.banks.clear();
  for (Lanes<Model>* const changed : {&cleared, &moved})
    CHECK_THROWS_WITH(changed->backward(Matrix<double>::Ones(5, 4), grad),
                      "backward: the memory has changed since forward(): expected " + std::to_string(run.memory.end) +
                          " slots in use, found 0");
  CHECK(squared_norm(grad) == 0);
  const Matrix<double> ones = Matrix<double>::Ones(5, 4);
  Lanes fresh = run;
  Memory<double> kept = run.memory;
  run.memory.clear();
  CHECK_THROWS_WITH(run.backward(ones, grad), ContainsSubstring("the memory has changed"));
  run.memory = kept;
  run.backward(ones, grad);  // what was refused has no part in it
  Model expected = zeros_like(model);
  fresh.backward(ones, expected);
  visit(
      [](std::string_view name, const auto& found, const auto& wanted) {
        INFO(name);
        CHECK(found == wanted);
      },
      grad, expected);

  // a stepper is not for segments
  for (const bool train : {false, true}) {
    Model::Stepper misused = model.start(2);
    model.forward(four, {2, 2, train, 0}, misused.memory, misused.trace);
    CHECK_THROWS_WITH(model.step(two, misused), "step: expected a stepper made by start(), found the trace of a segment");
    CHECK_THROWS_WITH(model.attention(0, misused),
                      "attention: expected a Trace of single steps, such as that of start(), found one of a segment");
  }
  Model::Stepper misused = model.start(2);
  model.forward(two, {1, 2, false, 0}, misused.memory, misused.trace);  // has room for fewer slots than steps may see
  CHECK_THROWS_WITH(
      [&] {
        for (Index t = 0; t < c.window; ++t) model.step(two, misused);
      }(),
      ContainsSubstring("forward: the Trace was prepared for windows of at most"));
  misused = model.start(2);
  model.forward(two, {1, 2, true, 0}, misused.memory, misused.trace);
  CHECK_THROWS_WITH(model.attention(0, misused), ContainsSubstring("attention: expected a Trace of single steps"));
  CHECK_THROWS_WITH(model.attention(2, model.start(2)), "attention: expected a layer below 2, found 2");
  CHECK_THROWS_WITH(model.attention(-1, model.start(2)), "attention: expected a layer below 2, found -1");

  Config deep = c;
  deep.layers += 1;
  Model::Stepper shallow = model.start(2);
  CHECK_THROWS_WITH(Model(deep, random).step(two, shallow),
                    "step: the stepper was made by a model of another config; use start()");
  CHECK_THROWS_WITH(Model(deep, random).attention(2, shallow),
                    "attention: the stepper was made by a model of another config; use start()");
  run.forward(four, {2, 2, true, 0});
  Model deep_grad(deep, random);
  CHECK_THROWS_WITH(Model(deep, random).backward(zero, run.memory, run.trace, deep_grad),
                    "backward: the trace was made by a model of another config");
  CHECK_THROWS_WITH(run.backward(zero, deep_grad), ContainsSubstring("expected a gradient made by zeros_like(model)"));

  Config wide = c;
  wide.window += 1;
  const Model other(wide, random);
  Lanes wider(other, 2);
  CHECK_THROWS_WITH(model.forward(four, {2, 2, false, 0}, wider.memory, wider.trace),
                    ContainsSubstring("the memory was made by a model of another config"));
  stepper = model.start(2);
  stepper.memory = other.make_memory(2);
  CHECK_THROWS_WITH(model.step(two, stepper), ContainsSubstring("the memory was made by a model of another config"));
  stepper.memory = model.make_memory(1);
  CHECK_THROWS_WITH(model.step(two, stepper), "the memory has 1 lanes, expected 2");
  Model::Stepper empty;
  CHECK_THROWS_AS(model.step(four, empty), std::invalid_argument);
  CHECK_THROWS_AS(model.forward(four, {2, 2, false, 0}, empty.memory, empty.trace), std::invalid_argument);
  Config invalid = c;
  invalid.width = 5;
  CHECK_THROWS_WITH(Model(invalid, random), ContainsSubstring("width 5 is not divisible by heads 2"));
}

TEST_CASE("FeedbackTransformer: another memory rule keeps the parameters and begins the layer weights anew") {
  Random random(1);
  Config c = small_config();
  c.memory_rule = MemoryRule::transformer;
  c.share_key_value = false;
  const Model transformer = scattered_model<double>(c, random);
  const auto under = [](Model model, MemoryRule rule, Index layer = 0) {
    model.core.set_memory_rule(rule, layer);
    return model;
  };
  const Model feedback = under(transformer, MemoryRule::feedback);
  CHECK(feedback.config().memory_rule == MemoryRule::feedback);
  CHECK(feedback.core.aggregator.mix.weight == Vector<double>::Zero(c.layers + 1));
  CHECK(count_parameters(feedback) == count_parameters(transformer) + c.layers + 1);
  CHECK(feedback.core.blocks[1].attention.query.weight == transformer.core.blocks[1].attention.query.weight);
  CHECK(feedback.core.aggregator.key_values[1].key.weight == transformer.core.aggregator.key_values[1].key.weight);

  // the model that is built with the rule from the start, with the same parameters, gives the same
  Config direct = c;
  direct.memory_rule = MemoryRule::feedback;
  Model same(direct, random);
  visit([](std::string_view, auto& to, const auto& from) { to = from; }, same, feedback);
  const auto tokens = random_tokens(7, c.vocabulary, random);
  CHECK(read(same, tokens, 1, {7}) == read(feedback, tokens, 1, {7}));
  CHECK(difference(read(transformer, tokens, 1, {7}), read(feedback, tokens, 1, {7})) > 1e-3);

  CHECK(under(feedback, MemoryRule::layer, 2).config().memory_layer == 2);
  Model shared(small_config(), random), unchanged = feedback;
  CHECK_THROWS_AS(shared.core.set_memory_rule(MemoryRule::recurrent), std::invalid_argument);
  CHECK(shared.config() == small_config());  // what was refused has changed nothing
  CHECK_THROWS_AS(unchanged.core.set_memory_rule(MemoryRule::layer, 3), std::invalid_argument);
  CHECK(unchanged.config() == feedback.config());
  CHECK(count_parameters(unchanged) == count_parameters(feedback));
  // the model's own rule: the layer weights stay
  unchanged.core.aggregator.mix.weight << 1, 2, 3;
  unchanged.core.set_memory_rule(MemoryRule::feedback);
  CHECK(unchanged.core.aggregator.mix.weight == Vector<double>{{1, 2, 3}});
}

TEST_CASE("FeedbackTransformer: decoding keeps no more slots than the longest learned span, and gives the same") {
  Random random(1);
  Config c = small_config();
  c.window = 12;
  c.span_ramp = 2;
  c.empty_memory = GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots);
  Model model = scattered_model<double>(c, random);
  model.core.blocks[0].attention.span.length << 0.1, 0.3;  // 3 and 5 slots
  model.core.blocks[1].attention.span.length << 0.25, 0;   // 4 and 1
  CHECK(model.core.longest_span() == 5);
  const auto tokens = random_tokens(30, c.vocabulary, random);
  const Matrix<double> logits = read(model, tokens, 1, {10, 20});
  Model::Stepper state = model.start(1);
  for (Index t = 0; t < 30; ++t) {
    CHECK(difference(model.step(step_columns(Tokens(tokens), t, 1), state), logits.col(t)) < 1e-12);
    CHECK(state.memory.window == 5);
  }
}

namespace {

/// All heads look that far back, as a share of the window.
void set_spans(Model& model, double share) {
  for (auto& block : model.core.blocks) block.attention.span.length.setConstant(share);
}
Model short_sighted_model(Random& random) {
  Config c = small_config();
  c.window = 6;
  c.span_ramp = 2;
  Model model = scattered_model<double>(c, random);
  set_spans(model, 0);
  return model;
}

}  // namespace

TEST_CASE("FeedbackTransformer: segments keep what the longest span sees, and a span that has grown begins to fill") {
  Random random(1);
  Model model = short_sighted_model(random);
  const std::vector<Token> tokens{0, 1, 2, 3, 4, 0, 1, 2};
  const auto read = [&](std::size_t first, Lanes<Model>& run) {
    return Matrix<double>(run.forward(Tokens(tokens).subspan(first, 4), {4, 1, false, 0}));
  };
  Lanes on(model, 1);
  read(0, on);
  CHECK(on.memory.window == model.core.longest_span());
  CHECK(model.core.longest_span() < 4);
  Lanes saved(model, on.memory);
  saved.memory.move_to_front();  // what a checkpoint keeps
  CHECK(saved.memory.end < on.memory.end);
  set_spans(model, 0.9);
  CHECK(model.core.longest_span() == 6);
  CHECK(read(4, on) == read(4, saved));
  CHECK(on.memory.window == 6);
}

TEST_CASE("FeedbackTransformer: steps after segments see what a span that has grown sees") {
  Random random(1);
  Model model = short_sighted_model(random);
  const auto tokens = random_tokens(10, model.config().vocabulary, random);
  Lanes segments(model, 1);
  segments.forward(Tokens(tokens).first(4), {4, 1, false, 0});
  CHECK(segments.memory.window < 4);
  set_spans(model, 0.9);
  Model::Stepper steps = model.start(1);
  steps.memory = segments.memory;
  CHECK(model.attention(0, steps).rows() == 0);  // nothing has been looked at yet
  const Matrix<double> expected = segments.forward(Tokens(tokens).subspan(4), {6, 1, false, 0});
  Matrix<double> found(expected.rows(), 6);
  for (Index t = 0; t < 6; ++t) found.col(t) = model.step(Tokens(tokens).subspan(static_cast<std::size_t>(4 + t), 1), steps);
  CHECK(difference(found, expected) < 1e-12);
  CHECK(steps.memory.window == 6);
}

TEST_CASE("FeedbackTransformer: what a layer looks at") {
  Random random(1);
  const Model model = scattered_model<double>(small_config(), random);
  Model::Stepper state = model.start(2);
  const auto tokens = random_tokens(2 * 6, model.config().vocabulary, random);
  for (Index t = 0; t < 6; ++t) {
    model.step(Tokens(tokens).subspan(static_cast<std::size_t>(2 * t), 2), state);
    for (Index layer = 0; layer < model.config().layers; ++layer) {
      const Matrix<double> weights = model.attention(layer, state);
      CHECK(weights.rows() == std::min(t, model.config().window));
      CHECK(weights.cols() == 2 * model.config().heads);
      if (t > 0) CHECK((weights.colwise().sum().array() - 1).abs().maxCoeff() < 1e-12);
      CHECK((weights.array() >= 0).all());
    }
  }
  // column b*H + j: lane 1 alone gives the second half
  Model::Stepper alone = model.start(1);
  for (std::size_t t = 0; t < 6; ++t) model.step(Tokens(tokens).subspan(2 * t + 1, 1), alone);
  CHECK(difference(model.attention(1, state).rightCols(model.config().heads), model.attention(1, alone)) < 1e-12);
}

TEST_CASE("FeedbackTransformer: the gradient of the span penalty") {
  Random random(1);
  Config c = small_config();
  c.span_ramp = 2;
  Model model(c, random), grad = ones_like(model);
  model.core.blocks[1].attention.span.length << 0.5, -0.1;
  model.core.add_span_penalty(0.8, grad.core);
  CHECK(grad.core.blocks[0].attention.span.length == Vector<double>::Ones(2));  // 0: as short as can be
  CHECK(grad.core.blocks[1].attention.span.length(0) == Approx(1 + 0.8 * 3 / 4).epsilon(1e-14));
  CHECK(grad.core.blocks[1].attention.span.length(1) == 1);
  CHECK(grad.head.linear.weight == ones_like(model).head.linear.weight);
}

TEST_CASE("FeedbackTransformer: weights that change between forward() and backward() are noticed") {
  Random random(1);
  for (const Index lanes : {1, 2}) {
    Model model = scattered_model<double>(small_config(), random);
    Lanes run(model, lanes);
    run.forward(random_tokens(3 * lanes, 5, random), {3, lanes, true, 0});
    model.core.blocks[1].feed_forward.first.weight *= 1.5;
    Model grad = zeros_like(model);
    CHECK_THROWS_WITH(model.backward(Matrix<double>::Zero(5, 3 * lanes), run.memory, run.trace, grad),
                      ContainsSubstring("have changed since the Trace was prepared"));
  }
}

TEST_CASE("FeedbackTransformer: a stepper goes on with new weights and the memory that it has") {
  Random random(1);
  Model model = scattered_model<double>(small_config(), random);
  Model::Stepper stepper = model.start(2);
  const std::vector<Token> tokens{1, 2};
  for (int t = 0; t < 5; ++t) model.step(tokens, stepper);
  visit([](std::string_view, auto& tensor) { tensor *= 1.1; }, model);
  CHECK_THROWS_AS(model.step(tokens, stepper), std::invalid_argument);
  Model::Stepper fresh = model.start(2);
  fresh.memory = stepper.memory;
  model.refresh(stepper);
  CHECK(model.step(tokens, stepper) == model.step(tokens, fresh));
}
