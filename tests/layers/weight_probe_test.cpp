#include "fbt/layers/weight_probe.hpp"

#include "fbt/layers/linear.hpp"
#include "fbt/layers/position.hpp"
#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <limits>
#include <utility>
#include <vector>

using namespace fbt;

TEMPLATE_TEST_CASE("WeightProbe: tells whether a matrix is the one that was taken", "", float, double, long double) {
  Random random(1);
  for (const auto& [rows, columns] : std::vector<std::pair<Index, Index>>{{1, 1}, {3, 5}, {48, 2}, {49, 7}, {130, 33}}) {
    Matrix<TestType> w(rows, columns), other(rows + 1, columns), wider(rows, columns + 1);
    for (auto* m : {&w, &other, &wider}) fill_normal(*m, 1, random);
    INFO(rows << " x " << columns);
    WeightProbe<TestType> probe;
    CHECK_FALSE(probe.matches(w));
    probe.take(w);
    CHECK(probe.matches(w));
    CHECK(probe.matches(Matrix<TestType>(w)));  // it looks at the numbers, not at where they are
    CHECK_FALSE(probe.matches(other));
    CHECK_FALSE(probe.matches(wider));
    for (const auto& [i, k] :
         {std::pair(Index{0}, Index{0}), std::pair(rows / 2, columns / 2), std::pair(rows - 1, columns - 1)}) {
      const TestType before = std::exchange(w(i, k), w(i, k) + 1);
      CHECK_FALSE(probe.matches(w));
      w(i, k) = std::numeric_limits<TestType>::quiet_NaN();
      CHECK_FALSE(probe.matches(w));
      w(i, k) = before;
    }
    CHECK(probe.matches(w));
    w(0, 0) = std::numeric_limits<TestType>::quiet_NaN();
    probe.take(w);
    CHECK(probe.matches(w));  // what is not a number is still what was taken
  }
}

TEST_CASE("WeightProbe: empty weights, and the message") {
  WeightProbe<double> probe;
  const Matrix<double> none(0, 3);
  probe.take(none);
  CHECK(probe.matches(none));
  CHECK_FALSE(probe.matches(Matrix<double>(0, 2)));
  Matrix<double> w = Matrix<double>::Ones(2, 3);
  probe.take(w);
  CHECK_NOTHROW(probe.check_same(w, "weights"));
  w *= 2;
  CHECK(message_of<std::invalid_argument>([&] { probe.check_same(w, "weights"); }) ==
        "the weights (2, 3) have changed since the Trace was prepared: call prepare() again, or a model's start()");
}

TEST_CASE("WeightProbe: a Position notices that its table has changed") {
  Random random(1);
  const Index lanes = GENERATE(1, 3), heads = 2, head_size = 3, window = 4;
  const PositionTerm term = GENERATE(PositionTerm::relative_key, PositionTerm::per_head);
  Position<double> position(term, head_size, heads, window, random);
  scatter(position, random);
  Position<double>::Trace trace;
  const Segment segment{1, heads * lanes, true, 0};
  Matrix<double> q(head_size, heads * lanes), s(window, heads * lanes);
  fill_normal(q, 1, random);
  position.prepare(trace, segment, window);
  position.forward(q, trace, 0, s);
  position.weight *= 2;
  CHECK_THAT(message_of<std::invalid_argument>([&] { position.forward(q, trace, 0, s); }),
             ContainsSubstring("have changed since the Trace was prepared: call prepare() again, or a model's start()"));
  position.prepare(trace, segment, window);
  CHECK_NOTHROW(position.forward(q, trace, 0, s));
}

