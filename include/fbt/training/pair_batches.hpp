// PairBatches: pairs of a source and a target (sentences and their translations) for training an EncoderDecoder, B at a
// time. Pairs of about the same length stand side by side, so that little is padding.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"
#include "fbt/models/encoder_decoder.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

namespace fbt {

/// A source of at least one token, and its target, without the tokens for beginning and end.
struct TokenPair {
  std::vector<Token> source, target;

  bool operator==(const TokenPair&) const = default;
};

struct PairOptions {
  Index lanes = 32;        ///< B, pairs read side by side
  Token begin = 0;         ///< what the decoder reads first
  Token end = 0;           ///< the label after a target's last token
  std::uint64_t seed = 1;  ///< of the order, which is another one in every pass, and of dropout

  void validate() const { check(lanes >= 1, "lanes must be at least 1, found {}", lanes); }
};

class PairBatches {
 public:
  /// Where a run is in the data: enough to go on from.
  struct Place {
    Index position = 0;  ///< of the next batch in the pass
    Index passes = 0;    ///< how often all pairs have been read

    bool operator==(const Place&) const = default;
  };

  /// The pairs are not copied: they must outlive this. Throws std::invalid_argument when there are none, or a source is
  /// empty.
  PairBatches(std::span<const TokenPair> pairs, const PairOptions& options)
      : pairs_(pairs), options_((options.validate(), options)) {
    check(!pairs.empty(), "expected at least 1 pair to learn from, found none");
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      check(!pairs[i].source.empty(), "pair {}: expected a source of at least 1 token, found none", i);
      longest_ = std::max(longest_, static_cast<Index>(pairs[i].target.size()) + 1);
    }
    arrange();
  }
  PairBatches(std::vector<TokenPair>&&, const PairOptions&) = delete;  // it dies at the end of the call

  Index lanes() const { return options_.lanes; }
  Index segment() const { return longest_; }  ///< the most steps of a batch
  std::uint64_t seed() const { return options_.seed; }
  std::span<const TokenPair> pairs() const { return pairs_; }
  const PairOptions& options() const { return options_; }
  Index length() const {
    return static_cast<Index>((pairs_.size() + lane_count() - 1) / lane_count());
  }  ///< batches of a pass
  Place place() const { return place_; }
  /// Throws std::invalid_argument when there is no such place.
  void set_place(const Place& place) {
    check(place.passes >= 0 && place.position >= 0 && place.position <= length(),
          "expected a place within the {} batches of a pass, found {} in pass {}", length(), place.position, place.passes);
    place_ = place;
    arrange();
    count_ = 0;  // until the next one
  }

  /// Every target begins with an empty memory.
  bool starts_afresh(Index) const { return true; }

  /// Goes on to the next batch and returns how many steps its longest target has, its end counted. Throws
  /// std::invalid_argument for a curriculum (fewer steps than segment()): targets are read whole.
  Index next(Index steps) {
    check(steps == longest_, "targets are read whole: expected segments of {} steps, found {}; train without a curriculum",
          longest_, steps);
    if (place_.position >= length()) {
      ++place_.passes;
      place_.position = 0;
      arrange();
    }
    first_ = order_[static_cast<std::size_t>(place_.position)] * lane_count();
    count_ = std::min(lane_count(), by_length_.size() - first_);
    ++place_.position;
    source_steps_ = steps_ = 1;
    for (const std::size_t i : batch()) {
      source_steps_ = std::max(source_steps_, static_cast<Index>(pairs_[i].source.size()));
      steps_ = std::max(steps_, static_cast<Index>(pairs_[i].target.size()) + 1);
    }
    copy(0, options_.lanes, whole_);
    return steps_;
  }

  /// Some lanes of a batch. Lanes beyond the last pair are empty.
  class Part {
   public:
    SourceAndTarget values() const { return {{source_, lengths_}, target_}; }
    Tokens targets() const { return labels_; }
    std::span<const std::uint8_t> starts() const { return {}; }

