// `evaluate`: how well a model predicts a text.
#pragma once

#include "language_model/model_file.hpp"
#include "support/flags.hpp"
#include "support/text_file.hpp"

#include "fbt/core/processors.hpp"
#include "fbt/training/evaluate.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

namespace example {

struct EvaluateFlags {
  std::string model, data;
  double fraction = 1;
  fbt::Index lanes = 64;
  fbt::Index threads = fbt::available_processors();
};

inline void add_evaluate_flags(CLI::App& command, EvaluateFlags& flags) {
  add_flag(command, "model", flags.model, "model file that train or import_checkpoint wrote")->required();
  add_flag(command, "data", flags.data, "text file to predict")->required();
  add_flag(command, "fraction", flags.fraction, "share of the text, at its end, to predict");
  add_flag(command, "lanes", flags.lanes, "parts of the text that are read side by side");
  add_flag(command, "threads", flags.threads, "most threads to work on");
}

inline void evaluate(const EvaluateFlags& flags) {
  fbt::check(flags.fraction > 0 && flags.fraction <= 1, "--fraction must be above 0 and at most 1, found {}",
             flags.fraction);
  const auto [model, vocabulary] = load_text_model(flags.model);
  std::vector<fbt::Token> tokens = vocabulary.encode(read_text_file(flags.data), flags.data);
  // the same cut as train makes for a --validation-fraction
  const auto kept = static_cast<std::size_t>(flags.fraction * static_cast<double>(tokens.size()));
  fbt::check(kept >= 2, "{}: the text is too short: expected at least 2 tokens to predict, found {}; raise --fraction",
             flags.data, kept);
  const fbt::Tokens text = fbt::Tokens(tokens).last(kept);
  const double nats =
      fbt::evaluate(model, text, {.lanes = flags.lanes, .context = model.config().window, .threads = flags.threads}).mean();
  fmt::print("{} tokens\n{:.4f} nats per token\n{:.4f} bits per {}\n{:.4f} perplexity\n", kept, nats,
             nats / std::numbers::ln2,
             vocabulary.kind() == fbt::TokenKind::number ? "token" : fbt::name_of(vocabulary.kind()), std::exp(nats));
}

}  // namespace example
