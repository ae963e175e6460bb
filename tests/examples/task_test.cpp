#include "tasks/task.hpp"

#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "tasks/lesson.hpp"
#include "tasks/predict.hpp"

#include <algorithm>
#include <set>

using namespace example;

TEST_CASE("tasks: examples are within the vocabulary, of the lengths wanted, and drawn from the seed") {
  for (const auto& [name, task] : fbt::Names<Task>::list) {
    INFO(name);
    const auto size = static_cast<fbt::Token>(words(task).size());
    const auto examples = draw(task, 50, 3, 6, 1);
    REQUIRE(examples.size() == 50);
    std::set<std::size_t> lengths;
    for (const Example& example : examples) {
      REQUIRE(example.labels.size() == example.tokens.size());
      lengths.insert(example.tokens.size());
      for (const fbt::Token token : example.tokens) REQUIRE((token >= 0 && token < size));
      for (const fbt::Token label : example.labels) REQUIRE((label >= unscored && label < size));
    }
    if (!is_algorithmic(task)) CHECK(lengths.size() == 4);
    CHECK(draw(task, 50, 3, 6, 1).back().tokens == examples.back().tokens);
    CHECK(draw(task, 50, 3, 6, 2).back().tokens != examples.back().tokens);
  }
  const Words names = words(Task::reverse);
  CHECK(draw(Task::reverse, 1, 5, 5, 1)[0].tokens[0] == draw(Task::reverse, 1, 5, 5, 1)[0].labels[9]);
}

TEST_CASE("tasks: examples end to end, filled up to the segment") {
  const std::vector<Example> examples{{{1, 2, 3}, {-1, 2, 3}}, {{4}, {5}}};
  CHECK(join(examples, 0).tokens == std::vector<fbt::Token>{1, 2, 3, 4});
  CHECK(join(examples, 0).labels == std::vector<fbt::Token>{-1, 2, 3, 5});
  CHECK(join(examples, 4).tokens == std::vector<fbt::Token>{1, 2, 3, 3, 4, 4, 4, 4});
  CHECK(join(examples, 4).labels == std::vector<fbt::Token>{-1, 2, 3, -1, 5, -1, -1, -1});
  CHECK(group(Task::copy, examples).size() == 2);
  const std::vector<Example> programs(23, examples[0]);
  const auto groups = group(Task::algorithmic_3, programs);
  REQUIRE(groups.size() == 3);
  CHECK(groups[0].tokens.size() == 30);
  CHECK(groups[2].labels.size() == 9);
}

TEST_CASE("tasks: answers are those of a single run of every example, with any number of threads") {
  fbt::Config config;
  config.vocabulary = static_cast<fbt::Index>(words(Task::copy).size());
  config.width = 8;
  config.layers = config.heads = 2;
  config.window = 6;
  fbt::Random random(1);
  const fbt::FeedbackTransformer<float> model(config, random);
  const auto examples = draw(Task::copy, 70, 1, 9, 1);
  const auto answers = predict(model, examples, 1);
  CHECK(predict(model, examples, 3) == answers);
  for (std::size_t i = 0; i < examples.size(); ++i) {
    REQUIRE(answers[i].size() == examples[i].tokens.size());
    auto stepper = model.start(1);
    for (std::size_t t = 0; t < examples[i].tokens.size(); ++t) {
      fbt::Index best;
      model.step({&examples[i].tokens[t], 1}, stepper).col(0).maxCoeff(&best);
      REQUIRE(answers[i][t] == best);
    }
  }
}

TEST_CASE("tasks: accuracy counts what is scored") {
  const std::vector<Example> examples{{{1, 2, 3}, {-1, 2, 3}}, {{4, 4}, {5, -1}}, {{6}, {7}}};
  const Accuracy accuracy = measure(examples, {{9, 2, 3}, {5, 9}, {6}});
  CHECK(accuracy.labels == 4);
  CHECK(accuracy.right == 3);
  CHECK(accuracy.of_labels() == 0.75);
  CHECK(accuracy.examples == 3);
  CHECK(accuracy.all_right == 2);
  CHECK(accuracy.of_examples() == Approx(2.0 / 3));
}

TEST_CASE("tasks: lessons become longer up to the full length, and end within the curriculum") {
  for (const auto& [name, task] : fbt::Names<Task>::list) {
    INFO(name);
    const Recipe r = recipe(task);
    const auto list = lessons(task, r);
    CHECK(list.empty() == (is_string(task) && r.first_length >= r.length));
    fbt::Index length = 0;
    double until = 0;
    for (const Lesson& lesson : list) {
      CHECK(lesson.length >= length);
      CHECK(lesson.length < r.length + (task == Task::s5));  // of fewer permutations, not of shorter examples
      CHECK(lesson.until >= until);
      CHECK(lesson.until <= r.curriculum);
      length = lesson.length;
      until = lesson.until;
    }
    CHECK(full_lesson(task, r).until == 1);
  }
  Recipe one = recipe(Task::algorithmic_3);
  one.length = 3;
  CHECK(lessons(Task::algorithmic_3, one).empty());
  one.length = 4;
  CHECK(lessons(Task::algorithmic_3, one).size() == 1);
  one.curriculum = 0;
  for (const Lesson& lesson : lessons(Task::algorithmic_3, one)) CHECK(lesson.until == 0);
}

TEST_CASE("tasks: lessons of programs have more kinds of statements from one to the next") {
  const Task task = Task::algorithmic_3;
  const Recipe r = recipe(task);
  std::vector<Lesson> list = lessons(task, r);
  list.push_back(full_lesson(task, r));
  const std::vector<std::vector<fbt::Token>> kinds{{},
                                                   {},
                                                   {algorithmic::increment, algorithmic::decrement},
                                                   {algorithmic::increment, algorithmic::decrement, algorithmic::if_}};
  REQUIRE(list.size() == 7);
  for (std::size_t i = 0; i < list.size(); ++i) {
    INFO("lesson " << i);
    const Example all = join(draw_many(200, 1, list[i].draw_one), 0);
    std::vector<fbt::Token> found;
    for (const fbt::Token kind : kinds.back())
      if (std::count(all.tokens.begin(), all.tokens.end(), kind) > 0) found.push_back(kind);
    CHECK(found == kinds[std::min<std::size_t>(i, 3)]);
    const auto program = [&](std::uint64_t seed) { return draw_many(1, seed, list[i].draw_one)[0]; };
    CHECK(program(1).tokens == program(1).tokens);
    fbt::Index longest = 0;
    for (std::uint64_t seed = 0; seed < 2000; ++seed) {
      const auto tokens = program(seed).tokens;
      longest = std::max(longest, static_cast<fbt::Index>(std::count(tokens.begin(), tokens.end(), algorithmic::stop)));
    }
    CHECK(longest == list[i].length);
  }
}
