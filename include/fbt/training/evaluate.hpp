// Evaluation: the loss of a model on data that it reads from end to end, with the memory carried, and how often it is right.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/core/parallel.hpp"
#include "fbt/core/processors.hpp"
#include "fbt/core/types.hpp"
#include "fbt/training/losses.hpp"
#include "fbt/training/series.hpp"

#include <algorithm>
#include <functional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace fbt {

struct Evaluation {
  LossSum loss;
  Index right = 0;  ///< scored labels that were the most likely class

  double mean() const { return loss.mean(); }
  double accuracy() const { return static_cast<double>(right) / static_cast<double>(loss.count); }
};

struct EvaluationOptions {
  /// Parts of the data that are read side by side: 1 is the definition. A memory reaches beyond its window, slot by slot, so
  /// that more lanes are an approximation, which a longer context brings nearer.
  Index lanes = 1;
  Index context = 0;  ///< values that every lane but the first reads before its part, unscored
  Index threads = 1;  ///< the result does not depend on it
  Index warm_up = 0;  ///< values at the beginning of the data that are read unscored
  /// For processes that evaluate together: which part of `groups` groups of lanes this one reads (first, end), and what
  /// fills in, after that, what the others have found in theirs.
  std::function<std::pair<Index, Index>(Index groups)> own_part = {};
  std::function<void(std::span<Evaluation> groups)> share = {};
  /// With which the data is read.
  WeightFormat weights = WeightFormat::full;
};

/// The loss of the outputs after every value of the data, given its target. Targets that are negative (labels) or NaN
/// (vectors) are not scored. Throws std::invalid_argument when there are not as many targets as values, or none at all.
template <class Model, class Values, class Loss>
Evaluation evaluate(const Model& model, const Values& data, const typename Loss::Targets& targets,
                    const EvaluationOptions& options, const Loss& loss) {
  using Scalar = typename Model::Scalar;
  using DataSeries = Series<Values>;
  using TargetSeries = Series<typename Loss::Targets>;
  const Index count = DataSeries::length(data);
  check(count >= 1, "evaluation needs at least 1 value, found none");
  check(TargetSeries::length(targets) == count, "evaluation needs a target for every value, found {} for {}",
        TargetSeries::length(targets), count);
  check(options.lanes >= 1 && options.threads >= 1 && options.context >= 0,
        "evaluation needs at least 1 lane, 1 thread and a context of at least 0, found {}, {} and {}", options.lanes,
        options.threads, options.context);
  const Index context = std::min(options.context, count);
  const Index lanes = std::clamp<Index>(count / std::max<Index>(context, 1), 1, options.lanes);
  const Index length = std::max<Index>(0, (count - context + lanes - 1) / lanes);  // lane b is scored on its last `length`
  constexpr Index lanes_per_shard = 16;
  const Index shards = (lanes + lanes_per_shard - 1) / lanes_per_shard;
  std::vector<Evaluation> parts(static_cast<std::size_t>(shards));
  // where there is one shard, the threads share its steps
  const auto first_stepper =
      model.start((lanes + shards - 1) / shards, {shards == 1 ? options.threads : 1, options.weights});
  const auto [own, end] = options.own_part ? options.own_part(shards) : std::pair<Index, Index>(0, shards);
  parallel_for(end - own, useful_threads(options.threads), [&, own = own](Index i) {
    const Index s = own + i;
    const Index first = lanes * s / shards, size = lanes * (s + 1) / shards - first;
    auto stepper = shards == 1 ? first_stepper : model.start(size, first_stepper);
    auto values = DataSeries::room(data, size);
    auto goals = TargetSeries::room(targets, size);
    Evaluation& part = parts[static_cast<std::size_t>(s)];
    Matrix<Scalar> none;
    for (Index t = 0; t < context + length; ++t) {
      for (Index b = 0; b < size; ++b) {
        const Index at = (first + b) * length + t;
        const bool inside = at < count;
        const bool scored = inside && at >= options.warm_up && (t >= context || first + b == 0);
        DataSeries::copy(data, inside ? at : 0, 1, values, b);
        if (scored) {
          TargetSeries::copy(targets, at, 1, goals, b);
        } else {
          TargetSeries::leave_out(goals, b);
        }
      }
      const Matrix<Scalar>& outputs = model.step(DataSeries::first(values, size), stepper);
      part.loss += loss(outputs, TargetSeries::first(goals, size), Scalar(1), none);
      if constexpr (std::is_same_v<typename Loss::Targets, Tokens>) {
        for (Index b = 0; b < size; ++b) {
          const Token label = goals[static_cast<std::size_t>(b)];
          if (label < 0) continue;
          Index best;
          outputs.col(b).maxCoeff(&best);
          part.right += best == label;
        }
      }
    }
  });
  if (options.share) options.share(parts);
  Evaluation total;
  for (const Evaluation& part : parts) {
    total.loss += part.loss;
    total.right += part.right;
  }
  return total;
}

/// Of vectors (n, N), one target for each.
template <class Model, class Scalar, class Loss>
Evaluation evaluate(const Model& model, const Matrix<Scalar>& data, const Matrix<Scalar>& targets,
                    const EvaluationOptions& options, const Loss& loss) {
  return evaluate(model, vectors(data), vectors(targets), options, loss);
}

/// The cross-entropy of labels, one for every token.
template <class Model>
Evaluation evaluate(const Model& model, Tokens data, Tokens labels, const EvaluationOptions& options = {}) {
  return evaluate(model, data, labels, options, CrossEntropy{});
}

/// The cross-entropy of predicting every token of a text but the first from those before it. Throws std::invalid_argument
/// when there are fewer than 2 tokens.
template <class Model>
Evaluation evaluate(const Model& model, Tokens text, const EvaluationOptions& options = {}) {
  check(text.size() >= 2, "evaluation needs at least 2 tokens, found {}", text.size());
  return evaluate(model, text.first(text.size() - 1), text.subspan(1), options, CrossEntropy{});
}

}  // namespace fbt
