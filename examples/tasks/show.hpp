// `show`: examples of a task to read, and what a model answers to them.
#pragma once

#include "support/attention_map.hpp"
#include "support/attention_page.hpp"
#include "support/path_flag.hpp"
#include "tasks/example_file.hpp"
#include "tasks/predict.hpp"
#include "tasks/recipe.hpp"
#include "tasks/rule.hpp"
#include "tasks/task.hpp"

#include <CLI/CLI.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace example {

struct TaskShowFlags {
  Task task = Task::random_walk;
  std::string model, attention, official;
  Shown shown;
  fbt::Index count = 3, length = 0;
  std::uint64_t seed = 7;
};

inline void add_show_flags(CLI::App& command, TaskShowFlags& flags) {
  add_flag(command, "task", flags.task, "whose examples")->required()->default_str("");
  add_path_flag(command, "model", flags.model,
                "model file that train wrote, to show its answers; none: only the right ones");
  add_path_flag(
      command, "attention", flags.attention,
      "picture to write, or a page with a name that ends with .html: what the model looks at while it reads the first "
      "example, or the first 200 tokens of it");
  add_flag(command, "layer", flags.shown.layer, "with --attention: only this layer, counted from 1; 0: all");
  add_flag(command, "head", flags.shown.head, "with --attention: only this head, counted from 1; 0: all");
  add_path_flag(
      command, "official", flags.official,
      "file to write the examples to instead, of any task, in the format of the paper's generator: a line each; what is "
      "to be answered goes to FILE.labels");
  add_flag(command, "count", flags.count, "number of examples");
  add_flag(command, "length", flags.length,
           "letters, actions, statements, tokens or pairs of an example; 0: as long as the longest test by default");
  add_flag(command, "seed", flags.seed, "for the examples");
}

/// A step, or statement, per line with the right answer; strings in one line. A model's answer stands beside it, and a
/// remark where it is wrong. answers: none, or one per token.
inline std::string describe(Task task, const Example& example, const std::vector<fbt::Token>& answers) {
  const Words names = words(task);
  const auto name = [&](fbt::Token token) { return names[static_cast<std::size_t>(token)]; };
  std::string text, line, right, answer;
  for (std::size_t t = 0; t < example.tokens.size(); ++t) {
    line += (line.empty() ? "" : " ") + name(example.tokens[t]);
    const bool scored = example.labels[t] != unscored;
    if (is_string(task)) {
      if (scored) right += ' ' + name(example.labels[t]);
      if (scored && !answers.empty()) answer += ' ' + name(answers[t]);
      continue;
    }
    if (is_algorithmic(task) && example.tokens[t] != algorithmic::stop && example.tokens[t] != algorithmic::end) continue;
    text += scored ? fmt::format("{:<24} {:>4}", line, name(example.labels[t])) : line;
    if (scored && !answers.empty())
      text += fmt::format("   model {:>4}{}", name(answers[t]), answers[t] == example.labels[t] ? "" : "   wrong");
    text += '\n';
    line.clear();
  }
  if (is_string(task)) {
    text = line.substr(0, line.find('>') + 1) + right + '\n';
    if (!answers.empty())
      text += fmt::format("{:>{}}{}{}\n", "model", line.find('>') + 1, answer, answer == right ? "" : "   wrong");
  }
  return text;
}

namespace detail {

inline void draw_attention(const TaskShowFlags& flags, const Example& example,
                           const fbt::FeedbackTransformer<float>& model) {
  const fbt::Tokens tokens = fbt::Tokens(example.tokens).first(std::min(example.tokens.size(), AttentionMap::most_tokens));
  std::vector<std::string> names;
  for (const fbt::Token token : tokens) names.push_back(words(flags.task)[static_cast<std::size_t>(token)]);
  const AttentionMap map(model, tokens, names, flags.shown);
  fbt::write_atomically(flags.attention, {attention_file(map, flags.attention)});
}
inline void draw_attention(const TaskShowFlags& flags, const Example&, const fbt::LstmModel<float>&) {
  fbt::check(false, "--attention {}: expected a model with layers of attention, found an LSTM", flags.attention);
}

}  // namespace detail

/// command: which flags were given.
inline void show(const TaskShowFlags& flags, const CLI::App& command) {
  const fbt::Index most = flags.official.empty() ? 1000 : largest_count;
  fbt::check(flags.count >= 1 && flags.count <= most, "--count must be from 1 to {}, found {}", most, flags.count);
  if (!flags.official.empty()) refuse_flags(command, {"model", "attention"}, "with --official, which only writes examples");
  fbt::check(flags.attention.empty() || !flags.model.empty(), "--attention needs the --model that looks");
  if (flags.attention.empty()) refuse_flags(command, {"layer", "head"}, "without --attention");
  fbt::check(flags.length >= 0 && flags.length <= 100000, "--length must be from 0 to 100000, found {}", flags.length);
  const fbt::Index length = flags.length > 0 ? flags.length : recipe(flags.task).test_length;
  const std::vector<Example> examples = draw(flags.task, flags.count, length, length, flags.seed);
  if (!flags.official.empty()) return write_examples(flags.official, examples, words(flags.task));
  std::vector<std::vector<fbt::Token>> answers(examples.size());
  if (!flags.model.empty()) {
    with_model_file(flags.model, [&](const auto& model, const fbt::Metadata& metadata) {
      const auto task = metadata.find("task");
      fbt::ensure(task != metadata.end() && task->second == fbt::name_of(flags.task),
                  "{}: expected a model of the task {}, found one of {}", flags.model, fbt::name_of(flags.task),
                  task == metadata.end() ? "no task" : task->second);
      const auto vocabulary = static_cast<fbt::Index>(words(flags.task).size());
      fbt::ensure(model.config().vocabulary == vocabulary, "{}: expected a vocabulary of {}, found {}", flags.model,
                  vocabulary, model.config().vocabulary);
      answers = predict(model, examples, 1);
      if (!flags.attention.empty()) detail::draw_attention(flags, examples[0], model);
    });
  }
  for (std::size_t i = 0; i < examples.size(); ++i) {
    fmt::print("{}{}", i > 0 && !is_string(flags.task) ? "\n" : "", describe(flags.task, examples[i], answers[i]));
  }
  if (flags.model.empty()) return;
  const Accuracy accuracy = measure(examples, answers);
  fmt::print("\n{} of {} answers are right\n", accuracy.right, accuracy.labels);
}

}  // namespace example
