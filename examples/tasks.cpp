// The tasks of the paper: learn one of them, and look at its examples.
#include "stopwatch.hpp"
#include "tasks/show.hpp"
#include "tasks/train.hpp"

#include <CLI/CLI.hpp>

#include <exception>
#include <new>

int main(int argc, char** argv) {
  const example::Stopwatch clock;
  CLI::App app{"The tasks of the paper, for the Feedback Transformer and for what came before."};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.require_subcommand(1);

  example::TaskTrainFlags train;
  auto* const train_command = app.add_subcommand("train", "learn a task");
  add_task_train_flags(*train_command, train);
  train_command->callback([&] { example::train(train, *train_command, clock); });

  example::TaskShowFlags show;
  auto* const show_command = app.add_subcommand("show", "look at examples of a task");
  add_show_flags(*show_command, show);
  show_command->callback([&] { example::show(show); });

  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "error: {}\nsee {} --help\n", error.what(), argv[0]);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "error: not enough memory\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
  }
  return 1;
}
