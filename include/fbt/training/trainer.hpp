// Trainer: truncated backpropagation through time with carried memory, over lanes that are split into shards.
//
// A shard is a fixed group of lanes with its own state and gradient. Threads take whole shards; the shards' gradients are added
// in shard order. Where there are more threads than shards, a team of them shares the work of every step of a shard. So the result
// is the same to the last bit with any number of threads.
// Works for any SequenceModel.
#pragma once

#include "fbt/core/parallel.hpp"
#include "fbt/core/segment.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/batches.hpp"
#include "fbt/training/cross_entropy.hpp"
#include "fbt/training/schedule.hpp"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

namespace fbt {

struct TrainerOptions {
  Index lanes = 32;    ///< B, sequences read side by side
  Index segment = 64;  ///< T, steps between updates
  /// Groups of lanes; part of the result, unlike threads. As many as threads need no waiting for one another; fewer make a better
  /// use of the caches, since more lanes share the reading of the weights and each thread reads only its part of them.
  Index shards = 2;
  Index threads = 1;
  Schedule schedule;
  AdamOptions adam;
  /// Share of the training, from its start, in which every segment begins with an empty memory. Few slots to choose from are
  /// an easier lesson: with carried memory from the first update on, the loss stays on its first plateau far longer.
  double fresh = 0.5;
  /// A curriculum: segments begin with so many steps, and are doubled at equal distances in the first part of the training until
  /// they have T steps. 0: none.
  Index first_segment = 0;
  double growing = 0.5;  ///< that part, a share of the training
  double clip = 1;       ///< largest norm of the gradient; 0: none
  /// Part of what is minimised, per step of the heads' mean span, where spans are learned (Config::span_ramp). The reported loss is
  /// without it; the gradient that is clipped is not.
  double span_penalty = 0;
  std::uint64_t seed = 1;

  void validate() const {
    check(lanes >= 1, "lanes must be at least 1, found {}", lanes);
    check(segment >= 1, "the segment must be at least 1 token, found {}", segment);
    check(shards >= 1 && shards <= lanes, "shards must be between 1 and the {} lanes, found {}", lanes, shards);
    check(threads >= 1 && threads <= 1024, "threads must be between 1 and 1024, found {}", threads);
    check(fresh >= 0 && fresh <= 1, "fresh must be from 0 to 1, found {}", fresh);
    check(first_segment >= 0 && first_segment <= segment,
          "the first segment must be between 1 and the {} steps of the others, or 0 for no curriculum, found {}", segment,
          first_segment);
    check(growing >= 0 && growing <= 1, "growing must be from 0 to 1, found {}", growing);
    check(span_penalty >= 0, "the span penalty must be at least 0, found {}", span_penalty);
    check(clip >= 0, "clip must be at least 0, found {}", clip);
    schedule.validate();
    adam.validate();
  }

  /// Steps of a segment when the given share of the training is done.
  Index segment_at(double progress) const {
    if (first_segment == 0 || progress >= growing) return segment;
    int doublings = 0;
    while (first_segment << doublings < segment) ++doublings;
    return std::min(segment, first_segment << static_cast<int>(progress / growing * doublings));
  }
};

template <class Model>
class Trainer {
 public:
  using Scalar = typename Model::Scalar;

  struct Report {
    double loss = 0;           ///< nats per scored token, before the update
    Index tokens = 0;          ///< that were read
    double gradient_norm = 0;  ///< before clipping
    double learning_rate = 0;
  };

  /// The model and the data are the caller's and must outlive the trainer. Throws std::invalid_argument when an option is out of
  /// range, the data is too short, or a token is outside the model's vocabulary.
  Trainer(Model& model, Tokens data, const TrainerOptions& options)
      : Trainer(model, (options.validate(), Batches(data, options.lanes, options.segment, options.seed)), options) {}

  /// Learns labels, one per token, of which negative ones are not scored, instead of the tokens that follow.
  Trainer(Model& model, Tokens data, Tokens labels, Segments segments, const TrainerOptions& options)
      : Trainer(model, (options.validate(), Batches(data, labels, options.lanes, options.segment, options.seed, segments)),
                options) {}

