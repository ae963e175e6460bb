// Lesson: easier examples of a task, which come before those of the full length.
#pragma once

#include "tasks/recipe.hpp"
#include "tasks/task.hpp"

#include "fbt/core/random.hpp"

#include <functional>
#include <vector>

namespace example {

struct Lesson {
  fbt::Index length = 0;  ///< in the units of Recipe::length, of the longest example
  std::function<Example(fbt::Random&)> draw_one;
  double until = 1;  ///< the share of the training at which it ends, if it does not before
};

/// Examples of the full length.
inline Lesson full_lesson(Task task, const Recipe& r) {
  const fbt::Index shortest = is_string(task) ? 1 : r.length;
  return {r.length, [=, longest = r.length](fbt::Random& random) { return draw_between(task, shortest, longest, random); }};
}

/// What comes before them. Mostly shorter ones, each twice as long as those before. Of s5: two different permutations, and
/// twice as many each time. Of programs: which of two variables was asked for, which a model discovers only in such
/// programs, whatever else it could learn from others; then short programs with more kinds of statements from lesson to
/// lesson, and longer ones. In short ones every second statement or so is a print, so that an error is seen soon after the
/// statement that was executed wrongly; in longer ones there are fewer.
inline std::vector<Lesson> lessons(Task task, const Recipe& r) {
  std::vector<Lesson> result;
  if (is_algorithmic(task)) {
    const auto add = [&](fbt::Index length, double until, const algorithmic::Kinds& kinds) {
      if (length < r.length)
        result.push_back({length,
                          [=](fbt::Random& random) {
                            const fbt::Index statements = 1 + random.below(length);
                            return algorithmic::draw(variables(task), statements, random, kinds);
                          },
                          until * r.curriculum});
    };
    if (r.length > 3)
      result.push_back(
          {3, [=](fbt::Random& random) { return algorithmic::draw_recall(variables(task), random); }, 0.08 * r.curriculum});
    add(r.first_length, 0.16, {2, 0, 0, 0, 3});
    add(r.first_length, 0.33, {1, 1, 1, 0, 4});
    add(r.first_length, 0.65, {1, 1, 1, 1, 4});
    add(2 * r.first_length, 0.8, {1, 1, 1, 1, 3});
    add(4 * r.first_length, 1, {1, 1, 1, 1, 2});
  } else if (task == Task::s5) {
    fbt::Index kinds = 2;
    for (const double until : {0.05, 0.15, 0.3, 0.5, 0.75, 1.0}) {
      result.push_back({r.length, [=, length = r.length](fbt::Random& random) { return s5::draw(kinds, length, random); },
                        until * r.curriculum});
      kinds *= 2;
    }
  } else {
    for (fbt::Index length = r.first_length; length < r.length; length *= 2) {
      Recipe shorter = r;
      shorter.length = length;
      result.push_back(full_lesson(task, shorter));
      result.back().until = r.curriculum;
    }
  }
  return result;
}

}  // namespace example
