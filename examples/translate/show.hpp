// `show`: what of a source each token of its target looked at, as a picture with a panel for every block and head.
#pragma once

#include "support/attention_map.hpp"
#include "support/path_flag.hpp"
#include "translate/write.hpp"

#include "fbt/generation/beam_search.hpp"
#include "fbt/io/atomic_file.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace example {

struct PairShowFlags {
  std::string model, text, target, out = "attention.svg";
  WritingFlags writing;
};

inline void add_pair_show_flags(CLI::App& command, PairShowFlags& flags) {
  add_model_flag(command, flags.model);
  add_flag(command, "text", flags.text, "the source, at most 200 tokens")->required();
  add_flag(command, "target", flags.target, "its target; without it what the model writes");
  add_writing_flags(command, flags.writing);
  add_path_flag(command, "out", flags.out, "picture to write");
}

/// command: which flags were given.
inline void show(PairShowFlags flags, const CLI::App& command) {
  const bool has_target = command.count("--target") > 0;
  if (has_target)
    refuse_flags(command, {"beam", "length", "length-penalty", "threads"}, "with --target: nothing is written");
  const Translator translator = load_translator(flags.model);
  constexpr auto most = static_cast<fbt::Index>(AttentionMap::most_tokens);  // the end counted
  if (command.count("--length") == 0) flags.writing.search.length = std::min(flags.writing.search.length, most);
  flags.writing.fit(translator, command);
  fbt::check(flags.writing.search.length <= most, "--length must be at most {}, which a picture has room for, found {}",
             most, flags.writing.search.length);
  const fbt::Vocabulary& vocabulary = translator.vocabulary;
  const PairModel& model = translator.model;
  const auto source = detail::encode_source(translator, flags.text, flags.writing.source_limit, "--text");
  fbt::check(!source.empty(), "--text: expected a source, found no words");
  const std::span sources(&source, 1);
  fbt::Hypothesis best;
  if (has_target) {
    best.tokens = encode_text(vocabulary, flags.target, "--target");
    best.finished = true;
  } else {
    const WritingFlags& w = flags.writing;
    best = fbt::beam_search(model, sources, w.search, w.search.beams, w.execution).front().front();
  }
  const std::vector<fbt::Token>& target = best.tokens;
  const std::size_t rows = target.size() + best.finished;

  const fbt::Config& config = model.decoder.config();
  std::vector<AttentionMap::Panel> panels;
  for (fbt::Index l = 1; l <= config.layers; ++l)
    for (fbt::Index j = 1; j <= config.heads; ++j) panels.push_back({l, j, {}});
  auto stepper = model.start(sources, 1, {1, flags.writing.execution.weights});
  fbt::Token read = translator.boundary();
  std::vector<std::string> names, row_names;
  for (std::size_t t = 0; t < rows; ++t) {  // a row shows what a token was written from
    model.step({&read, 1}, stepper);
    read = t < target.size() ? target[t] : translator.boundary();
    row_names.push_back(t < target.size() ? vocabulary.label(read) : "(end)");
    for (AttentionMap::Panel& panel : panels) {
      const fbt::Matrix<float> all = model.source_attention(panel.layer - 1, stepper);
      fbt::ensure(all.allFinite(), "attention: expected finite weights, found others at token {}", t);
      panel.weights.emplace_back(all.col(panel.head - 1).begin(), all.col(panel.head - 1).end());
    }
  }
  for (const fbt::Token token : source) names.push_back(vocabulary.label(token));
  const AttentionMap map(std::move(row_names), std::move(names), std::move(panels), config.heads);
  fbt::write_atomically(flags.out, {map.svg()});
  fmt::print("{}\nwhat its {} tokens{} looked at of the {} of the source is in {}\n", vocabulary.decode(target),
             target.size(), best.finished ? " and its end" : "", source.size(), flags.out);
}

}  // namespace example
