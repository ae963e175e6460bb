// `evaluate`: writes the targets of a part of a corpus, and measures how near they are to those that people wrote.
#pragma once

#include "support/flags.hpp"
#include "support/path_flag.hpp"
#include "support/run.hpp"
#include "support/stopwatch.hpp"
#include "translate/corpus.hpp"
#include "translate/metrics.hpp"
#include "translate/model_file.hpp"
#include "translate/pair_loss.hpp"

#include "fbt/core/processors.hpp"
#include "fbt/generation/beam_search.hpp"
#include "fbt/io/atomic_file.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace example {

/// Flags of what is written, for `evaluate` and `write`.
struct WritingFlags {
  fbt::BeamSearchOptions search;
  fbt::Execution execution{fbt::available_processors()};
  SourceLimit source_limit{0, LongSources::cut};

  /// Sets what depends on the model. Throws std::invalid_argument for flags out of range, and for those that were given and
  /// have no effect.
  void fit(const Translator& translator, const CLI::App& command) {
    const auto within = [](const char* name, fbt::Index value, fbt::Index most) {
      fbt::check(value >= 1 && value <= most, "--{} must be from 1 to {}, found {}", name, most, value);
    };
    within("beam", search.beams, search.most_beams);
    within("length", search.length, search.most_tokens);
    fbt::check(search.length_penalty >= 0, "--length-penalty must be at least 0, found {}", search.length_penalty);
    if (search.beams == 1) refuse_flags(command, {"length-penalty"}, "with --beam 1, which keeps one beginning");
    search.begin = search.end = translator.boundary();
    if (source_limit.tokens == 0) source_limit.tokens = translator.source_limit;
  }
};

inline void add_writing_flags(CLI::App& command, WritingFlags& flags) {
  add_flag(command, "beam", flags.search.beams, "how many beginnings of a target are kept; 1: greedy");
  add_flag(command, "length-penalty", flags.search.length_penalty,
           "scores are log probability / ((5 + tokens) / 6)^this; 0: none");
  add_flag(command, "length", flags.search.length, "the most tokens of a target, the end counted");
  add_flag(command, "source-limit", flags.source_limit.tokens, "the most tokens of a source; 0: as in the training");
  add_flag(command, "long-sources", flags.source_limit.longer, "what is done with longer ones");
  add_execution_flags(command, flags.execution);
}

struct PairEvaluateFlags {
  std::string model, data, split = "test", out;
  WritingFlags writing;
  fbt::Index limit = 0, lanes = 64;
  bool json = false;
};

inline void add_pair_evaluate_flags(CLI::App& command, PairEvaluateFlags& flags) {
  add_model_flag(command, flags.model);
  add_path_flag(command, "data", flags.data, "folder that prepare wrote")->required();
  add_flag(command, "split", flags.split, "which part of it: train, validation or test");
  add_writing_flags(command, flags.writing);
  add_flag(command, "limit", flags.limit, "only so many pairs, the first ones of the file; 0: all");
  add_flag(command, "lanes", flags.lanes, "beams of all sources that are computed side by side, about");
  add_path_flag(command, "out", flags.out, "file for what is written, a line for each pair");
  add_flag(command, "json", flags.json, "print an object of JSON");
}

/// The first words of every text.
inline std::vector<std::string> first_words(const std::vector<std::string>& texts, std::size_t count) {
  std::vector<std::string> result;
  for (const std::string& text : texts) {
    std::size_t end = 0;
    for (std::size_t i = 0; i < count && end < text.size(); ++i) end = std::min(text.size(), text.find(' ', end + 1));
    result.push_back(text.substr(0, end));
  }
  return result;
}

/// As many words as a text has on average.
inline std::size_t mean_words(const std::vector<std::string>& texts) {
  double words = 0;
  for (const std::string& text : texts) words += 1 + static_cast<double>(std::count(text.begin(), text.end(), ' '));
  return static_cast<std::size_t>(std::lround(words / static_cast<double>(texts.size())));
}

struct Measure {
  const char* name;   ///< in files
  const char* title;  ///< for the reader
  double value;
};

inline std::vector<Measure> measure(PairTask task, Texts texts, Texts references) {
  if (task == PairTask::en_de) return {{"bleu", "BLEU", bleu(texts, references)}, {"chrf", "chrF", chrf(texts, references)}};
  const Rouge result = rouge(texts, references);
  return {{"rouge_1", "ROUGE-1", result.one}, {"rouge_2", "ROUGE-2", result.two}, {"rouge_l", "ROUGE-L", result.longest}};
}

/// "BLEU 12.30, chrF 45.60".
inline std::string line_of(const std::vector<Measure>& measures) {
  std::string text;
  for (const Measure& each : measures) text += fmt::format("{}{} {:.2f}", text.empty() ? "" : ", ", each.title, each.value);
  return text;
}
inline nlohmann::ordered_json json_of(const std::vector<Measure>& measures) {
  nlohmann::ordered_json json;
  for (const Measure& each : measures) json[each.name] = each.value;
  return json;
}

