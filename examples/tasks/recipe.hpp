// Recipe: all that decides a training besides the rule, with a default for every task.
#pragma once

#include "support/flags.hpp"
#include "support/stored_flags.hpp"
#include "tasks/task.hpp"

#include "fbt/core/check.hpp"
#include "fbt/models/config.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <string>

namespace example {

struct Recipe {
  fbt::Index length = 100, test_length = 100;
  fbt::Index examples = 10000, tests = 1000;
  fbt::Index width = 64, layers = 2, heads = 4, window = 100, span_ramp = 0;
  fbt::PositionTerm position = fbt::PositionTerm::relative_key;
  double mimetic = 0, dropout = 0;
  fbt::Index segment = 64, lanes = 16, warmup = 100;
  double learning_rate = 3e-3, clip = 1;
  double fresh = 0, curriculum = 0.8, advance = 0.3;
  fbt::Index first_length = 6;
  double seconds = 300;
};

/// Calls f(name, field, help) for every field of one or more recipes.
template <class F, class... Same>
void visit_recipe(F&& f, Same&... recipes) {
  f("length",
    "longest training string in letters, from 1 up; actions of a walk; statements of a program; tokens of parity, modular_5 "
    "and s5; pairs of flip_flop and recall",
    recipes.length...);
  f("test-length",
    "longest test string in letters, from length + 1 up; actions; statements; tokens or pairs, where the length and twice, "
    "four times ... the length are tested, too",
    recipes.test_length...);
  f("examples", "training examples of the full length; read again when all have been", recipes.examples...);
  f("tests", "test examples, of each kind", recipes.tests...);
  f("width", "size of a layer's output", recipes.width...);
  f("layers", "number of layers", recipes.layers...);
  f("heads", "attention heads per layer", recipes.heads...);
  f("window", "how many past tokens a token sees", recipes.window...);
  f("span-ramp",
    "all but the LSTMs see one token less than this at first, and learn to see up to the window; 0, or not below the "
    "window: always the window",
    recipes.span_ramp...);
  f("position",
    "what tells attention how far back a token is; none: nothing does, so that longer examples hold nothing that is new to "
    "it",
    recipes.position...);
  f("mimetic", "strength of the initialization by which attention begins with tokens like the present one; 0: none",
    recipes.mimetic...);
  f("dropout", "rate, at least 0 and below 1", recipes.dropout...);
  f("segment", "tokens of a lane between two updates, for programs; else those of the longest example", recipes.segment...);
  f("lanes", "examples, or streams of programs, that are read side by side", recipes.lanes...);
  f("learning-rate", "peak of the schedule", recipes.learning_rate...);
  f("warmup", "updates until the learning rate is at its peak", recipes.warmup...);
  f("clip", "largest norm of the gradient; 0: no limit", recipes.clip...);
  f("fresh", "share of the training, from its start, in which segments of programs begin with an empty memory",
    recipes.fresh...);
  f("curriculum", "largest share of the training, from its start, with easier examples; 0: none", recipes.curriculum...);
  f("first-length", "length of the first examples of the curriculum", recipes.first_length...);
  f("advance", "loss in nats at which the curriculum goes on", recipes.advance...);
  f("seconds", "end after so many seconds, tests included; 0: no limit", recipes.seconds...);
}

inline Recipe recipe(Task task) {
  Recipe r;
  if (is_string(task)) {
    r.length = 20;
    r.test_length = 40;
    r.examples = 200000;
    r.layers = 4;
    r.position = fbt::PositionTerm::none;
    r.mimetic = 3;
    r.curriculum = 0;
  } else if (task == Task::random_walk) {
    r.examples = 50000;
    r.first_length = 25;
  } else if (has_test_lengths(task)) {
    r.length = task == Task::recall ? 8 : 32;
    r.test_length = task == Task::recall ? 16 : 8 * r.length;
    r.examples = 50000;
    r.window = task == Task::recall ? 128 : 8;
    r.first_length = task == Task::recall ? 2 : 4;
    r.lanes = 32;
    if (task == Task::s5) {  // 120 permutations in 120 states
      r.width = 128;
      r.lanes = 64;
      r.learning_rate = 0.002;
      r.examples = 100000;
      r.seconds = 900;
    }
  } else {
    r.lanes = 32;
    r.span_ramp = 12;
    r.learning_rate = 0.0015;
    r.mimetic = 3;
    r.first_length = 12;
    r.curriculum = 0.6;
    r.advance = 0.15;
  }
  return r;
}

/// Adds a flag for every field. Those that are not given take the task's default.
inline void add_recipe_flags(CLI::App& command, Recipe& given) {
  visit_recipe(
      [&](const char* name, const char* help, auto& value) { add_flag(command, name, value, help)->default_str("by task"); },
      given);
  std::string table = "Defaults by task:";
  for (const auto& [name, task] : fbt::Names<Task>::list) {
    table += fmt::format("\n  {}:", name);
    const Recipe defaults = recipe(task);
    visit_recipe([&](const char* flag, const char*,
                     const auto& value) { table += fmt::format(" --{} {}", flag, stored_value(value)); },
                 defaults);
  }
  command.footer(
      table +
      "\nWhen the loss stands still: --mimetic 3, so that attention begins with earlier tokens like the present one, and a\n"
      "curriculum of short examples first (--curriculum, --first-length).");
}

constexpr fbt::Index largest_count = 1'000'000;  // of anything in a recipe

/// Throws std::invalid_argument when a flag is out of range; what the model and the trainer check themselves is left to them.
inline void check_recipe(Task task, const Recipe& r) {
  const auto within = [](const char* name, fbt::Index value, fbt::Index least) {
    fbt::check(value >= least && value <= largest_count, "--{} must be from {} to {}, found {}", name, least, largest_count,
               value);
  };
  within("length", r.length, 1);
  within("test-length", r.test_length, is_string(task) ? r.length + 1 : has_test_lengths(task) ? r.length : 1);
  if (task == Task::flip_flop)
    fbt::check(r.length >= 2, "--length of flip_flop must be at least 2, where one is written and one is read, found {}",
               r.length);
  if (task == Task::recall)
    fbt::check(r.test_length <= recall::keys, "--test-length of recall must be at most {}, the number of keys, found {}",
               recall::keys, r.test_length);
  within("examples", r.examples, 1);
  within("first-length", r.first_length, task == Task::flip_flop ? 2 : 1);
  within("tests", r.tests, 1);
  within("lanes", r.lanes, 1);
  fbt::check(r.curriculum >= 0 && r.curriculum <= 1, "--curriculum must be from 0 to 1, found {}", r.curriculum);
  fbt::check(r.advance >= 0, "--advance must be at least 0, found {}", r.advance);
  fbt::check(r.mimetic >= 0 && r.mimetic <= 100, "--mimetic must be from 0 to 100, found {}", r.mimetic);
  fbt::check(r.seconds >= 0 && r.seconds < 1e9, "--seconds must be from 0 to 1e9, found {}", r.seconds);
}

/// The task's recipe with the flags that were given. Throws as check_recipe().
inline Recipe choose_recipe(Task task, const Recipe& given, const CLI::App& command) {
  Recipe result = recipe(task);
  visit_recipe(
      [&](const char* name, const char*, auto& value, const auto& wanted) {
        if (command.count(fmt::format("--{}", name)) > 0) value = wanted;
      },
      result, given);
  if (command.count("--test-length") == 0) {
    if (is_string(task)) result.test_length = std::max(result.test_length, 2 * std::min(result.length, largest_count / 2));
    if (tracks_state(task)) result.test_length = 8 * std::min(result.length, largest_count / 8);
    if (task == Task::recall)
      result.test_length = std::max(result.length, std::min(2 * std::min(result.length, largest_count / 2), recall::keys));
  }
  check_recipe(task, result);
  return result;
}

}  // namespace example
