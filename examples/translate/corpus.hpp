// The folder that `prepare` writes: train.tsv, validation.tsv, test.tsv, and corpus.json with task and vocabulary. Its pairs
// as tokens.
#pragma once

#include "support/text_file.hpp"
#include "translate/descriptions.hpp"
#include "translate/pairs.hpp"

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"
#include "fbt/text/vocabulary.hpp"
#include "fbt/training/pair_batches.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace example {

/// What is done with sources that are longer than they may be.
enum class LongSources { cut, refuse };

}  // namespace example

template <>
struct fbt::Names<example::LongSources> {
  static constexpr std::array<std::pair<std::string_view, example::LongSources>, 2> list{
      {{"cut", example::LongSources::cut}, {"refuse", example::LongSources::refuse}}};
};

namespace example {

struct SourceLimit {
  fbt::Index tokens = 256;
  LongSources longer = LongSources::cut;
};

/// Cuts the tokens of a source to the limit. Returns whether there were more. Throws std::runtime_error when that is not
/// wanted; name is for messages.
inline bool cut_source(std::vector<fbt::Token>& source, const SourceLimit& limit, std::string_view name) {
  if (static_cast<fbt::Index>(source.size()) <= limit.tokens) return false;
  fbt::ensure(limit.longer == LongSources::cut,
              "{}: expected a source of at most {} tokens, found {}; raise --source-limit, or take --long-sources cut", name,
              limit.tokens, source.size());
  source.resize(static_cast<std::size_t>(limit.tokens));
  return true;
}

/// What the pairs of a corpus.json are made of.
struct CorpusInfo {
  PairTask task;
  fbt::Vocabulary vocabulary;
};

inline std::string write_corpus_info(const CorpusInfo& info) {
  nlohmann::ordered_json json{{"task", std::string(fbt::name_of(info.task))}};
  for (const auto& [key, value] : info.vocabulary.metadata()) json[key] = value;
  return json.dump(1) + '\n';
}

/// Throws std::runtime_error when the folder is not one of `prepare`.
inline CorpusInfo read_corpus_info(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "corpus.json";
  fbt::ensure(std::filesystem::exists(path),
              "{}: expected a folder that translate prepare wrote, found no corpus.json in it", folder.string());
  const auto json = nlohmann::json::parse(read_text_file(path), nullptr, false);
  std::map<std::string, std::string> entries;
  if (json.is_object())
    for (const auto& [key, value] : json.items())
      if (value.is_string()) entries[key] = value.get<std::string>();
  const std::string name = path.string();
  fbt::ensure(entries.contains("task"), "{}: expected what translate prepare wrote, found no task in it", name);
  return {fbt::from_name<PairTask>(entries.at("task"), name + ": task"), fbt::Vocabulary::read(entries, name)};
}

/// Pairs as tokens, and what became of those that did not fit.
struct EncodedPairs {
  std::vector<fbt::TokenPair> pairs;
  fbt::Index cut = 0;       ///< sources
  fbt::Index left_out = 0;  ///< pairs with too long a target, or nothing of a source that is known
  fbt::Index unknown = 0;   ///< characters that are not in the vocabulary, and were left out

  /// ", ..." with what there is to tell.
  std::string remarks(fbt::Index source_limit) const {
    std::string text;
    if (cut > 0) text += fmt::format(", {} sources cut to {} tokens", cut, source_limit);
    if (left_out > 0) text += fmt::format(", {} pairs left out that are too long or empty", left_out);
    if (unknown > 0) text += fmt::format(", {} characters left out that are not in the vocabulary", unknown);
    return text;
  }
};

/// target_limit: the most tokens of a target. Throws std::runtime_error when nothing is left; name is for messages.
inline EncodedPairs encode_pairs(const fbt::Vocabulary& vocabulary, const std::vector<TextPair>& texts,
                                 const SourceLimit& limit, fbt::Index target_limit, std::string_view name) {
  EncodedPairs result;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    fbt::TokenPair pair{vocabulary.encode(texts[i].source, name, &result.unknown),
                        vocabulary.encode(texts[i].target, name, &result.unknown)};
    if (pair.source.empty() || static_cast<fbt::Index>(pair.target.size()) > target_limit) {
      ++result.left_out;
      continue;
    }
    result.cut += cut_source(pair.source, limit, fmt::format("{}:{}", name, i + 1));
    result.pairs.push_back(std::move(pair));
  }
  fbt::ensure(!result.pairs.empty(),
              "{}: expected pairs with sources of characters in the vocabulary and targets of at most {} tokens, found none "
              "among {}",
              name, target_limit, texts.size());
  return result;
}

}  // namespace example
