// Lanes that begin and end alone, in every model: steppers and segments.
#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

#include "fbt/testing/gradient_check.hpp"

#include <map>
#include <utility>

using namespace fbt;

namespace {

constexpr Index vocabulary = 5;

template <class Scalar>
FeedbackTransformer<Scalar> make_transformer(MemoryRule rule, Random& random, EmptyMemory empty = EmptyMemory::skip) {
  Config c{.vocabulary = vocabulary, .width = 8, .layers = 2, .heads = 2, .feed_forward = 6, .window = 4};
  c.activation = Activation::gelu;
  c.memory_rule = rule;
  c.share_key_value = !c.remembers_per_layer();
  c.empty_memory = empty;
  return FeedbackTransformer<Scalar>(c, random);
}

template <class Scalar>
LstmModel<Scalar> make_lstm(bool attention, Random& random) {
  return LstmModel<Scalar>({.vocabulary = vocabulary, .width = 8, .attention = attention, .heads = 2, .window = 4}, random);
}

/// Calls f(name, model) for a model of each kind, with parameters away from their starting values.
template <class Scalar, class F>
void for_each_model(F&& f) {
  Random random(1);
  const auto scattered = [&](auto model) {
    visit(
        [&](std::string_view, auto& tensor) {
          for (Index i = 0; i < tensor.size(); ++i) flat(tensor)(i) += static_cast<Scalar>(0.3 * random.normal());
        },
        model);
    return model;
  };
  for (const MemoryRuleInfo& rule : memory_rules)
    f(std::string(rule.name), scattered(make_transformer<Scalar>(rule.rule, random)));
  f(std::string("lstm"), scattered(make_lstm<Scalar>(false, random)));
  f(std::string("lstm with attention"), scattered(make_lstm<Scalar>(true, random)));
}

/// One step of all lanes; the outputs.
template <class Model>
Matrix<typename Model::Scalar> step(const Model& model, const std::vector<Token>& tokens, typename Model::Stepper& stepper) {
  return model.step(tokens, stepper);
}

}  // namespace

TEST_CASE("lanes: a lane that begins anew gives the numbers of a fresh state, bit for bit") {
  const Index lanes = GENERATE(1, 2, 3);
  for_each_model<float>([&](const std::string& name, const auto& model) {
    INFO(name);
    Random random(2);
    auto used = model.start(lanes), fresh = model.start(lanes);
    for (int t = 0; t < 11; ++t) step(model, random_tokens(lanes, vocabulary, random), used);
    const Index lane = lanes / 2;
    used.memory.clear(lane);
    for (int t = 0; t < 11; ++t) {
      std::vector<Token> tokens = random_tokens(lanes, vocabulary, random);
      const auto a = step(model, tokens, used);
      for (Index b = 0; b < lanes; ++b)  // whatever the others read
        if (b != lane) tokens[static_cast<std::size_t>(b)] = static_cast<Token>(random.below(vocabulary));
      REQUIRE(a.col(lane) == step(model, tokens, fresh).col(lane));
    }
  });
}

TEST_CASE("lanes: the others do not notice that one begins anew") {
  for_each_model<float>([](const std::string& name, const auto& model) {
    INFO(name);
    Random random(2);
    auto cleared = model.start(3), plain = model.start(3);
    for (int t = 0; t < 20; ++t) {
      const std::vector<Token> tokens = random_tokens(3, vocabulary, random);
      if (t % 5 == 4) cleared.memory.clear(1);
      const auto a = step(model, tokens, cleared), b = step(model, tokens, plain);
      REQUIRE(a.col(0) == b.col(0));
      REQUIRE(a.col(2) == b.col(2));
      if (t % 5 == 4) CHECK(a.col(1) != b.col(1));
    }
  });
}

