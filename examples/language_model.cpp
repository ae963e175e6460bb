// A language model on text: train, evaluate, generate, show, convert.
#include "language_model/evaluate.hpp"
#include "language_model/generate.hpp"
#include "language_model/show.hpp"
#include "language_model/train.hpp"
#include "support/completion.hpp"
#include "support/convert.hpp"
#include "support/processes.hpp"
#include "support/program.hpp"

#include <CLI/CLI.hpp>

#include <utility>

int main(int argc, char** argv) {
  example::Processes processes(argc, argv);
  CLI::App app{"A Feedback Transformer that learns, predicts and writes text, and shows what it looks at."};
  example::prepare(app);
  app.require_subcommand(1);

  int code = 0;
  example::TrainFlags train;
  auto* const train_command = app.add_subcommand("train", "learn a text");
  add_train_flags(*train_command, train);
  train_command->callback([&] { code = example::train(train, *train_command, processes); });

  example::EvaluateFlags evaluate;
  auto* const evaluate_command = app.add_subcommand("evaluate", "measure how well a model predicts a text");
  add_evaluate_flags(*evaluate_command, evaluate);
  evaluate_command->callback([&] { example::evaluate(evaluate, *evaluate_command); });

  example::GenerateFlags generate;
  auto* const generate_command = app.add_subcommand("generate", "continue a text");
  add_generate_flags(*generate_command, generate);
  generate_command->callback([&] { example::generate(generate, *generate_command); });

  example::ShowFlags show;
  auto* const show_command = app.add_subcommand("show", "draw what a model looks at while it reads a text");
  add_show_flags(*show_command, show);
  show_command->callback([&] { example::show(show); });

  example::ConvertFlags convert;
  auto* const convert_command = app.add_subcommand("convert", "write a model with weights of 16, 8 or 4 bits");
  example::add_model_flags(*convert_command, convert.model);
  add_convert_flags(*convert_command, convert);
  convert_command->callback([&] {
    auto [model, vocabulary] = example::load_text_model(convert.model);
    const bool numbers = vocabulary.kind() == fbt::TokenKind::number;  // which no file keeps
    example::convert(std::move(model), numbers ? fbt::Metadata{} : vocabulary.metadata(), convert);
  });

  example::add_completion(app, "language_model");

  return example::run(
      app, argc, argv, [&] { return code; }, [&](auto&& all) { return processes.run(all); });
}
