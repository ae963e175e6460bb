// What a model answers, and how much of it is right.
#pragma once

#include "support/interrupt.hpp"
#include "tasks/example.hpp"

#include "fbt/core/parallel.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <vector>

namespace example {

inline constexpr fbt::Index prediction_lanes = 32;  ///< examples that are read side by side

/// For every token of every example the answer that the model finds most likely, whether or not it is scored. Every example
/// begins with an empty memory. The result does not depend on the number of threads. Throws Interrupted when that is requested
/// of an interrupt.
template <class Model>
std::vector<std::vector<fbt::Token>> predict(const Model& model, const std::vector<Example>& examples, fbt::Index threads,
                                             const Interrupt* interrupt = nullptr) {
  constexpr fbt::Index lanes = prediction_lanes;
  const auto count = static_cast<fbt::Index>(examples.size());
  std::vector<std::vector<fbt::Token>> answers(examples.size());
  fbt::parallel_for((count + lanes - 1) / lanes, threads, [&](fbt::Index s) {
    const fbt::Index first = s * lanes, size = std::min(lanes, count - first);
    const auto example = [&](fbt::Index b) { return static_cast<std::size_t>(first + b); };
    std::size_t longest = 0;
    for (fbt::Index b = 0; b < size; ++b) longest = std::max(longest, examples[example(b)].tokens.size());
    auto stepper = model.start(size);
    std::vector<fbt::Token> tokens(static_cast<std::size_t>(size), 0);
    for (std::size_t t = 0; t < longest; ++t) {
      if (interrupt) interrupt->check();
      for (fbt::Index b = 0; b < size; ++b)
        if (const auto& all = examples[example(b)].tokens; t < all.size()) tokens[static_cast<std::size_t>(b)] = all[t];
      const auto& logits = model.step(tokens, stepper);
      for (fbt::Index b = 0; b < size; ++b) {
        if (t >= examples[example(b)].tokens.size()) continue;
        fbt::Index best;
        logits.col(b).maxCoeff(&best);
        answers[example(b)].push_back(static_cast<fbt::Token>(best));
      }
    }
  });
  return answers;
}

struct Accuracy {
  fbt::Index labels = 0, right = 0;
  fbt::Index examples = 0, all_right = 0;  ///< examples of which every label is right

  Accuracy& operator+=(const Accuracy& other) {
    labels += other.labels;
    right += other.right;
    examples += other.examples;
    all_right += other.all_right;
    return *this;
  }

  /// Shares; an answer that is read on is right when all before it are, so that of_examples() is what a model reaches alone,
  /// too.
  double of_labels() const { return static_cast<double>(right) / static_cast<double>(labels); }
  double of_examples() const { return static_cast<double>(all_right) / static_cast<double>(examples); }
};

inline Accuracy measure(const std::vector<Example>& examples, const std::vector<std::vector<fbt::Token>>& answers) {
  Accuracy result;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    bool all = true;
    for (std::size_t t = 0; t < examples[i].labels.size(); ++t) {
      if (examples[i].labels[t] == unscored) continue;
      const bool right = answers[i][t] == examples[i].labels[t];
      ++result.labels;
      result.right += right;
      all = all && right;
    }
    ++result.examples;
    result.all_right += all;
  }
  return result;
}

}  // namespace example
