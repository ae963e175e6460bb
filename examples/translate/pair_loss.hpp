// The loss of a translator on pairs: nats per token of the targets, their ends included, given what stands before.
#pragma once

#include "support/interrupt.hpp"
#include "support/processes.hpp"
#include "translate/model_file.hpp"

#include "fbt/core/parallel.hpp"
#include "fbt/core/processors.hpp"
#include "fbt/io/training_file.hpp"
#include "fbt/training/losses.hpp"
#include "fbt/training/pair_batches.hpp"

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace example {

/// The same with any number of threads. With processes each reads some of the pairs. Throws Interrupted when interrupt is
/// not null and the user wants to stop.
inline fbt::LossSum pair_loss(const PairModel& model, std::span<const fbt::TokenPair> pairs, fbt::Token boundary,
                              const fbt::Execution& execution, const Interrupt* interrupt = nullptr,
                              const Processes* processes = nullptr) {
  std::vector<const fbt::TokenPair*> order;  // those of about one length are read side by side
  for (const fbt::TokenPair& pair : pairs) order.push_back(&pair);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->target.size(), a->source.size()) < std::pair(b->target.size(), b->source.size());
  });
  constexpr std::size_t lanes = 32;
  std::vector<fbt::LossSum> losses((order.size() + lanes - 1) / lanes);
  const auto groups = static_cast<fbt::Index>(losses.size());
  const auto [own, end] = processes ? processes->own_part(groups) : std::pair<fbt::Index, fbt::Index>(0, groups);
  const auto read = [&](fbt::Index part) {
    const auto index = static_cast<std::size_t>(part);
    const auto group = std::span(order).subspan(index * lanes, std::min(lanes, order.size() - index * lanes));
    std::vector<std::vector<fbt::Token>> sources;
    for (const fbt::TokenPair* pair : group) sources.push_back(pair->source);
    auto stepper = model.start(sources, 1, {1, execution.weights});
    std::vector<fbt::Token> given(group.size(), boundary), labels(group.size());
    for (std::size_t t = 0; t <= group.back()->target.size(); ++t) {
      if (interrupt) interrupt->check();
      for (std::size_t b = 0; b < group.size(); ++b) {
        const auto& target = group[b]->target;
        labels[b] = t < target.size() ? target[t] : t == target.size() ? boundary : -1;
      }
      losses[index] += fbt::cross_entropy(model.step(given, stepper), labels);
      for (std::size_t b = 0; b < group.size(); ++b) given[b] = std::max<fbt::Token>(labels[b], 0);
    }
  };
  const auto read_own = [&, own = own, end = end](const auto& share) {
    fbt::parallel_for(end - own, fbt::useful_threads(execution.threads), [&](fbt::Index i) { read(own + i); });
    share(std::span(losses));
    fbt::LossSum sum;
    for (const fbt::LossSum& loss : losses) sum += loss;
    return sum;
  };
  return processes ? processes->evaluate<fbt::LossSum>(read_own) : read_own([](std::span<fbt::LossSum>) {});
}

/// The loss on pairs that are held out, for Training.
class PairValidation {
 public:
  static constexpr const char* unit = "pairs";  // that size() counts

  /// The pairs must outlive this.
  PairValidation(std::span<const fbt::TokenPair> pairs, fbt::Token boundary) : pairs_(pairs), boundary_(boundary) {}

  bool empty() const { return pairs_.empty(); }
  fbt::Index size() const { return static_cast<fbt::Index>(pairs_.size()); }
  /// Leaves out all but the first pairs.
  void shorten(fbt::Index count) { pairs_ = pairs_.first(static_cast<std::size_t>(std::min(count, size()))); }
  /// What a loss costs, in tokens of targets.
  double work() const {
    double tokens = 0;
    for (const fbt::TokenPair& pair : pairs_) tokens += static_cast<double>(pair.target.size() + 1);
    return tokens;
  }
  std::string how() const { return "each by itself"; }
  /// Names what is measured.
  std::string identity() const { return fbt::fingerprint(pairs_); }

  /// In nats per token. Throws Interrupted when the user wants to stop.
  double loss(const PairModel& model, fbt::Index threads, const Interrupt& interrupt, const Processes& processes) const {
    return pair_loss(model, pairs_, boundary_, threads, &interrupt, &processes).mean();
  }

 private:
  std::span<const fbt::TokenPair> pairs_;
  fbt::Token boundary_;
};

}  // namespace example