TEST_CASE("lanes: a lane is taken out and put into another state, and goes on as if nothing had happened") {
  const int before = GENERATE(0, 2, 13), there = GENERATE(0, 1, 9);
  for_each_model<float>([&](const std::string& name, const auto& model) {
    INFO(name);
    Random random(2);
    auto from = model.start(3), to = model.start(2);
    for (int t = 0; t < before; ++t) step(model, random_tokens(3, vocabulary, random), from);
    for (int t = 0; t < there; ++t) step(model, random_tokens(2, vocabulary, random), to);
    auto undisturbed = to;
    to.memory.put(1, from.memory.take(2));
    for (int t = 0; t < 10; ++t) {
      const Token token = static_cast<Token>(t % vocabulary);
      const auto stays = step(model, {0, 1, token}, from), moved = step(model, {3, token}, to);
      REQUIRE(stays.col(2) == moved.col(1));
      REQUIRE(moved.col(0) == step(model, {3, 0}, undisturbed).col(0));
    }
  });
}

TEST_CASE("lanes: some are selected, in any order, one in several places, and each goes on as if nothing had happened") {
  const std::vector<Index> from =
      GENERATE(values<std::vector<Index>>({{0, 1, 2}, {2, 0, 1}, {1, 2}, {2, 0}, {0, 0}, {1, 0, 2, 2, 1}}));
  const int before = GENERATE(0, 2, 13);
  for_each_model<float>([&](const std::string& name, const auto& model) {
    INFO(name);
    Random random(2);
    auto all = model.start(3);
    for (int t = 0; t < before; ++t) {
      if (t == 1) all.memory.clear(1);
      step(model, random_tokens(3, vocabulary, random), all);
    }
    auto some = all;
    model.select_lanes(from, some);
    REQUIRE(some.memory.lanes() == static_cast<Index>(from.size()));
    for (int t = 0; t < 10; ++t) {
      const std::vector<Token> tokens = random_tokens(3, vocabulary, random);
      std::vector<Token> selected;
      for (const Index lane : from) selected.push_back(tokens[static_cast<std::size_t>(lane)]);
      const auto expected = step(model, tokens, all), found = step(model, selected, some);
      for (std::size_t b = 0; b < from.size(); ++b) REQUIRE(found.col(static_cast<Index>(b)) == expected.col(from[b]));
    }
  });
}

TEST_CASE("lanes: what does not fit is refused, and nothing changes") {
  Random random(1);
  const auto model = make_transformer<float>(MemoryRule::feedback, random);
  auto stepper = model.start(2);
  step(model, {1, 2}, stepper);
  CHECK_THROWS_WITH(stepper.memory.put(0, stepper.memory), "put: expected the memory of a single lane, found 2 lanes");
  const auto other = make_transformer<float>(MemoryRule::recurrent, random);
  CHECK_THROWS_WITH(stepper.memory.put(0, other.make_memory(1)), ContainsSubstring("expected a memory of the same config"));
  CHECK_THROWS_WITH(stepper.memory.clear(2), "memory: expected a lane below 2, found 2");
  CHECK_THROWS_WITH(stepper.memory.put(-1, model.make_memory(1)), "memory: expected a lane below 2, found -1");
  CHECK_THROWS_WITH(stepper.memory.take(2), "memory: expected a lane below 2, found 2");
  CHECK_THROWS_WITH(model.select_lanes(std::vector<Index>{1, 2}, stepper), "memory: expected a lane below 2, found 2");
  CHECK_THROWS_WITH(model.select_lanes({}, stepper), "select: expected at least 1 lane, found none");
  CHECK_THROWS_WITH(other.select_lanes(std::vector<Index>{1}, stepper),
                    "select_lanes: the stepper was made by a model of another config; use start()");
  auto same = model.start(2);
  step(model, {1, 2}, same);
  CHECK(step(model, {3, 4}, stepper) == step(model, {3, 4}, same));
  auto lstm = make_lstm<float>(true, random);
  auto cells = lstm.make_memory(2);
  CHECK_THROWS_WITH(cells.clear(2), "memory: expected a lane below 2, found 2");
  CHECK_THROWS_WITH(cells.take(2), "memory: expected a lane below 2, found 2");
  CHECK_THROWS_WITH(cells.select(std::vector<Index>{1, -1}), "memory: expected a lane below 2, found -1");
  CHECK_THROWS_WITH(cells.select({}), "select: expected at least 1 lane, found none");
  CHECK_THROWS_WITH(cells.put(2, cells.take(0)), "memory: expected a lane below 2, found 2");
  CHECK_THROWS_WITH(cells.put(0, cells), "put: expected the memory of a single lane, found 2 lanes");
  CHECK_THROWS_WITH(cells.put(0, make_lstm<float>(false, random).make_memory(1)),
                    "put: expected a memory of the same config");
}

