#include "fbt/models/encoder_decoder.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "fbt/training/losses.hpp"
#include "support/catch.hpp"
#include "support/changed_file.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/small_models.hpp"

using namespace fbt;

namespace {

using Model = EncoderDecoder<double>;

EncoderDecoderConfig tiny_config() {
  EncoderDecoderConfig c;
  c.decoder = small_config();
  c.decoder.cross_attention = true;
  c.decoder.head_size = 3;
  c.decoder.norm_epsilon = 0.1;
  c.source_vocabulary = 7;
  c.reach = 2;
  return c;
}

/// With a source's keys and values shared or not, dropout or not, under the rules that walk step by step and layer by layer.
Model any_model(Random& random) {
  EncoderDecoderConfig c = tiny_config();
  c.share_source_key_value = GENERATE(true, false);
  c.decoder.dropout = GENERATE(0.0, 0.3);
  c.decoder.memory_rule = GENERATE(MemoryRule::feedback, MemoryRule::transformer);
  c.decoder.share_key_value = c.decoder.memory_rule == MemoryRule::feedback;
  Model model(c, random);
  scatter(model, random);
  return model;
}

/// Three sources of 4, 1 and 3 tokens side by side, and targets of 5 steps.
struct Batch {
  std::vector<Index> lengths{4, 1, 3};
  std::vector<Token> source, target;
  Segment segment{5, 3, true, 3};

  explicit Batch(Random& random) : source(random_tokens(4 * 3, 7, random)), target(random_tokens(5 * 3, 5, random)) {}
  SourceAndTarget values() const { return {{source, lengths}, target}; }
};

}  // namespace

TEST_CASE("EncoderDecoder: gradients, ragged sources included") {
  Random random(1);
  Model model = any_model(random);
  const Batch batch(random);
  const Matrix<double> weights = random_matrix(5, batch.segment.columns(), random);
  auto memory = model.make_memory(3);
  Model::Trace trace;
  const auto loss = [&] { return model.forward(batch.values(), batch.segment, memory, trace).cwiseProduct(weights).sum(); };
  loss();
  Model grad = zeros_like(model);
  model.backward(weights, memory, trace, grad);
  GradientReport report;
  compare_parameters(report, loss, model, grad);
  INFO(report.where);
  CHECK(report.compared == count_parameters(model));
  CHECK(report.worst < 1e-7);
}

TEST_CASE("EncoderDecoder: to the last bit the same when activations are computed twice instead of kept") {
  Random random(4);
  Model model = any_model(random);
  Batch batch(random);
  batch.segment.steps = 2 * delta_steps + 3;
  batch.target = random_tokens(batch.segment.columns(), 5, random);
  const Matrix<double> weights = random_matrix(5, batch.segment.columns(), random);
  std::vector<Model> gradients;
  std::vector<Matrix<double>> outputs;
  for (const bool recompute : {false, true}) {
    batch.segment.recompute = recompute;
    auto memory = model.make_memory(3);
    Model::Trace trace;
    outputs.push_back(model.forward(batch.values(), batch.segment, memory, trace));
    model.backward(weights, memory, trace, gradients.emplace_back(zeros_like(model)));
  }
  CHECK(outputs[0] == outputs[1]);
  visit(
      [](std::string_view name, const auto& kept, const auto& again) {
        INFO(name);
        CHECK(kept == again);
      },
      gradients[0], gradients[1]);
  CHECK(squared_norm(gradients[0]) > 1e-3);
}

TEST_CASE("EncoderDecoder: gradients do not depend on what the Trace was used for before, nor on padding") {
  Random random(8);
  Model model(tiny_config(), random);
  scatter(model, random);
  const Matrix<double> weights = random_matrix(5, 15, random);
  auto memory = model.make_memory(3);
  Model::Trace used;
  const auto gradient = [&](const Batch& batch, Model::Trace& trace) {
    model.forward(batch.values(), batch.segment, memory, trace);
    Model grad = zeros_like(model);
    model.backward(weights, memory, trace, grad);
    return grad;
  };
  Batch batch(random);
  gradient(batch, used);
  batch.lengths = {2, 1, 0};  // of 4 positions
  Model::Trace fresh;
  const Model expected = gradient(batch, fresh);
  CHECK(same(gradient(batch, used), expected));
  batch.source.resize(2 * 3);
  const Model shorter = gradient(batch, used);
  visit([](std::string_view, const auto& found, const auto& wanted) { CHECK(difference(found, wanted) < 1e-12); }, shorter,
        expected);
}

