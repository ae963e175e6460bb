// A language model on text: train, evaluate, generate, show.
#include "language_model/evaluate.hpp"
#include "language_model/generate.hpp"
#include "language_model/show.hpp"
#include "language_model/train.hpp"
#include "stopwatch.hpp"

#include "fbt/version.hpp"

#include <CLI/CLI.hpp>

#include <exception>
#include <new>

int main(int argc, char** argv) {
  const example::Stopwatch clock;
  CLI::App app{"A Feedback Transformer that learns, predicts and writes text, and shows what it looks at."};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.require_subcommand(1);

  example::TrainFlags train;
  auto* const train_command = app.add_subcommand("train", "learn a text");
  add_train_flags(*train_command, train);
  train_command->callback([&] { example::train(train, *train_command, clock); });

  example::EvaluateFlags evaluate;
  auto* const evaluate_command = app.add_subcommand("evaluate", "measure how well a model predicts a text");
  add_evaluate_flags(*evaluate_command, evaluate);
  evaluate_command->callback([&] { example::evaluate(evaluate); });

  example::GenerateFlags generate;
  auto* const generate_command = app.add_subcommand("generate", "continue a text");
  add_generate_flags(*generate_command, generate);
  generate_command->callback([&] { example::generate(generate); });

  example::ShowFlags show;
  auto* const show_command = app.add_subcommand("show", "draw what a model looks at while it reads a text");
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