TEST_CASE("lanes: zero slots belong to all lanes together") {
  Random random(1);
  const auto model = make_transformer<double>(MemoryRule::feedback, random, EmptyMemory::zero_slots);
  auto stepper = model.start(2);
  step(model, {1, 2}, stepper);
  stepper.memory.clear(1);
  CHECK_THROWS_WITH(step(model, {1, 2}, stepper),
                    "a lane cannot begin anew alone with empty_memory zero_slots: all lanes share the zero slots");
  stepper.memory.clear();
  CHECK_NOTHROW(step(model, {1, 2}, stepper));
  auto memory = model.make_memory(2);
  typename FeedbackTransformer<double>::Trace trace;
  const std::vector<std::uint8_t> starts(4, 0);
  CHECK_THROWS_WITH(model.forward(std::vector<Token>{0, 1, 2, 3}, {.steps = 2, .lanes = 2, .starts = starts}, memory, trace),
                    "a segment with starts needs empty_memory skip: with zero_slots all lanes share the zero slots");
}

TEST_CASE("lanes: a segment with starts is its parts, each read alone: outputs and gradients") {
  for_each_model<double>([](const std::string& name, const auto& model) {
    INFO(name);
    using Model = std::remove_cvref_t<decltype(model)>;
    Random random(3);
    constexpr Index lanes = 3, steps = 9;
    const std::vector<Token> tokens = random_tokens(lanes * steps, vocabulary, random);
    const Matrix<double> weights = random_matrix(vocabulary, lanes * steps, random);
    std::vector<std::uint8_t> starts(static_cast<std::size_t>(lanes * steps), 0);
    const std::vector<std::vector<Index>> begins{{0, 4}, {0}, {0, 1, 2, 7}};  // of every lane
    for (std::size_t b = 0; b < begins.size(); ++b)
      for (const Index t : begins[b]) starts[static_cast<std::size_t>(t * lanes) + b] = t > 0;

    auto memory = model.make_memory(lanes);
    typename Model::Trace trace;
    const Matrix<double> outputs =
        model.forward(tokens, {.steps = steps, .lanes = lanes, .train = true, .starts = starts}, memory, trace);
    Model grad = zeros_like(model), sum = grad;
    model.backward(weights, memory, trace, grad);

    for (std::size_t b = 0; b < begins.size(); ++b) {
      for (std::size_t i = 0; i < begins[b].size(); ++i) {
        const Index first = begins[b][i], end = i + 1 < begins[b].size() ? begins[b][i + 1] : steps;
        const auto columns = Eigen::seqN(first * lanes + static_cast<Index>(b), end - first, lanes);
        std::vector<Token> part;
        for (Index t = first; t < end; ++t) part.push_back(tokens[static_cast<std::size_t>(t * lanes) + b]);
        auto alone = model.make_memory(1);
        typename Model::Trace alone_trace;
        const Matrix<double> expected = model.forward(part, {end - first, 1, true, 0}, alone, alone_trace);
        CHECK(difference(outputs(Eigen::all, columns), expected) < 1e-12);
        model.backward(Matrix<double>(weights(Eigen::all, columns)), alone, alone_trace, sum);
      }
    }
    visit(
        [](std::string_view tensor, const auto& a, const auto& b) {
          INFO(tensor);
          CHECK(difference(a, b) < 1e-11);
        },
        grad, sum);

    // the memory goes on from the last start of every lane
    auto segment_end = model.start(lanes);
    segment_end.memory = std::move(memory);
    auto stepped = model.start(lanes);
    for (Index t = 0; t < steps; ++t) {
      for (Index b = 0; b < lanes; ++b)
        if (starts[static_cast<std::size_t>(t * lanes + b)]) stepped.memory.clear(b);
      model.step(step_columns(Tokens(tokens), t, lanes), stepped);
    }
    for (const auto& next : {std::vector<Token>{0, 1, 2}, {4, 3, 3}, {1, 1, 0}})
      CHECK(difference(step(model, next, segment_end), step(model, next, stepped)) < 1e-11);
  });
}