TEST_CASE("EncoderDecoder: a batch of sources of different lengths is the same as each alone") {
  Random random(2);
  EncoderDecoderConfig c = tiny_config();
  c.share_source_key_value = GENERATE(true, false);
  Model model(c, random);
  scatter(model, random);
  const Batch batch(random);
  auto memory = model.make_memory(3);
  Model::Trace trace;
  const Matrix<double> together = model.forward(batch.values(), batch.segment, memory, trace);
  std::vector<std::vector<Token>> sources;
  for (Index b = 0; b < 3; ++b) {
    std::vector<Token> source, target;
    for (Index t = 0; t < batch.lengths[static_cast<std::size_t>(b)]; ++t)
      source.push_back(batch.source[static_cast<std::size_t>(3 * t + b)]);
    for (Index t = 0; t < 5; ++t) target.push_back(batch.target[static_cast<std::size_t>(3 * t + b)]);
    auto single = model.make_memory(1);
    const std::vector<Index> length{static_cast<Index>(source.size())};
    const Matrix<double> alone = model.forward({{source, length}, target}, {5, 1, false, 0}, single, trace);
    CHECK(difference(together(Eigen::all, Eigen::seqN(b, 5, 3)), alone) < 1e-12);
    sources.push_back(source);
  }

  // step by step, two lanes of each source; then lanes that change places, and one that takes another source
  auto stepper = model.start(sources, 2);
  std::vector<Token> tokens(6);
  const auto read = [&](Index t) {
    for (std::size_t i = 0; i < 6; ++i) tokens[i] = batch.target[static_cast<std::size_t>(3 * t) + i / 2];
    return model.step(tokens, stepper);
  };
  for (Index t = 0; t < 5; ++t) {
    const Matrix<double> logits = read(t);
    for (Index i = 0; i < 6; ++i) CHECK(difference(logits.col(i), together.col(3 * t + i / 2)) < 1e-12);
  }
  stepper.memory.clear(1);
  stepper.memory.source.put(1, model.encode(sources[2]));
  for (std::size_t i = 0; i < 6; ++i) tokens[i] = batch.target[2];
  const Matrix<double> logits = model.step(tokens, stepper);
  CHECK(difference(logits.col(1), together.col(2)) < 1e-12);
  CHECK(difference(logits.col(0), together.col(2)) > 1e-3);
}

TEST_CASE("EncoderDecoder: a lane moves to another state with its source") {
  Random random(3);
  Model model(tiny_config(), random);
  scatter(model, random);
  const std::vector<std::vector<Token>> sources{{1, 2, 3}, {6}}, others{{4, 4, 4, 4}, {5, 5}};
  auto a = model.start(sources), b = model.start(others);
  model.step(std::vector<Token>{1, 2}, a);
  model.step(std::vector<Token>{3, 0}, b);
  model.step(std::vector<Token>{3, 0}, b);
  b.memory.put(1, a.memory.take(0));
  const Matrix<double> expected = model.step(std::vector<Token>{4, 4}, a), found = model.step(std::vector<Token>{0, 4}, b);
  CHECK(difference(found.col(1), expected.col(0)) < 1e-12);
}

TEST_CASE("EncoderDecoder: what lanes do not have in common, reorder() gives them") {
  Random random(4);
  Model model(tiny_config(), random);
  scatter(model, random);
  const std::vector<std::vector<Token>> one{{1, 2, 3}};
  auto a = model.start(one, 3), b = model.start(one, 3);
  for (const std::vector<Token>& tokens : {std::vector<Token>{0, 1, 2}, {3, 3, 1}, {4, 0, 0}, {1, 2, 2}})
    model.step(tokens, a);
  for (const std::vector<Token>& tokens : {std::vector<Token>{2, 0, 2}, {1, 3, 1}, {0, 4, 0}, {2, 1, 2}})
    model.step(tokens, b);
  a.memory.reorder(std::vector<Index>{2, 0, 2});
  CHECK(difference(model.step(std::vector<Token>{1, 1, 3}, a), model.step(std::vector<Token>{1, 1, 3}, b)) < 1e-12);
}

