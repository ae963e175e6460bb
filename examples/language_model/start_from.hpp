// `train --start-from`: a model that another training goes on with, under another memory rule or with another vocabulary.
#pragma once

#include "language_model/model_file.hpp"
#include "language_model/train_flags.hpp"
#include "support/text_file.hpp"

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/models/config.hpp"
#include "fbt/text/vocabulary.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace example {

/// The model to begin with, under the flags' memory rule; the flags take over the rest of its config, apart from dropout,
/// and what its tokens are unless they say otherwise. Throws std::invalid_argument when a flag that was given contradicts it.
inline TextModel read_start(TrainFlags& flags, const CLI::App& command) {
  TextModel start = load_text_model(flags.start_from);
  fbt::check(start.vocabulary.kind() != fbt::TokenKind::number,
             "--start-from {}: expected a model of text, found one without a vocabulary", flags.start_from);
  const fbt::WeightFormat weights = fbt::weights_of(start.model);
  fbt::check(weights == fbt::WeightFormat::full, "--start-from {}: expected a model of full weights, found weights of {}",
             flags.start_from, fbt::name_of(weights));
  if (const auto rule = start.model.config().memory_rule; rule != flags.config.memory_rule)
    fmt::print("the memory rule changes from {} to {}\n", fbt::name_of(rule), fbt::name_of(flags.config.memory_rule));
  start.model.core.set_memory_rule(flags.config.memory_rule, flags.config.memory_layer);
  TrainFlags begun = flags;
  if (command.count("--vocabulary") == 0) begun.vocabulary = VocabularyChoice::of(start.vocabulary);
  begun.config = start.model.config();
  fbt::check(begun.config.output_rows() == begun.config.vocabulary,
             "--start-from {}: expected a model whose outputs are its vocabulary of {}, found {} outputs", flags.start_from,
             begun.config.vocabulary, begun.config.output_rows());
  begun.config.outputs = 0;
  begun.config.dropout = flags.config.dropout;
  nlohmann::ordered_json known = write_flags(training_flags(begun));
  known.erase("start-from");
  merge_flags(training_flags(flags), known, command, flags.start_from + " was begun with", "do without --start-from");
  flags.config = begun.config;
  fbt::check_layout(flags.config, flags.layout);
  return start;
}

/// The vocabulary of a training that goes on from a model: the model's tokens in their order, then those that the texts have
/// beside them; or what another choice of tokens makes of the texts.
inline fbt::Vocabulary choose_vocabulary(const fbt::Vocabulary& old, const VocabularyChoice& choice,
                                         const std::vector<NamedText>& texts) {
  if (choice == VocabularyChoice::of(old) && old.kind() != fbt::TokenKind::character) return old;
  fbt::Vocabulary found = learn_vocabulary(choice, texts);
  if (choice == VocabularyChoice::of(old)) {
    std::string characters;
    for (fbt::Token token = 0; token < old.size(); ++token) characters += old.text(token);
    for (fbt::Token token = 0; token < found.size(); ++token)
      if (!old.contains(found.text(token))) characters += found.text(token);
    found = fbt::Vocabulary::read({{"vocabulary.kind", "character"}, {"vocabulary", characters}}, "the vocabulary");
  }
  if (choice != VocabularyChoice::of(old) || found.size() > old.size())
    fmt::print("the vocabulary changes from {} tokens ({}) to {} ({})\n", old.size(), VocabularyChoice::of(old).text(),
               found.size(), choice.text());
  return found;
}

/// The model under another config, with another vocabulary: a token of both, by its text, keeps its embedding and its row of
/// the head, others have those of a new model. Apart from the number of tokens the parameters have the same shapes under
/// both configs.
inline Model with_vocabulary(const TextModel& from, const fbt::Config& config, const fbt::Vocabulary& vocabulary,
                             fbt::Random& random) {
  Model model(config, random);
  const auto copy = [](std::string_view, auto& to, const auto& old) { to = old; };
  fbt::visit(copy, model.core, from.model.core);
  fbt::visit(copy, model.head.norm, from.model.head.norm);
  for (fbt::Token token = 0; token < vocabulary.size(); ++token) {
    const fbt::Token old = from.vocabulary.find(vocabulary.text(token));
    if (old < 0) continue;
    model.input.embedding.weight.row(token) = from.model.input.embedding.weight.row(old);
    model.head.linear.weight.row(token) = from.model.head.linear.weight.row(old);
    model.head.linear.bias(token) = from.model.head.linear.bias(old);
  }
  return model;
}

}  // namespace example
