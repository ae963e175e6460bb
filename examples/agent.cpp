// Agents that have to remember: learn a task, evaluate, and look at what an agent does.
#include "agent/evaluate.hpp"
#include "agent/show.hpp"
#include "agent/train.hpp"
#include "support/completion.hpp"
#include "support/program.hpp"
#include "support/stopwatch.hpp"

#include <CLI/CLI.hpp>

namespace agent = example::agent;

int main(int argc, char** argv) {
  const example::Stopwatch clock;
  CLI::App app{"Agents with the memory of the Feedback Transformer, and with others, in tasks that need one."};
  example::prepare(app);
  app.require_subcommand(1);

  int code = 0;
  agent::TrainFlags train;
  auto* const train_command = app.add_subcommand("train", "learn a task");
  add_train_flags(*train_command, train);
  train_command->callback([&] { code = agent::train(train, *train_command, clock); });

  agent::EvaluateFlags evaluate;
  auto* const evaluate_command = app.add_subcommand("evaluate", "act in fresh episodes");
  add_evaluate_flags(*evaluate_command, evaluate);
  evaluate_command->callback([&] { agent::evaluate(evaluate, *evaluate_command); });

  agent::ShowFlags show;
  auto* const show_command = app.add_subcommand("show", "watch an agent");
  add_show_flags(*show_command, show);
  show_command->callback([&] { agent::show(show, *show_command); });

  example::add_completion(app, "agent");

  return example::run(app, argc, argv, [&] { return code; });
}