  /// Data that dies at the end of the call, labelled or not.
  template <class... Rest>
  Trainer(Model&, std::vector<Token>&&, Rest&&...) = delete;

  /// Reads one segment and updates the model. progress in [0, 1] is the share of the whole training that is done.
  /// Throws std::runtime_error when loss or gradient is not finite; the model is then as it was before, the segment is passed
  /// over, and nothing is remembered of it. Throws std::invalid_argument for any other progress.
  Report update(double progress) {
    check(progress >= 0 && progress <= 1, "update: progress must be from 0 to 1, found {}", progress);
    try {
      return read_and_update(progress);
    } catch (...) {
      for (Shard& shard : shards_) shard.memory.clear();
      throw;
    }
  }

  const TrainerOptions& options() const { return options_; }
  Model& model() { return model_; }
  const Model& model() const { return model_; }
  /// What a checkpoint of the training keeps besides the model: moments and counter, place in the data, carried memories.
  Adam<Model>& adam() { return adam_; }
  const Adam<Model>& adam() const { return adam_; }
  Batches& batches() { return batches_; }
  const Batches& batches() const { return batches_; }
  auto& memory(Index shard) { return shards_[static_cast<std::size_t>(shard)].memory; }
  const auto& memory(Index shard) const { return shards_[static_cast<std::size_t>(shard)].memory; }

 private:
  Trainer(Model& model, Batches batches, const TrainerOptions& options)
      : model_(model), options_(options), batches_(std::move(batches)), adam_(model, options.adam) {
    check(options.first_segment == 0 || batches_.segments() == Segments::carried,
          "a first segment of {} steps: independent segments all have their full length", options.first_segment);
    const auto vocabulary = model.config().vocabulary;
    for (const Token token : batches_.data())
      check(token >= 0 && token < vocabulary, "the data has token {}: expected 0 to {}", token, vocabulary - 1);
    for (const Token label : batches_.labels())
      check(label < vocabulary, "the data has label {}: expected at most {}", label, vocabulary - 1);
    const Model zeros = zeros_like(model);
    for (Index s = 0; s < options.shards; ++s) {
      const Index first = options.lanes * s / options.shards, end = options.lanes * (s + 1) / options.shards;
      auto team = options.threads / options.shards > 1 ? std::make_unique<Team>(options.threads / options.shards) : nullptr;
      shards_.push_back({first, end - first, model.make_memory(end - first), {}, zeros, {}, {}, {}, std::move(team)});
    }
  }

  struct Shard {
    Index first_lane, lanes;
    typename Model::Memory memory;
    typename Model::Trace trace;
    Model grad;
    std::vector<Token> tokens, targets;
    Matrix<Scalar> dlogits;
    std::unique_ptr<Team> team;
    CrossEntropy loss = {};
  };

  Report read_and_update(double progress) {
    const Index steps = options_.segment_at(progress);
    const bool fresh = batches_.starts_afresh(steps) || progress < options_.fresh;
    batches_.next(steps);
    Index scored = 0;
    for (const Token target : batches_.targets()) scored += target >= 0;
    const auto scale = static_cast<Scalar>(1 / static_cast<double>(std::max<Index>(scored, 1)));
    parallel_for(options_.shards, options_.threads, [&](Index s) {
      Shard& shard = shards_[static_cast<std::size_t>(s)];
      if (fresh) shard.memory.clear();
      take(shard, steps);
      const Segment segment{
          steps, shard.lanes, true,
          mix_seed(mix_seed(options_.seed, static_cast<std::uint64_t>(adam_.updates)), static_cast<std::uint64_t>(s)),
          shard.team.get()};
      const Matrix<Scalar>& logits = model_.forward(shard.tokens, segment, shard.memory, shard.trace);
      shard.dlogits.resize(logits.rows(), logits.cols());
      shard.loss = cross_entropy<Scalar>(logits, shard.targets, scale, shard.dlogits);
      set_zero(shard.grad);
      model_.backward(shard.dlogits, shard.memory, shard.trace, shard.grad);
    });

    CrossEntropy loss;
    for (std::size_t s = 0; s < shards_.size(); ++s) {
      loss += shards_[s].loss;
      if (s > 0) add(shards_[0].grad, shards_[s].grad);
    }
    if constexpr (requires { model_.core.add_span_penalty(0.0, model_.core); })
      model_.core.add_span_penalty(options_.span_penalty, shards_[0].grad.core);
    const Index number = static_cast<Index>(adam_.updates);
    Report report{loss.count > 0 ? loss.mean() : 0, steps * options_.lanes, std::sqrt(squared_norm(shards_[0].grad)),
                  options_.schedule.rate(number, progress)};
    constexpr std::string_view advice =
        "the model was left as it was before this update; try a smaller learning rate, a longer warm-up or a smaller clip";
    ensure(std::isfinite(report.loss), "update {}: expected a finite loss, found {} (learning rate {:.3g}); {}", number + 1,
           report.loss, report.learning_rate, advice);
    ensure(std::isfinite(report.gradient_norm),
           "update {}: expected a finite gradient norm, found {} (learning rate {:.3g}); {}", number + 1,
           report.gradient_norm, report.learning_rate, advice);
    adam_.update(model_, shards_[0].grad, report.learning_rate, clip_scale(report.gradient_norm, options_.clip));
    if constexpr (requires { model_.core.clamp_spans(); }) model_.core.clamp_spans();
    return report;
  }

