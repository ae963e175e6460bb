// Trainer: truncated backpropagation through time with carried memory, over lanes that are split into shards.
//
// A shard is a fixed group of lanes with its own memory, trace and gradient. Threads take whole shards; the shards'
// gradients are added in shard order. Where there are more threads than shards, a team of them shares the work of every step
// of a shard. So the result is the same to the last bit with any number of threads.
// Model, loss, optimiser and learning rate are given from outside; works for any SequenceModel.
//
// When the loss stands still. Tasks that need something to be found again (names, variables, brackets) have a plateau, on
// which a model knows what kind of answer is wanted but not which. What ended it in the paper's tasks (bench/tasks.md),
// alone or together:
//   - initialize_mimetic(model, 3) before the first update: attention begins with earlier tokens like the present one;
//   - short sequences first: TrainerOptions::first_segment, fresh memories (`fresh`), a shorter window, easier data;
//   - a Transformer first (MemoryRule::transformer with share_key_value false): it reads a segment layer by layer and finds
//     such patterns sooner; core.set_memory_rule(MemoryRule::feedback) then turns it into a feedback model, with an
//     optimiser made anew.
#pragma once

#include "fbt/core/parallel.hpp"
#include "fbt/core/processors.hpp"
#include "fbt/core/segment.hpp"
#include "fbt/layers/compact_weights.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/batches.hpp"
#include "fbt/training/losses.hpp"

#include <cmath>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fbt {

struct TrainerOptions {
  /// Groups of lanes; part of the result, unlike threads. As many as threads need no waiting for one another; fewer make a
  /// better use of the caches, since more lanes share the reading of the weights and each thread reads only its part of
  /// them.
  Index shards = 2;
  Index threads = 1;  ///< at most; no more than there are processors for are started
  /// Segment::recompute, of a model whose core can: less memory for long segments, more time, and the same result.
  bool recompute = false;
  /// Share of the training, from its start, in which every segment begins with an empty memory. Few slots to choose from are
  /// an easier lesson: with carried memory from the first update on, the loss stays on its first plateau far longer.
  double fresh = 0.5;
  /// A curriculum: segments begin with so many steps, and are doubled at equal distances in the first part of the training
  /// until they have T steps. Of independent segments these are the first ones. 0: none.
  Index first_segment = 0;
  double growing = 0.5;  ///< that part, a share of the training
  double clip = 1;       ///< largest norm of the gradient; 0: none
  /// Part of what is minimised, per step of the heads' mean span, where spans are learned (Config::span_ramp). The reported
  /// loss is without it; the gradient that is clipped is not.
  double span_penalty = 0;

  /// For batches of so many lanes and steps.
  void validate(Index lanes, Index segment) const {
    check(shards >= 1 && shards <= lanes, "shards must be between 1 and the {} lanes, found {}", lanes, shards);
    check(threads >= 1 && threads <= 1024, "threads must be between 1 and 1024, found {}", threads);
    check(fresh >= 0 && fresh <= 1, "fresh must be from 0 to 1, found {}", fresh);
    check(first_segment >= 0 && first_segment <= segment,
          "the first segment must be between 1 and the {} steps of the others, or 0 for no curriculum, found {}", segment,
          first_segment);
    check(growing >= 0 && growing <= 1, "growing must be from 0 to 1, found {}", growing);
    check(span_penalty >= 0, "the span penalty must be at least 0, found {}", span_penalty);
    check(clip >= 0, "clip must be at least 0, found {}", clip);
  }

  /// The first lane of a shard, of so many lanes; they end where the next shard's begin.
  Index first_lane(Index shard, Index lanes) const { return lanes * shard / shards; }

  /// Steps of a segment, T at the end, when the given share of the training is done.
  Index segment_at(double progress, Index segment) const {
    if (first_segment == 0 || progress >= growing) return segment;
    int doublings = 0;
    while (first_segment << doublings < segment) ++doublings;
    return std::min(segment, first_segment << static_cast<int>(progress / growing * doublings));
  }
};

/// Adds the gradients of shards to the first of them, in their order, and returns the sum of their losses.
template <class Model>
LossSum sum_shards(std::span<Model* const> gradients, std::span<const LossSum> losses) {
  LossSum loss;
  for (std::size_t s = 0; s < gradients.size(); ++s) {
    loss += losses[s];
    if (s > 0) add(*gradients[0], *gradients[s]);
  }
  return loss;
}