TEST_CASE("lanes: a segment with starts after a carried one has the gradient of its own steps") {
  for_each_model<double>([](const std::string& name, const auto& model) {
    INFO(name);
    using Model = std::remove_cvref_t<decltype(model)>;
    Random random(3);
    const std::vector<Token> carried = random_tokens(2 * 3, vocabulary, random),
                             tokens = random_tokens(2 * 5, vocabulary, random);
    const Matrix<double> weights = random_matrix(vocabulary, 10, random);
    std::vector<std::uint8_t> starts(10, 0);
    starts[2 * 2 + 1] = 1;
    Model at = model;
    auto memory = model.make_memory(2);
    typename Model::Trace trace;
    model.forward(carried, {3, 2, false, 0}, memory, trace);
    const auto kept = memory;
    const Segment segment{.steps = 5, .lanes = 2, .train = true, .starts = starts};
    const auto loss = [&] {
      memory = kept;
      return at.forward(tokens, segment, memory, trace).cwiseProduct(weights).sum();
    };
    loss();
    Model grad = zeros_like(model);
    at.backward(weights, memory, trace, grad);
    GradientReport report;
    compare_parameters(report, loss, at, grad);
    INFO(report.where);
    CHECK(report.worst < 1e-7);
  });
}

TEST_CASE("lanes: starts of another size are refused") {
  for_each_model<double>([](const std::string& name, const auto& model) {
    INFO(name);
    auto memory = model.make_memory(2);
    typename std::remove_cvref_t<decltype(model)>::Trace trace;
    const std::vector<std::uint8_t> starts(3, 0);
    CHECK_THROWS_WITH(
        model.forward(std::vector<Token>{0, 1, 2, 3}, {.steps = 2, .lanes = 2, .starts = starts}, memory, trace),
        "expected 4 starts (2 steps of 2 lanes), found 3");
  });
}

TEST_CASE("lanes: what a checkpoint keeps of lanes that began at different steps") {
  for_each_model<double>([](const std::string& name, const auto& model) {
    INFO(name);
    Random random(2);
    auto stepper = model.start(3);
    for (int t = 0; t < 7; ++t) {
      if (t == 5) stepper.memory.clear(1);
      step(model, random_tokens(3, vocabulary, random), stepper);
    }
    struct Saved {
      std::map<std::string, Matrix<double>, std::less<>> all;
      bool has(const std::string& key) const { return all.contains(key); }
      Index slots(const std::string& key, Index) const { return all.at(key).rows(); }
      Matrix<double> matrix(const std::string& key, Index, Index) const { return all.at(key); }
    } saved;
    stepper.memory.save([&](std::string_view key, const auto& matrix) { saved.all.emplace(key, matrix); });
    auto loaded = model.start(3);
    loaded.memory.load(saved);
    for (int t = 0; t < 6; ++t) {
      const std::vector<Token> tokens = random_tokens(3, vocabulary, random);
      REQUIRE(step(model, tokens, loaded) == step(model, tokens, stepper));
    }
  });
}