  /// Copies the shard's lanes of the segment.
  void take(Shard& shard, Index steps) const {
    shard.tokens.resize(static_cast<std::size_t>(shard.lanes * steps));
    shard.targets.resize(shard.tokens.size());
    for (Index t = 0; t < steps; ++t) {
      const Index from = t * options_.lanes + shard.first_lane, to = t * shard.lanes;
      std::copy_n(batches_.tokens().begin() + from, shard.lanes, shard.tokens.begin() + to);
      std::copy_n(batches_.targets().begin() + from, shard.lanes, shard.targets.begin() + to);
    }
  }

  Model& model_;
  TrainerOptions options_;
  Batches batches_;
  Adam<Model> adam_;
  std::vector<Shard> shards_;
};

/// The loss of predicting every token of a text but the first from those before it, with the memory carried from end to end.
/// The text is read as up to B lanes side by side; every lane but the first reads `context` tokens unscored before its part, so
/// that none is scored with a shorter memory than in one long run, if context is the window or more. The result does not
/// depend on the number of threads. Throws std::invalid_argument when there are fewer than 2 tokens.
template <class Model>
CrossEntropy evaluate(const Model& model, Tokens text, Index lanes, Index context, Index threads) {
  check(text.size() >= 2, "evaluation needs at least 2 tokens, found {}", text.size());
  check(lanes >= 1 && threads >= 1 && context >= 0,
        "evaluation needs at least 1 lane, 1 thread and a context of 0, found {}, {} and {}", lanes, threads, context);
  const Index predictions = static_cast<Index>(text.size()) - 1;
  context = std::min(context, predictions);
  lanes = std::clamp<Index>(predictions / std::max<Index>(context, 1), 1, lanes);
  const Index length =
      std::max<Index>(0, (predictions - context + lanes - 1) / lanes);  // lane b is scored on its last `length`
  constexpr Index lanes_per_shard = 16;
  const Index shards = (lanes + lanes_per_shard - 1) / lanes_per_shard;
  std::vector<CrossEntropy> losses(static_cast<std::size_t>(shards));
  parallel_for(shards, threads, [&](Index s) {
    const Index first = lanes * s / shards, count = lanes * (s + 1) / shards - first;
    auto state = model.start(count);
    std::vector<Token> tokens(static_cast<std::size_t>(count)), targets(tokens.size());
    for (Index t = 0; t < context + length; ++t) {
      for (Index b = 0; b < count; ++b) {
        const auto at = static_cast<std::size_t>((first + b) * length + t);
        const bool inside = at + 1 < text.size();
        const bool scored = inside && (t >= context || first + b == 0);
        tokens[static_cast<std::size_t>(b)] = inside ? text[at] : 0;
        targets[static_cast<std::size_t>(b)] = scored ? text[at + 1] : -1;
      }
      losses[static_cast<std::size_t>(s)] += cross_entropy(model.step(tokens, state), targets);
    }
  });
  CrossEntropy total;
  for (const auto& loss : losses) total += loss;
  return total;
}

}  // namespace fbt