/// How processes train together, each with a Trainer of the same batches and options that reads a part of the shards. What
/// is left out is as with one process.
template <class Model>
struct Reduction {
  Index first_shard = 0, shards = 0;  ///< which of TrainerOptions::shards this process reads; 0: all
  Index of_shards = 0;                ///< how many these are numbered among, which has to be as many; 0: not told
  /// Called once per update: as sum_shards(), over the shards of all processes. The sum may be left out of the parameters
  /// that the optimiser of this process does not update.
  std::function<LossSum(std::span<Model* const> gradients, std::span<const LossSum> losses)> sum = sum_shards<Model>;
  /// Of such a sum, over all parameters.
  std::function<double(const Model& gradient)> squared_norm = fbt::squared_norm<Model>;
};

template <class Model, class Loss = CrossEntropy, class Optimizer = Adam<Model>, class Data = Batches<>>
class Trainer {
 public:
  using Scalar = typename Model::Scalar;
  using Place = typename Data::Place;

  struct Report {
    double loss = 0;           ///< mean of what was scored (nats per token), before the update
    Index tokens = 0;          ///< steps of all lanes that were read
    double gradient_norm = 0;  ///< before clipping
    double learning_rate = 0;
  };

  /// Model, optimiser and the data of the batches are the caller's and must outlive the trainer. Throws
  /// std::invalid_argument when an option is out of range, a token is outside the model's vocabulary, or the model's weights
  /// are compact.
  Trainer(Model& model, Optimizer& optimizer, Data batches, const TrainerOptions& options, Loss loss = {},
          Reduction<Model> reduction = {});

  /// Reads one segment and updates the model with the learning rate. progress in [0, 1] is the share of the whole training
  /// that is done: it decides on fresh memories and the curriculum. Throws std::runtime_error when loss or gradient is not
  /// finite; the model is then as it was before, the segment is passed over, and nothing is remembered of it. Throws
  /// std::invalid_argument for any other progress.
  Report update(double learning_rate, double progress = 1);

  const TrainerOptions& options() const { return options_; }
  Model& model() { return model_; }
  const Model& model() const { return model_; }
  /// What a checkpoint of the training keeps besides the model: moments and counter, place in the data, carried memories.
  Optimizer& optimizer() { return optimizer_; }
  const Optimizer& optimizer() const { return optimizer_; }
  Data& batches() { return batches_; }
  const Data& batches() const { return batches_; }
  /// shard: one that this process reads, by its number among those of all. Throws std::invalid_argument for any other.
  auto& memory(Index shard) { return shards_[own_shard(shard)].memory; }
  const auto& memory(Index shard) const { return shards_[own_shard(shard)].memory; }

 private:
  struct Shard {
    Index first_lane, lanes;
    typename Model::Memory memory;
    typename Model::Trace trace;
    Model grad;
    typename Data::Part part;
    std::unique_ptr<Team> team;
    Matrix<Scalar> doutputs = {};
  };

  Report read_and_update(double learning_rate, double progress);

  std::size_t own_shard(Index shard) const {
    check(shard >= reduction_.first_shard && shard < reduction_.first_shard + reduction_.shards,
          "memory: expected one of the {} shards from number {} on, found {}", reduction_.shards, reduction_.first_shard,
          shard);
    return static_cast<std::size_t>(shard - reduction_.first_shard);
  }

  Model& model_;
  Optimizer& optimizer_;
  TrainerOptions options_;
  Data batches_;
  Loss loss_;
  Reduction<Model> reduction_;
  std::vector<Shard> shards_;
};

template <class Model, class Loss, class Optimizer, class Data>
Trainer<Model, Loss, Optimizer, Data>::Trainer(Model& model, Optimizer& optimizer, Data batches,
                                               const TrainerOptions& options, Loss loss, Reduction<Model> reduction)
    : model_(model),
      optimizer_(optimizer),
      options_(options),
      batches_(std::move(batches)),
      loss_(std::move(loss)),
      reduction_(std::move(reduction)) {
  const Index lanes = batches_.lanes();
  options.validate(lanes, batches_.segment());
  options_.threads = useful_threads(options.threads);
  batches_.check_model(model);
  const WeightFormat weights = weights_of(model);
  check(weights == WeightFormat::full, "a trainer: expected a model of full weights, found weights of {}", name_of(weights));
  bool learns_spans = false;
  if constexpr (requires { model.core.add_span_penalty(0.0, model.core); }) learns_spans = model.core.config().span_ramp > 0;
  check(options.span_penalty == 0 || learns_spans, "span_penalty: expected 0 for a model without learned spans, found {}",
        options.span_penalty);
  const Model zeros = zeros_like(model);
  if (reduction_.shards == 0) reduction_.shards = options.shards;
  check(
      reduction_.first_shard >= 0 && reduction_.shards >= 1 && reduction_.shards <= options.shards - reduction_.first_shard,
      "reduction: expected some of the {} shards, found {} from number {} on", options.shards, reduction_.shards,
      reduction_.first_shard);
  check(reduction_.of_shards == 0 || reduction_.of_shards == options.shards,
        "reduction: expected as many shards as the trainer's {}, found {}", options.shards, reduction_.of_shards);
  for (Index s = reduction_.first_shard; s < reduction_.first_shard + reduction_.shards; ++s) {
    const Index first = options.first_lane(s, lanes), end = options.first_lane(s + 1, lanes);
    const Index threads = options_.threads / reduction_.shards;
    auto team = threads > 1 ? std::make_unique<Team>(threads) : nullptr;
    shards_.push_back(
        {first, end - first, model.make_memory(end - first), {}, zeros, batches_.part(end - first), std::move(team)});
  }
}