TEST_CASE("EncoderDecoder: lanes that are selected take their sources along") {
  Random random(4);
  Model model(tiny_config(), random);
  scatter(model, random);
  const std::vector<std::vector<Token>> sources{{1, 2, 3}, {4}, {2, 0, 1, 3}};
  auto all = model.start(sources);
  for (const std::vector<Token>& tokens : {std::vector<Token>{0, 1, 2}, {3, 3, 1}}) model.step(tokens, all);
  auto some = all;
  model.select_lanes(std::vector<Index>{2, 0}, some);
  CHECK_THROWS_AS(model.source_attention(0, some), std::invalid_argument);  // these have not read a token yet
  for (const std::vector<Token>& tokens : {std::vector<Token>{0, 1, 2}, {3, 3, 1}, {1, 0, 0}}) {
    const Matrix<double> expected = model.step(tokens, all),
                         found = model.step(std::vector<Token>{tokens[2], tokens[0]}, some);
    CHECK(difference(found.col(0), expected.col(2)) < 1e-12);
    CHECK(difference(found.col(1), expected.col(0)) < 1e-12);
  }
}

TEST_CASE("EncoderDecoder: many long sources, more than are encoded at once, are each as if alone") {
  Random random(6);
  Model model(tiny_config(), random);
  scatter(model, random);
  std::vector<std::vector<Token>> sources;
  for (const Index length : {30, 170, 1, 300, 90, 90, 90, 2, 129, 128, 255, 256, 257, 7})
    sources.push_back(random_tokens(length, model.config().source_tokens(), random));
  const Index copies = GENERATE(1, 2);
  auto all = model.start(sources, copies);
  REQUIRE(all.memory.lanes() == copies * static_cast<Index>(sources.size()));
  std::vector<Token> tokens(static_cast<std::size_t>(all.memory.lanes()), 1);
  model.step(tokens, all);
  const Matrix<double> found = model.step(tokens, all);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    INFO(sources[i].size());
    auto alone = model.start(std::vector<std::vector<Token>>{sources[i]}, 2);
    model.step(std::vector<Token>{1, 1}, alone);
    const Matrix<double> expected = model.step(std::vector<Token>{1, 1}, alone);
    for (Index copy = 0; copy < copies; ++copy)
      CHECK(difference(found.col(static_cast<Index>(i) * copies + copy), expected.col(0)) < 1e-12);
  }
}

TEST_CASE("EncoderDecoder: without a source the decoder is the model without cross attention") {
  Random random(5);
  Model model(tiny_config(), random);
  scatter(model, random);
  Config plain = model.config().decoder;
  plain.cross_attention = false;
  FeedbackTransformer<double> other(plain, random);
  visit(
      [&](std::string_view name, auto& tensor) {
        visit(
            [&](std::string_view same, const auto& from) {
              if constexpr (std::is_same_v<std::remove_cvref_t<decltype(tensor)>, std::remove_cvref_t<decltype(from)>>)
                if (name == same) tensor = from;
            },
            std::as_const(model.decoder));
      },
      other);
  const std::vector<Token> tokens = random_tokens(6, 5, random);
  auto memory = model.make_memory(1);
  Model::Decoder::Trace trace;
  auto plain_memory = other.make_memory(1);
  FeedbackTransformer<double>::Trace plain_trace;
  const Matrix<double> expected = other.forward(tokens, {6, 1, false, 0}, plain_memory, plain_trace);
  CHECK(model.decoder.forward(tokens, {6, 1, false, 0}, memory, trace) == expected);
}

TEST_CASE("EncoderDecoder: the number of parameters is known without building it") {
  Random random(6);
  EncoderDecoderConfig c = tiny_config();
  c.share_source_key_value = GENERATE(true, false);
  c.decoder.activation = GENERATE(Activation::relu, Activation::geglu);
  c.source_vocabulary = GENERATE(0, 7);
  CHECK(static_cast<double>(count_parameters(Model(c, random))) == c.parameters());
}

TEST_CASE("EncoderDecoder: what the decoder looked at of the sources") {
  Random random(9);
  EncoderDecoderConfig c = tiny_config();
  Model model(c, random);
  scatter(model, random);
  const std::vector<std::vector<Token>> sources{{1, 2, 3, 4}, {5}, {6, 0, 2}};
  auto all = model.start(sources);
  const auto message = [](auto&& f) { return message_of<std::invalid_argument>(f); };
  CHECK(message([&] { model.source_attention(0, all); }) ==
        "source_attention: expected a stepper of this model that has read a token");
  const Index heads = c.decoder.heads;
  for (int step = 0; step < 2; ++step) model.step(std::vector<Token>{1, 1, 1}, all);
  for (Index block = 0; block < c.decoder.layers; ++block) {
    const Matrix<double> weights = model.source_attention(block, all);
    REQUIRE(weights.rows() == 4);
    REQUIRE(weights.cols() == 3 * heads);
    for (Index lane = 0; lane < 3; ++lane) {
      auto one = model.start(std::span(sources).subspan(static_cast<std::size_t>(lane), 1));
      for (int step = 0; step < 2; ++step) model.step(std::vector<Token>{1}, one);
      const Matrix<double> expected = model.source_attention(block, one);
      const auto length = static_cast<Index>(sources[static_cast<std::size_t>(lane)].size());
      const Matrix<double> found = weights.middleCols(lane * heads, heads);
      REQUIRE(expected.rows() == length);
      CHECK(difference(found.bottomRows(length), expected) < 1e-12);
      CHECK(found.topRows(4 - length).cwiseAbs().sum() == 0);
      CHECK(difference(found.colwise().sum(), Matrix<double>::Ones(1, heads)) < 1e-12);
    }
  }
  const Matrix<double> before = model.source_attention(0, all);  // another source changes nothing of the last step
  all.memory.source.put(1, model.encode({1, 2, 3, 4, 5, 6}));
  CHECK(model.source_attention(0, all) == before);
  CHECK(message([&] { model.source_attention(c.decoder.layers, all); }) ==
        fmt::format("source_attention: expected a block below {0}, found {0}", c.decoder.layers));
}

