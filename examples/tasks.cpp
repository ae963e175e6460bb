// The tasks of the paper, state tracking and recall: learn one of them, and look at its examples.
#include "support/completion.hpp"
#include "support/processes.hpp"
#include "support/program.hpp"
#include "support/stopwatch.hpp"
#include "tasks/show.hpp"
#include "tasks/train.hpp"

#include <CLI/CLI.hpp>

int main(int argc, char** argv) {
  example::Processes processes(argc, argv);
  const example::Stopwatch clock;
  CLI::App app{"The tasks of the paper, state tracking and recall, for the Feedback Transformer and for what came before."};
  example::prepare(app);
  app.require_subcommand(1);

  int code = 0;
  example::TaskTrainFlags train;
  auto* const train_command = app.add_subcommand("train", "learn a task");
  add_task_train_flags(*train_command, train);
  train_command->callback([&] { code = example::train(train, *train_command, clock, processes); });

  example::TaskShowFlags show;
  auto* const show_command = app.add_subcommand("show", "look at examples of a task");
  add_show_flags(*show_command, show);
  show_command->callback([&] { example::show(show, *show_command); });

  example::add_completion(app, "tasks");

  return example::run(
      app, argc, argv, [&] { return code; }, [&](auto&& all) { return processes.run(all); });
}
