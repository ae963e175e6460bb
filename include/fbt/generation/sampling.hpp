// Sampler: draws the next token from logits. Order and defaults are those that llama.cpp documents for these samplers:
// repetition penalty, top-k, top-p, min-p, temperature.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace fbt {

struct SamplingOptions {
  double temperature = 0.8;       ///< logits are divided by it; 0: always the most likely token
  Index top_k = 40;               ///< keep the k most likely tokens; 0: all
  double top_p = 0.95;            ///< keep the fewest most likely tokens whose probabilities reach p; 1: all
  double min_p = 0.05;            ///< keep tokens at least p times as likely as the most likely one; 0: all
  double repetition_penalty = 1;  ///< divides positive logits of recent tokens and multiplies negative ones; 1: none
  Index repetition_window = 64;   ///< how many recent tokens are penalised
  std::uint64_t seed = 1;

  /// Draws from softmax(logits) as it is: what a policy of an agent wants.
  static SamplingOptions softmax(std::uint64_t seed) {
    return {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = seed};
  }

  void validate() const {
    check(temperature >= 0 && is_finite(temperature), "temperature must be at least 0, found {}", temperature);
    check(top_k >= 0, "top-k must be at least 0, found {}", top_k);
    check(top_p > 0 && top_p <= 1, "top-p must be above 0 and at most 1, found {}", top_p);
    check(min_p >= 0 && min_p <= 1, "min-p must be from 0 to 1, found {}", min_p);
    check(repetition_penalty > 0 && is_finite(repetition_penalty), "repetition penalty must be above 0, found {}",
          repetition_penalty);
    check(repetition_window >= 0, "repetition window must be at least 0 tokens, found {}", repetition_window);
  }
};

/// The logarithm of a token's probability in softmax(logits) (V), in nats.
template <class Derived>
double log_probability(const Eigen::DenseBase<Derived>& logits, Token token) {
  const auto z = logits.derived().array() - logits.maxCoeff();
  return static_cast<double>(z(token)) - std::log(static_cast<double>(z.exp().sum()));
}

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_((options.validate(), options)), random_(options.seed) {}

  /// Tells the sampler of a token that is part of the text, read or drawn: it counts as recent.
  void accept(Token token) {
    if (options_.repetition_window == 0) return;
    if (static_cast<Index>(recent_.size()) < options_.repetition_window) {
      recent_.push_back(token);
    } else {
      recent_[oldest_] = token;
      oldest_ = (oldest_ + 1) % recent_.size();
    }
  }

  /// Draws a token from logits (V). Does not accept() it. A logit of -infinity is a token that cannot come. Throws
  /// std::runtime_error when one is NaN or +infinity, or none is finite.
  template <class Derived>
  Token sample(const Eigen::DenseBase<Derived>& logits) {
    candidates_.clear();
    for (Index i = 0; i < logits.size(); ++i) {
      const auto logit = static_cast<double>(logits(i));
      ensure(logit < std::numeric_limits<double>::infinity(), "sampling: expected finite logits, found {} for token {}",
             logit, i);
      candidates_.push_back({static_cast<Token>(i), logit, 0});
    }
    penalise();
    const auto more_likely = [](const Candidate& a, const Candidate& b) {
      return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
    };
    const auto best = std::min_element(candidates_.begin(), candidates_.end(), more_likely);
    ensure(best != candidates_.end() && is_finite(best->logit), "sampling: expected finite logits, found none");
    if (options_.temperature == 0) return best->token;

    if (options_.top_k > 0 && static_cast<std::size_t>(options_.top_k) < candidates_.size()) {
      std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end(), more_likely);
      candidates_.resize(static_cast<std::size_t>(options_.top_k));
    }
    std::sort(candidates_.begin(), candidates_.end(), more_likely);
    if (options_.top_p < 1) {
      const double total = weigh(1);
      double sum = 0;
      std::size_t kept = 0;
      while (kept < candidates_.size() && sum < options_.top_p * total) sum += candidates_[kept++].weight;
      candidates_.resize(std::max<std::size_t>(kept, 1));
    }
    if (options_.min_p > 0) {
      const double least = candidates_.front().logit + std::log(options_.min_p);
      std::erase_if(candidates_, [&](const Candidate& c) { return c.logit < least; });
    }
    double place = random_.uniform() * weigh(options_.temperature);
    for (const Candidate& c : candidates_) {
      place -= c.weight;
      if (place < 0) return c.token;
    }
    return candidates_.back().token;
  }

 private:
  struct Candidate {
    Token token;
    double logit, weight;
  };

  void penalise() {
    if (options_.repetition_penalty == 1) return;
    for (std::size_t i = 0; i < recent_.size(); ++i) {
      const Token token = recent_[i];
      if (std::find(recent_.begin(), recent_.begin() + static_cast<std::ptrdiff_t>(i), token) !=
          recent_.begin() + static_cast<std::ptrdiff_t>(i))
        continue;  // once is enough
      if (token < 0 || static_cast<std::size_t>(token) >= candidates_.size()) continue;
      double& logit = candidates_[static_cast<std::size_t>(token)].logit;
      logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    }
  }

  // weight = exp((logit - largest) / temperature); returns their sum. The candidates are sorted.
  double weigh(double temperature) {
    double total = 0;
    for (Candidate& c : candidates_) {
      c.weight = std::exp((c.logit - candidates_.front().logit) / temperature);
      total += c.weight;
    }
    return total;
  }

  SamplingOptions options_;
  Random random_;
  std::vector<Token> recent_;
  std::size_t oldest_ = 0;
  std::vector<Candidate> candidates_;
};

}  // namespace fbt
