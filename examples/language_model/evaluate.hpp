// `evaluate`: how well a model predicts a text.
#pragma once

#include "language_model/model_file.hpp"
#include "support/path_flag.hpp"
#include "support/text_file.hpp"

#include "fbt/core/processors.hpp"
#include "fbt/training/evaluate.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace example {

struct EvaluateFlags {
  std::string model, data;
  double fraction = 1;
  fbt::Index lanes = 1;
  fbt::Execution execution{fbt::available_processors()};
  bool skip_unknown = false, per_token = false, json = false;
};

inline void add_evaluate_flags(CLI::App& command, EvaluateFlags& flags) {
  add_model_flags(command, flags.model);
  add_path_flag(command, "data", flags.data, "text file to predict; -: the standard input")->required();
  add_flag(command, "fraction", flags.fraction, "share of the text, at its end, to predict");
  auto* const lanes = add_flag(command, "lanes", flags.lanes,
                               "parts of the text that are read side by side: more are faster, but an approximation, as "
                               "what a part remembers of the text before it is cut short");
  add_execution_flags(command, flags.execution);
  add_flag(command, "skip-unknown", flags.skip_unknown,
           "leave out what is not in the model's vocabulary, and say how much that is, instead of refusing the text");
  add_flag(command, "per-token", flags.per_token,
           "print of every token its place in the text, counted from 0, its nats, and the token")
      ->excludes(lanes);
  add_flag(command, "json", flags.json, "print an object of JSON, with --per-token after one for every token");
}

/// Cross-entropy that tells of every label what it costs: on_loss(label, nats). For one lane, in the order of the text.
template <class F>
struct EachLoss {
  using Targets = fbt::Tokens;
  F on_loss;

  template <class Scalar>
  fbt::LossSum operator()(const std::type_identity_t<fbt::In<Scalar>>& logits, fbt::Tokens labels, Scalar scale,
                          std::type_identity_t<fbt::Out<Scalar>> dlogits) const {
    const fbt::LossSum loss = fbt::CrossEntropy{}.template operator()<Scalar>(logits, labels, scale, dlogits);
    if (loss.count > 0) on_loss(labels[0], loss.sum);
    return loss;
  }
};

/// command: which flags were given.
inline void evaluate(const EvaluateFlags& flags, const CLI::App& command) {
  fbt::check(flags.fraction > 0 && flags.fraction <= 1, "--fraction must be above 0 and at most 1, found {}",
             flags.fraction);
  const TextModel text_model = load_text_model(flags.model);
  const Model& model = text_model.model;
  const fbt::Vocabulary& vocabulary = text_model.vocabulary;
  if (vocabulary.kind() == fbt::TokenKind::byte || vocabulary.kind() == fbt::TokenKind::subword)
    refuse_flags(command, {"skip-unknown"},
                 fmt::format("with a model of {}s, which knows all texts", fbt::name_of(vocabulary.kind())));
  fbt::Index unknown = 0;
  const std::vector<fbt::Token> tokens =
      encode_text(vocabulary, read_text_file(flags.data), flags.data, flags.skip_unknown ? &unknown : nullptr);
  // the same cut as train makes for a --validation-fraction
  const auto kept = static_cast<std::size_t>(flags.fraction * static_cast<double>(tokens.size()));
  fbt::check(kept >= 2, "{}: the text is too short: expected at least 2 tokens to predict, found {}; raise --fraction",
             flags.data, kept);
  const fbt::Tokens text = fbt::Tokens(tokens).last(kept), read = text.first(kept - 1), labels = text.subspan(1);

  std::size_t place = tokens.size() - kept;
  const auto print_token = [&](fbt::Token token, double nats) {
    ++place;
    if (flags.json) {
      const nlohmann::ordered_json line{
          {"place", place}, {"token", token}, {"text", vocabulary.decode({&token, 1})}, {"nats", nats}};
      fmt::print("{}\n", line.dump());
    } else {
      fmt::print("{}\t{:.4f}\t{}\n", place, nats, vocabulary.label(token));
    }
  };
  fbt::EvaluationOptions options{.lanes = flags.lanes,
                                 .context = model.config().window,
                                 .threads = flags.execution.threads,
                                 .weights = flags.execution.weights};
  const fbt::Evaluation result =
      flags.per_token ? fbt::evaluate(model, read, labels, options, EachLoss<decltype(print_token)>{print_token})
                      : fbt::evaluate(model, read, labels, options);
  const double nats = result.mean(), bits = nats / std::numbers::ln2;
  const bool compact = fbt::weights_of(model) != fbt::WeightFormat::full;  // there are no full ones to compare with
  const bool rounded = !compact && options.weights != fbt::WeightFormat::full;
  options.weights = fbt::WeightFormat::full;
  const double full_nats = rounded ? fbt::evaluate(model, read, labels, options).mean() : nats;
  fbt::ensure(std::isfinite(nats) && std::isfinite(full_nats), "{}: expected finite losses, found a mean of {}", flags.model,
              nats);
  const bool numbers = vocabulary.kind() == fbt::TokenKind::number;  // of no known text
  double bytes = 0;
  for (const fbt::Token token : labels) bytes += static_cast<double>(vocabulary.text(token).size());
  const double bits_per_byte = bits * static_cast<double>(result.loss.count) / bytes;

  if (flags.json) {
    nlohmann::ordered_json line{{"tokens", kept},         {"scored", result.loss.count},  {"nats_per_token", nats},
                                {"bits_per_token", bits}, {"perplexity", std::exp(nats)}, {"accuracy", result.accuracy()}};
    if (!numbers) line["bits_per_byte"] = bits_per_byte;
    if (flags.skip_unknown) line["unknown"] = unknown;
    if (rounded) line.update({{"weights", fbt::name_of(flags.execution.weights)}, {"full_nats_per_token", full_nats}});
    line["lanes"] = flags.lanes;
    if (compact) line["weights"] = fbt::name_of(fbt::weights_of(model));
    line["exact"] = flags.lanes == 1 && !rounded && !compact;
    fmt::print("{}\n", line.dump());
    return;
  }
  fmt::print("{} tokens\n{:.4f} nats per token\n{:.4f} bits per {}\n{:.4f} perplexity\n", kept, nats, bits,
             numbers ? "token" : fbt::name_of(vocabulary.kind()), std::exp(nats));
  if (rounded) print_full_loss(full_nats, nats, flags.execution.weights);
  if (compact) fmt::print("by weights of {}, which are all that the file has\n", fbt::name_of(fbt::weights_of(model)));
  if (vocabulary.kind() != fbt::TokenKind::byte && !numbers) fmt::print("{:.4f} bits per byte\n", bits_per_byte);
  if (flags.skip_unknown) fmt::print("{} unknown characters were left out\n", unknown);
  if (flags.lanes > 1)
    fmt::print(
        "an approximation: read in up to {} parts side by side, each after the {} tokens before it; --lanes 1 reads the "
        "text "
        "in one run\n",
        flags.lanes, options.context);
}

}  // namespace example
