// From one text to another: translations, or summaries. prepare, train, evaluate, write, show, convert.
#include "support/completion.hpp"
#include "support/convert.hpp"
#include "support/processes.hpp"
#include "support/program.hpp"
#include "translate/evaluate.hpp"
#include "translate/prepare.hpp"
#include "translate/show.hpp"
#include "translate/train.hpp"
#include "translate/write.hpp"

#include <CLI/CLI.hpp>

#include <utility>

int main(int argc, char** argv) {
  example::Processes processes(argc, argv);
  CLI::App app{"An encoder and a feedback decoder that learn to translate, or to sum up."};
  example::prepare(app);
  app.require_subcommand(1);

  int code = 0;
  example::PrepareFlags prepare;
  auto* const prepare_command = app.add_subcommand("prepare", "make a corpus of the descriptions of Debian's packages");
  add_prepare_flags(*prepare_command, prepare);
  prepare_command->callback([&] { example::prepare(prepare); });

  example::PairTrainFlags train;
  auto* const train_command = app.add_subcommand("train", "learn a corpus");
  add_pair_train_flags(*train_command, train);
  train_command->callback([&] { code = example::train(train, *train_command, processes); });

  example::PairEvaluateFlags evaluate;
  auto* const evaluate_command = app.add_subcommand("evaluate", "write the targets of a corpus, and measure them");
  add_pair_evaluate_flags(*evaluate_command, evaluate);
  evaluate_command->callback([&] { example::evaluate(evaluate, *evaluate_command); });

  example::WriteFlags write;
  auto* const write_command = app.add_subcommand("write", "write the targets of texts");
  add_write_flags(*write_command, write);
  write_command->callback([&] { example::write(write, *write_command); });

  example::PairShowFlags show;
  auto* const show_command = app.add_subcommand("show", "draw what of a source a model looks at while it writes");
  add_pair_show_flags(*show_command, show);
  show_command->callback([&] { example::show(show, *show_command); });

  example::ConvertFlags convert;
  auto* const convert_command = app.add_subcommand("convert", "write a model with weights of 16, 8 or 4 bits");
  example::add_model_flag(*convert_command, convert.model);
  add_convert_flags(*convert_command, convert);
  convert_command->callback([&] {
    auto [model, vocabulary, task, source_limit] = example::load_translator(convert.model);
    example::convert(std::move(model), example::translator_metadata(vocabulary, task, source_limit), convert);
  });

  example::add_completion(app, "translate");

  return example::run(
      app, argc, argv, [&] { return code; }, [&](auto&& all) { return processes.run(all); });
}