TEST_CASE("lanes: steppers of one model share its packed weights") {
  Random random(1);
  auto model = make_transformer<float>(MemoryRule::feedback, random);
  auto first = model.start(2);
  auto second = model.start(3, first);
  const auto packed = [](const auto& stepper) { return &*stepper.trace.core.blocks[0].attention.query.forward; };
  CHECK(packed(first) == packed(second));
  CHECK(&*first.trace.head.linear.forward == &*second.trace.head.linear.forward);
  CHECK(packed(first) != packed(model.start(2)));
  auto alone = model.start(3);
  for (int t = 0; t < 6; ++t) {
    const std::vector<Token> tokens = random_tokens(3, vocabulary, random);
    CHECK(step(model, tokens, second) == step(model, tokens, alone));
    step(model, {0, 1}, first);
  }
  // and of lanes that are selected
  const auto* const before = packed(second);
  auto fewer = second;
  model.select_lanes(std::vector<Index>{2, 0}, fewer);
  CHECK(packed(fewer) == before);
  step(model, {0, 1}, fewer);
  CHECK(packed(fewer) == before);
  // after a change of the weights the old ones are not passed on, and do not change beneath those who hold them
  model.core.blocks[0].attention.query.weight *= 2;
  auto third = model.start(2, first);
  CHECK(packed(third) != packed(first));
  CHECK_NOTHROW(step(model, {0, 1}, third));
  CHECK_THROWS_WITH(step(model, {0, 1}, first), ContainsSubstring("have changed since the Trace was prepared"));
  model.select_lanes(std::vector<Index>{1, 0}, first);
  CHECK(packed(first) != packed(second));
  CHECK_NOTHROW(step(model, {0, 1}, first));
}

TEST_CASE("lanes: from many to one and back, with weights of any format") {
  Random random(1);
  const auto model = make_transformer<float>(MemoryRule::feedback, random);
  const WeightFormat weights = GENERATE(WeightFormat::full, WeightFormat::int8, WeightFormat::int4);
  auto all = model.start(3, {2, weights});
  for (int t = 0; t < 5; ++t) step(model, {1, 2, static_cast<Token>(t % vocabulary)}, all);
  CHECK(model.attention(1, all).cols() == 3 * 2);
  auto some = all;
  model.select_lanes(std::vector<Index>{2}, some);
  CHECK(model.attention(1, some).rows() == 0);  // nothing was looked at yet
  Matrix<float> expected = step(model, {0, 1, 3}, all), found = step(model, {3}, some);
  CHECK((found.col(0) - expected.col(2)).cwiseAbs().maxCoeff() < 1e-5f);
  model.select_lanes(std::vector<Index>{0, 0}, some);
  expected = step(model, {0, 1, 4}, all);
  found = step(model, {4, 2}, some);
  CHECK((found.col(0) - expected.col(2)).cwiseAbs().maxCoeff() < 1e-5f);
  CHECK(found.col(1) != found.col(0));
  CHECK(some.trace.core.segment.weights == weights);
}

TEST_CASE("lanes: changed weights are noticed with one lane as with many, and nothing is remembered of the step") {
  const Index lanes = GENERATE(1, 2);
  for_each_model<double>([&](const std::string& name, auto model) {
    INFO(name);
    const std::vector<Token> tokens(static_cast<std::size_t>(lanes), 1);
    visit(
        [&](std::string_view, auto& tensor) {
          if (tensor.cols() < 2 || &tensor(0, 0) == &model.input.embedding.weight(0, 0)) return;
          auto stepper = model.start(lanes), untouched = stepper;
          step(model, tokens, stepper);
          step(model, tokens, untouched);
          const auto kept = tensor;
          tensor.array() += 1;
          CHECK_THROWS_WITH(step(model, tokens, stepper), ContainsSubstring("have changed since the Trace was prepared"));
          tensor = kept;
          CHECK(difference(step(model, tokens, stepper), step(model, tokens, untouched)) < 1e-12);
        },
        model);
  });
}