   private:
    friend PairBatches;
    std::vector<Token> source_, target_, labels_;
    std::vector<Index> lengths_;
  };
  Part part(Index) const { return {}; }
  /// Copies so many lanes of the present batch, from the given one on.
  void copy(Index first_lane, Index lanes, Part& part) const {
    part.source_.assign(static_cast<std::size_t>(source_steps_ * lanes), 0);
    part.target_.assign(static_cast<std::size_t>(steps_ * lanes), options_.begin);
    part.labels_.assign(static_cast<std::size_t>(steps_ * lanes), -1);
    part.lengths_.assign(static_cast<std::size_t>(lanes), 0);
    for (Index b = 0; b < lanes; ++b) {
      const auto lane = static_cast<std::size_t>(first_lane + b);
      if (lane >= count_) continue;
      const TokenPair& pair = pairs_[batch()[lane]];
      const auto at = [&](std::size_t t) { return t * static_cast<std::size_t>(lanes) + static_cast<std::size_t>(b); };
      part.lengths_[static_cast<std::size_t>(b)] = static_cast<Index>(pair.source.size());
      for (std::size_t t = 0; t < pair.source.size(); ++t) part.source_[at(t)] = pair.source[t];
      for (std::size_t t = 0; t < pair.target.size(); ++t) {
        part.target_[at(t + 1)] = pair.target[t];
        part.labels_[at(t)] = pair.target[t];
      }
      part.labels_[at(pair.target.size())] = options_.end;
    }
  }
  /// The labels of the present batch (T*B); -1: not scored.
  Tokens targets() const { return whole_.targets(); }

  /// Throws std::invalid_argument when a token is outside the model's vocabularies.
  template <class Model>
  void check_model(const Model& model) const {
    const Index sources = model.config().source_tokens(), targets = model.config().decoder.vocabulary;
    const auto inside = [](std::string_view what, std::size_t i, Token token, Index vocabulary) {
      check(token >= 0 && token < vocabulary, "the {} of pair {} has token {}: expected 0 to {}", what, i, token,
            vocabulary - 1);
    };
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      for (const Token token : pairs_[i].source) inside("source", i, token, sources);
      for (const Token token : pairs_[i].target) inside("target", i, token, targets);
    }
    check(options_.begin >= 0 && options_.begin < targets && options_.end >= 0 && options_.end < targets,
          "begin and end have to be tokens from 0 to {}, found {} and {}", targets - 1, options_.begin, options_.end);
  }

 private:
  std::span<const std::size_t> batch() const { return std::span(by_length_).subspan(first_, count_); }
  std::size_t lane_count() const { return static_cast<std::size_t>(options_.lanes); }

  /// The order of a pass: pairs by length, those of equal length by chance; the batches that they make by chance.
  void arrange() {
    Random random(mix_seed(options_.seed, static_cast<std::uint64_t>(place_.passes)));
    by_length_.resize(pairs_.size());
    std::iota(by_length_.begin(), by_length_.end(), std::size_t{0});
    shuffle(by_length_, random);
    const auto lengths = [&](std::size_t i) { return std::pair(pairs_[i].target.size(), pairs_[i].source.size()); };
    std::stable_sort(by_length_.begin(), by_length_.end(),
                     [&](std::size_t a, std::size_t b) { return lengths(a) < lengths(b); });
    order_.resize(static_cast<std::size_t>(length()));
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    shuffle(order_, random);
  }
  static void shuffle(std::vector<std::size_t>& numbers, Random& random) {  // std::shuffle's is not the same everywhere
    for (std::size_t i = numbers.size(); i > 1; --i)
      std::swap(numbers[i - 1], numbers[static_cast<std::size_t>(random.below(static_cast<Index>(i)))]);
  }

  std::span<const TokenPair> pairs_;
  PairOptions options_;
  Index longest_ = 1;
  Place place_;
  std::vector<std::size_t> by_length_, order_;  // numbers of pairs, and of batches of them
  std::size_t first_ = 0, count_ = 0;           // of by_length_: the present batch
  Index source_steps_ = 1, steps_ = 1;          // of the present batch
  Part whole_;
};

}  // namespace fbt