template <class Model, class Loss, class Optimizer, class Data>
auto Trainer<Model, Loss, Optimizer, Data>::update(double learning_rate, double progress) -> Report {
  check(progress >= 0 && progress <= 1, "update: progress must be from 0 to 1, found {}", progress);
  check(learning_rate >= 0 && is_finite(learning_rate), "update: the learning rate must be at least 0, found {}",
        learning_rate);
  try {
    return read_and_update(learning_rate, progress);
  } catch (...) {
    for (Shard& shard : shards_) shard.memory.clear();
    throw;
  }
}

template <class Model, class Loss, class Optimizer, class Data>
auto Trainer<Model, Loss, Optimizer, Data>::read_and_update(double learning_rate, double progress) -> Report {
  const Index wanted = options_.segment_at(progress, batches_.segment());
  const bool fresh = batches_.starts_afresh(wanted) || progress < options_.fresh;
  const Index steps = batches_.next(wanted);
  const Index scored = Loss::count(batches_.targets());
  const auto scale = static_cast<Scalar>(1 / static_cast<double>(std::max<Index>(scored, 1)));
  const auto number = static_cast<std::uint64_t>(optimizer_.updates);
  std::vector<LossSum> losses(shards_.size());
  parallel_for(reduction_.shards, options_.threads, [&](Index s) {
    Shard& shard = shards_[static_cast<std::size_t>(s)];
    if (fresh) shard.memory.clear();
    batches_.copy(shard.first_lane, shard.lanes, shard.part);
    const Segment segment{
        .steps = steps,
        .lanes = shard.lanes,
        .train = true,
        .seed = mix_seed(mix_seed(batches_.seed(), number), static_cast<std::uint64_t>(reduction_.first_shard + s)),
        .team = shard.team.get(),
        .starts = shard.part.starts(),
        .recompute = options_.recompute};
    const Matrix<Scalar>& outputs = model_.forward(shard.part.values(), segment, shard.memory, shard.trace);
    shard.doutputs.resize(outputs.rows(), outputs.cols());
    losses[static_cast<std::size_t>(s)] = loss_(outputs, shard.part.targets(), scale, shard.doutputs);
    set_zero(shard.grad);
    model_.backward(shard.doutputs, shard.memory, shard.trace, shard.grad);
  });

  std::vector<Model*> gradients;
  for (Shard& shard : shards_) gradients.push_back(&shard.grad);
  const LossSum loss = reduction_.sum(gradients, losses);
  Model& grad = *gradients.front();
  if constexpr (requires { model_.core.add_span_penalty(0.0, model_.core); })
    model_.core.add_span_penalty(options_.span_penalty, grad.core);
  optimizer_.drop_frozen(grad);
  Report report{loss.count > 0 ? loss.mean() : 0, steps * batches_.lanes(), std::sqrt(reduction_.squared_norm(grad)),
                learning_rate};
  constexpr std::string_view advice =
      "the model was left as it was before this update; try a smaller learning rate, a longer warm-up or a smaller clip";
  ensure(is_finite(report.loss), "update {}: expected a finite loss, found {} (learning rate {:.3g}); {}", number + 1,
         report.loss, learning_rate, advice);
  ensure(is_finite(report.gradient_norm), "update {}: expected a finite gradient norm, found {} (learning rate {:.3g}); {}",
         number + 1, report.gradient_norm, learning_rate, advice);
  optimizer_.update(model_, grad, learning_rate, clip_scale(report.gradient_norm, options_.clip));
  if constexpr (requires { model_.core.clamp_spans(); }) model_.core.clamp_spans();
  return report;
}

}  // namespace fbt