inline void evaluate(PairEvaluateFlags flags, const CLI::App& command) {
  const Translator translator = load_translator(flags.model);
  flags.writing.fit(translator, command);
  fbt::check(flags.lanes >= 1, "--lanes must be at least 1, found {}", flags.lanes);
  const CorpusInfo info = read_corpus_info(flags.data);
  fbt::check(info.task == translator.task, "{}: expected pairs of the model's task {}, found {}", flags.data,
             fbt::name_of(translator.task), fbt::name_of(info.task));
  fbt::check(std::find(corpus_parts.begin(), corpus_parts.end(), std::string_view(flags.split)) != corpus_parts.end(),
             "--split: expected one of {}, found \"{}\"", fmt::join(corpus_parts, ", "), flags.split);
  const std::filesystem::path path = std::filesystem::path(flags.data) / (flags.split + ".tsv");
  std::vector<TextPair> pairs = read_pairs(path);
  if (flags.limit > 0) pairs.resize(std::min(pairs.size(), static_cast<std::size_t>(flags.limit)));
  constexpr fbt::Index any = 1 << 24;  // long references are references, too
  EncodedPairs encoded = encode_pairs(translator.vocabulary, pairs, flags.writing.source_limit, any, path.string());
  fbt::ensure(encoded.pairs.size() == pairs.size(),
              "{}: expected sources of characters in the model's vocabulary, found {} of none", path.string(),
              encoded.left_out);

  const fbt::Execution execution = flags.writing.execution;
  const double loss = pair_loss(translator.model, encoded.pairs, translator.boundary(), execution).mean();
  const fbt::WeightFormat kept = fbt::weights_of(translator.model);  // not full: there are none to compare with
  const bool rounded = kept == fbt::WeightFormat::full && execution.weights != fbt::WeightFormat::full;
  const double full_loss =
      rounded ? pair_loss(translator.model, encoded.pairs, translator.boundary(), execution.threads).mean() : loss;
  // sources of about the same length are written side by side
  std::vector<std::size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return encoded.pairs[a].source.size() < encoded.pairs[b].source.size();
  });
  std::vector<std::vector<fbt::Token>> sources;
  for (const std::size_t i : order) sources.push_back(encoded.pairs[i].source);
  const Stopwatch watch;
  const auto found = fbt::beam_search(translator.model, sources, flags.writing.search, flags.lanes, execution);
  const double seconds = watch.seconds();

  std::vector<std::string> texts(pairs.size()), references, originals;
  double tokens = 0;
  fbt::Index unfinished = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const fbt::Hypothesis& best = found[i].front();
    texts[order[i]] = translator.vocabulary.decode(best.tokens);
    tokens += static_cast<double>(best.tokens.size() + 1);
    unfinished += !best.finished;
  }
  for (const TextPair& pair : pairs) {
    references.push_back(pair.target);
    originals.push_back(pair.source);
  }
  std::string lines;
  for (std::string& text : texts) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    lines += text + '\n';
  }
  if (!flags.out.empty()) fbt::write_atomically(flags.out, {lines});

  const bool translates = info.task == PairTask::en_de;
  const std::size_t words = mean_words(references);
  const auto measures = measure(info.task, texts, references);
  const auto baseline = measure(info.task, translates ? originals : first_words(originals, words), references);
  const std::string baseline_name =
      translates ? "the source itself" : fmt::format("the first {} words of the description", words);
  const auto per_second = [&](double count) { return count / seconds; };
  const auto count = static_cast<double>(pairs.size());
  if (flags.json) {
    nlohmann::ordered_json json{{"task", std::string(fbt::name_of(info.task))},
                                {"split", flags.split},
                                {"pairs", pairs.size()},
                                {"beam", flags.writing.search.beams}};
    json.update(json_of(measures));
    if (translates) json["signature"] = bleu_signature;
    json["nats_per_token"] = loss;
    if (rounded) json.update({{"weights", fbt::name_of(execution.weights)}, {"full_nats_per_token", full_loss}});
    if (kept != fbt::WeightFormat::full) json["weights"] = fbt::name_of(kept);
    json.update({{"baseline_name", baseline_name},
                 {"baseline", json_of(baseline)},
                 {"unfinished", unfinished},
                 {"sources_cut", encoded.cut},
                 {"seconds", seconds},
                 {"sentences_per_second", per_second(count)},
                 {"tokens_per_second", per_second(tokens)}});
    fmt::print("{}\n", json.dump());
    return;
  }
  fmt::print("{} pairs of {}{}\n", pairs.size(), path.string(), encoded.remarks(flags.writing.source_limit.tokens));
  fmt::print("{}{}\n", line_of(measures), translates ? fmt::format(" ({})", bleu_signature) : "");
  fmt::print("{}: {}\n", baseline_name, line_of(baseline));
  fmt::print("{:.4f} nats per token of the targets that people wrote\n", loss);
  if (rounded) print_full_loss(full_loss, loss, execution.weights);
  if (unfinished > 0) fmt::print("{} targets have no end within {} tokens\n", unfinished, flags.writing.search.length);
  fmt::print("{:.1f} s, {:.1f} sentences/s, {:.0f} tokens/s\n", seconds, per_second(count), per_second(tokens));
}

}  // namespace example
