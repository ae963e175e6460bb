#include "support/budget.hpp"

#include "support/catch.hpp"

using example::Budget;
using example::Stopwatch;

TEST_CASE("a budget of updates counts nothing but updates") {
  const Stopwatch clock;
  Budget budget({7, 0}, 1000, clock, 0);
  budget.spent_on_update(100);
  budget.spent_on_evaluation(100);
  CHECK(budget.progress(0) == 0);
  CHECK(budget.progress(3) == 3.0 / 7);
  CHECK(budget.progress(7) == 1);
  CHECK(budget.progress(8) == 1);
  CHECK(budget.seconds_left(4) == 300);
}

TEST_CASE("a budget of seconds leaves time for a last evaluation and save") {
  const Stopwatch clock;
  Budget budget({0, 2000}, 1000, clock, 0);  // the second half of a training
  CHECK(budget.progress(0) == Approx(0.5).margin(0.01));
  CHECK(budget.seconds_left(0) == Approx(1000).margin(1));
  CHECK(budget.longest_evaluation() == 200);

  budget.expect_evaluation(300, 10);  // ten updates' worth
  budget.spent_on_update(30);
  CHECK(budget.evaluation_seconds() == 300);  // which is more than it should take
  CHECK(budget.progress(1) == Approx(1000 / (2000 - 1.5 * 200 - 30)).margin(0.01));
  budget.spent_on_evaluation(60);
  budget.spent_on_save(20);
  CHECK(budget.progress(1) == Approx(1000 / (2000 - 1.5 * 80 - 30)).margin(0.01));
  budget.spent_on_save(900);
  CHECK(budget.progress(1) == 1);
}

TEST_CASE("the nearer of two limits counts") {
  const Stopwatch clock;
  CHECK(Budget({10, 1000}, 200, clock, 0).progress(9) == 0.9);
  CHECK(Budget({10, 1000}, 950, clock, 0).progress(9) == Approx(0.95).margin(0.01));
}

TEST_CASE("evaluations come as asked for, else about five times, and always at the end") {
  const Stopwatch clock;
  const auto count = [&](Budget budget, std::int64_t updates) {
    int evaluations = 0;
    for (std::int64_t n = 1; n <= updates; ++n) evaluations += budget.evaluation_due(n, budget.progress(n));
    return evaluations;
  };
  CHECK(count(Budget({100, 0}, 0, clock, 0), 100) == 5);
  CHECK(count(Budget({3, 0}, 0, clock, 0), 3) == 3);
  CHECK(count(Budget({100, 0}, 0, clock, 30), 100) == 4);

  Budget timed({0, 1000}, 100, clock, 0);
  CHECK_FALSE(timed.evaluation_due(1, 0.1));
  CHECK(timed.evaluation_due(1, 1));
  CHECK(Budget({0, 1000}, 0, clock, 7).evaluation_due(14, 0));
}
