// Beam search: the best target of a source that is found when only the most likely beginnings are kept (Graves, 2012; Wu et
// al., 2016, for the length penalty). A hypothesis of n tokens, the end token counted, scores
//   log probability / ((5 + n) / 6)^alpha
// Many sources are written side by side, each with its own beams; one beam is greedy search: the most likely token at every
// step.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace fbt {

struct BeamSearchOptions {
  Token begin = 0;  ///< the token that every target begins with; not part of it
  Token end = 0;    ///< the token that ends a target; not part of it
  Index beams = 4;
  Index length = 256;           ///< the most tokens of a target, the end counted
  double length_penalty = 0.6;  ///< alpha; 0: none
  static constexpr Index most_beams = 1024, most_tokens = 1'000'000;

  void validate() const {
    check(beams >= 1 && beams <= most_beams, "beam search: beams must be from 1 to {}, found {}", most_beams, beams);
    check(length >= 1 && length <= most_tokens, "beam search: length must be from 1 to {} tokens, found {}", most_tokens,
          length);
    check(length_penalty >= 0 && is_finite(length_penalty), "the length penalty must be at least 0, found {}",
          length_penalty);
  }
  double score(double log_probability, Index tokens) const {
    return log_probability / std::pow((5 + static_cast<double>(tokens)) / 6, length_penalty);
  }
};

/// A target, or the beginning of one that is not finished within the length.
struct Hypothesis {
  std::vector<Token> tokens;
  double log_probability = 0;  ///< natural logarithm, of the end token, too
  double score = 0;
  bool finished = false;
};

namespace detail {

/// The beams of one source.
class BeamSearch {
 public:
  explicit BeamSearch(const BeamSearchOptions& options) : options_(&options), live_(1) {}

  /// What every beam is to read next; those that there are not yet read anything.
  Token next(Index beam) const {
    if (beam >= static_cast<Index>(live_.size())) return options_->begin;
    const auto& tokens = live_[static_cast<std::size_t>(beam)].tokens;
    return tokens.empty() ? options_->begin : tokens.back();
  }