TEST_CASE("WeightProbe: a stepper refuses a model that was changed, whichever weights they are, and one lane as many") {
  const Index lanes = GENERATE(1, 2);
  Config config;
  config.vocabulary = 5;
  config.width = 4;
  config.layers = 2;
  config.heads = 2;
  config.window = 3;
  config.position = GENERATE(PositionTerm::relative_key, PositionTerm::per_head);
  Random random(1);
  FeedbackTransformer<double> model(config, random);
  const std::vector<Token> tokens(static_cast<std::size_t>(lanes), 1);
  Index weights = 0;
  visit(
      [&](std::string_view name, auto& tensor) {
        if (std::remove_cvref_t<decltype(tensor)>::ColsAtCompileTime == 1 || name.starts_with("embedding")) return;
        auto stepper = model.start(lanes);
        model.step(tokens, stepper);
        model.step(tokens, stepper);  // from now on all weights are used
        const auto memory = stepper.memory;
        const auto before = tensor;
        tensor *= 1.01;
        INFO(name);
        CHECK_THAT(message_of<std::invalid_argument>([&] { model.step(tokens, stepper); }),
                   ContainsSubstring("have changed since the Trace was prepared"));
        CHECK(stepper.memory.end == memory.end);  // nothing is remembered of the step
        tensor = before;
        CHECK_NOTHROW(model.step(tokens, stepper));  // and nothing was moved by the call that was refused
        ++weights;
      },
      model);
  CHECK(weights >= 12);
}

TEST_CASE("WeightProbe: a stepper beside another packs nothing again, and packs what has changed") {
  Config config;
  config.vocabulary = 5;
  config.width = 4;
  config.layers = config.heads = 2;
  config.window = 3;
  Random random(1);
  FeedbackTransformer<double> model(config, random);
  const auto two = model.start(2), more = model.start(3, two);
  const auto packed = [](const auto& stepper) { return &*stepper.trace.core.blocks[0].attention.query.forward; };
  CHECK(packed(more) == packed(two));
  scatter(model, random);
  auto beside = model.start(2, two), fresh = model.start(2);
  CHECK(packed(beside) != packed(two));
  const std::vector<Token> tokens{1, 3};
  for (int n = 0; n < 3; ++n) CHECK(model.step(tokens, beside) == model.step(tokens, fresh));
}

TEST_CASE("WeightProbe: nor is what was packed for the way back, after a segment without one") {
  Random random(1);
  Segment without{1, 2, false, 0}, with{1, 2, true, 0}, again{1, 2, true, 0};
  again.keep_packed = true;
  Linear<double> layer(3, 2, random);
  Linear<double>::Trace trace;
  layer.prepare(trace, with);
  layer.weight *= 2;
  layer.prepare(trace, without);
  layer.prepare(trace, again);
  const Matrix<double> x = Matrix<double>::Ones(3, 2), dy = Matrix<double>::Ones(2, 2);
  Matrix<double> y(2, 2), dx(3, 2);
  layer.forward(x, trace, 0, y);
  layer.backward(dy, trace, 0, dx);
  CHECK(difference(dx, layer.weight.transpose() * dy) < 1e-14);

  Position<double> position(PositionTerm::relative_key, 3, 1, 4, random);
  scatter(position, random);
  Position<double>::Trace own;
  position.prepare(own, with);
  position.weight *= 2;
  position.prepare(own, without);
  position.prepare(own, again);
  const Matrix<double> dscores = Matrix<double>::Ones(4, 2);
  Matrix<double> scores(4, 2);
  position.forward(x, own, 0, scores);
  position.backward(dscores, own, 0, dx);
  CHECK(difference(dx, position.weight.transpose() * dscores) < 1e-14);
}

TEST_CASE("WeightProbe: what was packed of changed weights is not taken up again after a single lane") {
  Random random(1);
  Linear<double> layer(3, 2, random);
  Linear<double>::Trace trace;
  layer.prepare(trace, {1, 2, false, 0});
  layer.weight *= 2;
  Segment one{1, 1, false, 0}, two{1, 2, false, 0};
  one.keep_packed = two.keep_packed = true;
  layer.prepare(trace, one);
  layer.prepare(trace, two);
  const Matrix<double> x = Matrix<double>::Ones(3, 2);
  Matrix<double> y(2, 2);
  layer.forward(x, trace, 0, y);
  CHECK(difference(y, layer.weight * x) < 1e-14);
}
