#include "agent/evaluate.hpp"
#include "agent/learner.hpp"
#include "agent/rule.hpp"

#include "support/catch.hpp"

#include <cmath>

using namespace example::agent;

namespace {

constexpr fbt::Index lane_count = 5;

template <class F>
void with_learner(Rule rule, Task task, fbt::Index length, const LearnerOptions& options, F&& f) {
  const EnvironmentMaker make = environment_maker(task, length, Lengths::training);
  with_new_model(rule, {16, 2, 2, 4}, *make(), 3, [&](auto& model) {
    Lanes lanes(make, lane_count, 4);
    LearnerOptions own = options;
    own.remembers = rule != Rule::none;
    Learner learner(model, lanes, own);
    f(model, lanes, learner);
  });
}

}  // namespace

TEST_CASE("agent: acting and learning see the same outputs, from update to update") {
  for (const auto& [name, rule] : fbt::Names<Rule>::list) {
    CAPTURE(name);
    with_learner(rule, Task::t_maze, 6, {.segment = 11}, [&](auto&, Lanes& lanes, auto& learner) {
      for (int n = 0; n < 6; ++n) {
        learner.act();
        const fbt::Matrix<float> acted = learner.acted();
        const fbt::Matrix<float>& read = learner.read();
        CHECK(read.cols() == acted.cols() + lane_count);
        CHECK((read.leftCols(acted.cols()) - acted).cwiseAbs().maxCoeff() < 1e-5f);
        learner.update(1e-2, 0.01);
      }
      CHECK(lanes.take_ended().size() > 5);  // so that lanes have begun anew within segments
    });
  }
}

TEST_CASE("agent: the advantages of a segment, by hand") {
  // one lane, 4 steps; an episode ends with step 1
  const Experience e{{0, 0, 0, 0}, {1, 2, 4, 8}, {0, 1, 0, 0}};
  const auto found = advantages(e, {10, 20, 30, 40, 50}, 1, {.discount = 0.5, .trace = 0.25});
  const double last = 8 + 0.5 * 50 - 40, third = 4 + 0.5 * 40 - 30 + 0.125 * last, second = 2 - 20;
  REQUIRE(found.size() == 4);
  CHECK(found[3] == Approx(last));
  CHECK(found[2] == Approx(third));
  CHECK(found[1] == Approx(second));
  CHECK(found[0] == Approx(1 + 0.5 * 20 - 10 + 0.125 * second));
}

TEST_CASE("agent: the gradient of the loss is that of finite differences") {
  constexpr fbt::Index rows = 4, lanes = 2, columns = 3 * lanes;  // 2 steps, and what comes after
  fbt::Random random(1);
  fbt::Matrix<float> outputs(rows, columns);
  fbt::fill_uniform(outputs, 1, random);
  const Experience e{{0, 1, 2, 1}, {1, -1, 0.5, 2}, {0, 1, 0, 0}};
  const ActorCriticOptions options{.discount = 0.9, .trace = 0.8, .value = 0.7};
  constexpr double entropy_weight = 0.3;
  fbt::Matrix<float> gradient;
  const ActorCriticLoss loss = actor_critic(outputs, e, lanes, options, entropy_weight, gradient);

  std::vector<double> values(columns);
  for (fbt::Index i = 0; i < columns; ++i) values[static_cast<std::size_t>(i)] = static_cast<double>(outputs(3, i));
  const auto advantage = advantages(e, values, lanes, options);  // constants, as are the targets of the values
  const auto total = [&](const fbt::Matrix<double>& at) {
    double sum = 0;
    for (fbt::Index i = 0; i < 4; ++i) {
      const auto n = static_cast<std::size_t>(i);
      const fbt::Vector<double> p = at.col(i).head(3).array().exp() / at.col(i).head(3).array().exp().sum();
      const double entropy = -(p.array() * p.array().log()).sum(), target = advantage[n] + values[n];
      sum += -advantage[n] * std::log(p(e.actions[n])) - entropy_weight * entropy +
             0.5 * options.value * std::pow(at(3, i) - target, 2);
    }
    return sum / 4;
  };
  double square = 0;
  for (const double a : advantage) square += a * a / 4;
  CHECK(loss.value == Approx(square));
  fbt::Matrix<double> at = outputs.cast<double>();
  for (fbt::Index i = 0; i < outputs.size(); ++i) {
    const double h = 1e-5, middle = at(i);
    at(i) = middle + h;
    const double above = total(at);
    at(i) = middle - h;
    const double slope = (above - total(at)) / (2 * h);
    at(i) = middle;
    CHECK(static_cast<double>(gradient(i)) == Approx(slope).margin(1e-6));
  }
}

TEST_CASE("agent: actions are drawn as often as they are probable") {
  fbt::Random random(2);
  fbt::Vector<float> logits(3);
  logits << std::log(1.0f), std::log(2.0f), std::log(5.0f);
  std::array<int, 3> counts{};
  for (int n = 0; n < 8000; ++n) ++counts[static_cast<std::size_t>(draw_action(logits, random))];
  CHECK(counts[0] == Approx(1000).margin(150));
  CHECK(counts[1] == Approx(2000).margin(200));
  CHECK(best_action(logits) == 2);
}

TEST_CASE("agent: episodes are the same however many lanes there are") {
  const auto episodes = [](fbt::Index count) {
    Lanes lanes(environment_maker(Task::t_maze, 9, Lengths::even), count, 5);
    std::vector<Episode> ended;
    while (ended.size() < 60) {
      for (fbt::Index b = 0; b < count; ++b) lanes.act(b, lanes.random(b).below(3));
      for (const Episode& episode : lanes.take_ended()) ended.push_back(episode);
    }
    std::ranges::sort(ended, {}, &Episode::number);
    ended.resize(30);  // the first, which have all ended
    return ended;
  };
  const auto one = episodes(1), seven = episodes(7);
  for (std::size_t i = 0; i < one.size(); ++i) {
    CHECK(one[i].number == seven[i].number);
    CHECK(one[i].steps == seven[i].steps);
    CHECK(one[i].reward == seven[i].reward);
    CHECK(one[i].succeeded == seven[i].succeeded);
  }
}

TEST_CASE("agent: learns a short T-maze; without a memory it stays at chance") {
  for (const Rule rule : {Rule::feedback, Rule::none}) {
    with_learner(rule, Task::t_maze, 4, {.segment = 16}, [&](auto& model, Lanes&, auto& learner) {
      for (int n = 0; n < 300; ++n) learner.update(5e-3, 0.01);
      const Results results =
          evaluate(model, environment_maker(Task::t_maze, 4, Lengths::even), 400, 6, rule != Rule::none, Choice::best);
      CHECK(results.episodes == 400);
      if (rule == Rule::feedback) CHECK(results.success > 0.99);
      if (rule == Rule::none) CHECK(results.success == Approx(0.5).margin(0.08));
    });
  }
}