  /// Goes on from the logits (V, beams) after next(). from (beams), which holds every beam's own lane, gets those of the
  /// beams that the next ones continue where they are others; lane is the first. False when the search is over.
  template <class Derived>
  bool read(const Eigen::MatrixBase<Derived>& logits, Index lane, std::span<Index> from) {
    struct Candidate {
      double log_probability;
      Index beam;
      Token token;
    };
    const auto better = [](const Candidate& a, const Candidate& b) {
      if (a.log_probability != b.log_probability) return a.log_probability > b.log_probability;
      return a.beam != b.beam ? a.beam < b.beam : a.token < b.token;
    };
    // twice as many as beams: should each have its end among them, as many still go on
    const auto most = static_cast<std::size_t>(options_->beams == 1 ? 1 : 2 * options_->beams);
    std::vector<Candidate> candidates;  // the best first
    Vector<double> column;
    for (std::size_t i = 0; i < live_.size(); ++i) {
      column = logits.col(static_cast<Index>(i)).template cast<double>();
      const double largest = column.maxCoeff();
      const double total = largest + std::log((column.array() - largest).exp().sum());
      for (Index v = 0; v < logits.rows() && !is_finite(total); ++v)
        ensure(is_finite(column(v)), "beam search: expected finite logits, found {} for token {}", column(v), v);
      for (Index v = 0; v < logits.rows(); ++v) {
        const Candidate c{live_[i].log_probability + column(v) - total, static_cast<Index>(i), static_cast<Token>(v)};
        if (candidates.size() == most && !better(c, candidates.back())) continue;
        candidates.insert(std::upper_bound(candidates.begin(), candidates.end(), c, better), c);
        if (candidates.size() > most) candidates.pop_back();
      }
    }
    struct Child {
      Hypothesis hypothesis;
      Index parent;
    };
    std::vector<Child> children;
    const auto count = static_cast<std::size_t>(options_->beams);
    for (const Candidate& c : candidates) {
      if (children.size() == count) break;
      if (!is_finite(c.log_probability)) break;  // tokens that are forbidden: their logits are -infinity
      Hypothesis h = live_[static_cast<std::size_t>(c.beam)];
      h.log_probability = c.log_probability;
      const auto length = static_cast<Index>(h.tokens.size()) + 1;
      h.score = options_->score(h.log_probability, length);
      if (c.token == options_->end) {
        h.finished = true;
        found_.push_back(std::move(h));
      } else {
        h.tokens.push_back(c.token);
        children.push_back({std::move(h), c.beam});
      }
    }
    const double best = children.empty() ? 0 : children.front().hypothesis.log_probability;
    // a beam is moved only where a lane has to hold another than before: the first to go on from it stays in its lane
    live_.assign(children.size(), {});
    std::vector<bool> taken(children.size());
    std::vector<Child*> others;
    for (Child& child : children) {
      const auto own = static_cast<std::size_t>(child.parent);
      if (own >= taken.size() || taken[own]) {
        others.push_back(&child);
      } else {
        taken[own] = true;
        live_[own] = std::move(child.hypothesis);
      }
    }
    for (std::size_t free = 0; Child* const child : others) {
      while (taken[free]) ++free;
      taken[free] = true;
      live_[free] = std::move(child->hypothesis);
      from[free] = lane + child->parent;
    }
    const bool over = !live_.empty() && static_cast<Index>(live_.front().tokens.size()) >= options_->length;
    if (over) std::move(live_.begin(), live_.end(), std::back_inserter(found_));
    std::stable_sort(found_.begin(), found_.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
    if (found_.size() > count) found_.resize(count);
    if (over || live_.empty()) return false;
    // whatever goes on loses further probability, and at best ends at the greatest length
    return found_.size() < count || options_->score(best, options_->length) > found_.back().score;
  }

  std::vector<Hypothesis> result() && { return std::move(found_); }

 private:
  const BeamSearchOptions* options_;
  std::vector<Hypothesis> live_, found_;  // in the order of their lanes; the best first
};

}  // namespace detail

/// The best hypotheses of every source (each of at least one token), at most as many as beams, the best first. lanes: how
/// many beams of all sources are computed side by side, at most (but at least those of one source); the last bits of a log
/// probability depend on it only where a single lane is computed alone, as generate() tells. Throws
/// std::invalid_argument for an option out of range, an empty source, and a token outside the vocabulary, and
/// std::runtime_error for logits that are NaN or +infinity.
template <class Model>
std::vector<std::vector<Hypothesis>> beam_search(const Model& model, std::span<const std::vector<Token>> sources,
                                                 const BeamSearchOptions& options, Index lanes = 64,
                                                 const Execution& execution = {}) {
  options.validate();
  const Index vocabulary = model.config().decoder.vocabulary;
  check(options.begin >= 0 && options.begin < vocabulary && options.end >= 0 && options.end < vocabulary,
        "beam search: begin and end have to be tokens from 0 to {}, found {} and {}", vocabulary - 1, options.begin,
        options.end);
  check(lanes >= 1, "beam search: lanes must be at least 1, found {}", lanes);
  const auto beams = static_cast<std::size_t>(options.beams);
  const std::size_t at_once = std::max<std::size_t>(1, static_cast<std::size_t>(lanes) / beams);
  std::vector<std::vector<Hypothesis>> results(sources.size());
  // neighbours are of one length, about: what is beyond a source's end is computed, too
  std::vector<std::size_t> by_length(sources.size());
  std::iota(by_length.begin(), by_length.end(), std::size_t{0});
  std::stable_sort(by_length.begin(), by_length.end(),
                   [&](std::size_t a, std::size_t b) { return sources[a].size() < sources[b].size(); });
  std::optional<typename Model::Stepper> stepper;
  for (std::size_t first = 0; first < sources.size(); first += at_once) {
    std::vector<std::vector<Token>> group;
    for (std::size_t i = first; i < std::min(first + at_once, sources.size()); ++i) group.push_back(sources[by_length[i]]);
    std::vector<detail::BeamSearch> searches(group.size(), detail::BeamSearch(options));
    std::vector<std::size_t> running(group.size());  // which sources have lanes, so many as there are beams each
    // a single lane would be computed in another order than many, so it stands there twice, unless all are computed alone
    if (group.size() * beams == 1 && at_once > 1 && sources.size() > 1) group.push_back(group.front());
    stepper = stepper ? model.start(group, options.beams, *stepper) : model.start(group, options.beams, execution);
    std::iota(running.begin(), running.end(), std::size_t{0});
    std::vector<Token> tokens(group.size() * beams);
    std::vector<Index> from;
    while (!running.empty()) {
      std::fill(tokens.begin(), tokens.end(), options.begin);
      for (std::size_t i = 0; i < running.size() * beams; ++i)
        tokens[i] = searches[running[i / beams]].next(static_cast<Index>(i % beams));
      const auto& logits = model.step(tokens, *stepper);
      from.resize(tokens.size());
      std::iota(from.begin(), from.end(), Index{0});
      std::vector<std::size_t> going_on;
      std::vector<Index> kept;  // their lanes
      for (std::size_t i = 0; i < running.size(); ++i) {
        const std::size_t source = running[i];
        const auto lane = static_cast<Index>(i * beams);
        const auto own = std::span(from).subspan(i * beams, beams);
        if (searches[source].read(logits.middleCols(lane, options.beams), lane, own)) {
          going_on.push_back(source);
          kept.insert(kept.end(), own.begin(), own.end());
        } else {
          results[by_length[first + source]] = std::move(searches[source]).result();
        }
      }
      if (going_on.size() == running.size()) {
        stepper->memory.reorder(from);
      } else if (!going_on.empty()) {
        // lanes without a source cost as much as others, so those that go on move together; a single lane stands there twice
        if (kept.size() == 1) kept.push_back(kept.front());
        model.select_lanes(kept, *stepper);
        tokens.resize(kept.size());
      }
      running = std::move(going_on);
    }
  }
  return results;
}

}  // namespace fbt