TEST_CASE("EncoderDecoder: what does not fit is refused") {
  Random random(7);
  EncoderDecoderConfig c = tiny_config();
  const Model model(c, random);
  const auto message = [](auto&& f) { return message_of<std::invalid_argument>(f); };
  c.decoder.cross_attention = false;
  CHECK(message([&] { Model(c, random); }) == "config: the decoder needs cross_attention");
  c = tiny_config();
  c.decoder.pre_norm = false;
  CHECK(message([&] { Model(c, random); }) == "config: cross_attention needs pre_norm");
  c = tiny_config();
  c.encoder_layers = 0;
  CHECK(message([&] { Model(c, random); }) == "config: encoder_layers must be between 1 and 4096, found 0");
  c = tiny_config();
  c.decoder.outputs = c.decoder.vocabulary + 1;
  CHECK(message([&] { Model(c, random); }) == "config: the decoder writes tokens of its vocabulary of 5, found 6 outputs");
  c = tiny_config();
  c.decoder.span_ramp = 2;
  CHECK(message([&] { Model(c, random); }) == "config: the decoder of a source learns no spans, found span_ramp 2");
  CHECK(message([&] {
          model.start(std::vector<std::vector<Token>>{{1}, {}});
        }) == "start: expected sources of at least 1 token, found an empty one");
  CHECK(message([&] {
          model.start(std::vector<std::vector<Token>>{{1}, {7}});
        }) == "token 7 is outside the vocabulary: expected 0 to 6");
  auto memory = model.make_memory(2);
  Model::Trace trace;
  const std::vector<Token> source{1, 2, 3, 4}, target{1, 2};
  const std::vector<Index> long_lengths{2, 3}, lengths{2, 2}, one{2};
  CHECK(message([&] {
          model.forward({{source, long_lengths}, target}, {1, 2, true, 0}, memory, trace);
        }) == "expected lengths of sources from 0 to 2, found 3");
  CHECK(message([&] {
          model.forward({{source, one}, target}, {1, 2, true, 0}, memory, trace);
        }) == "expected the lengths of 2 sources, found 1");
  CHECK(message([&] {
          model.forward({{source, {}}, target}, {1, 0, true, 0}, memory, trace);
        }) == "expected sources side by side in 0 lanes, found 4 tokens");
  const Matrix<double> weights = Matrix<double>::Ones(5, 2);
  model.forward({{source, lengths}, target}, {1, 2, true, 0}, memory, trace);
  Model grad = zeros_like(model);
  c = tiny_config();
  c.encoder_layers = 1;
  Model other = zeros_like(Model(c, random));
  CHECK(message([&] { model.backward(weights, memory, trace, other); }) ==
        "backward: expected a gradient made by zeros_like(model), found one of another config");
  memory.source.put(1, model.encode({1, 2, 3}));
  CHECK(message([&] { model.backward(weights, memory, trace, grad); }) ==
        "backward: the memory has other sources than in forward()");
  CHECK(message([&] { memory.source.take(2); }) == "source: expected a lane below 2, found 2");
  auto without = model.decoder.make_memory(2);
  CHECK(message([&] {
          model.forward({{source, lengths}, target}, {1, 2, true, 0}, without, trace);
        }) == "the memory has sources for 0 lanes, expected 2; use make_memory()");
  auto stepper = model.decoder.start(2);
  CHECK(message([&] { model.step(target, stepper); }) ==
        "a decoder needs a memory with a source of 2 lanes, made by a model of the same config, found 0 lanes");
}
