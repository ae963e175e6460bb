// Learner: acts in its lanes for a segment, and learns from it. While it acts, the model is stepped; then it reads the
// segment once more, from the memory that it began with, and goes back through it.
#pragma once

#include "agent/actor_critic.hpp"
#include "agent/lanes.hpp"

#include "fbt/core/segment.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/training/adam.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace example::agent {

/// Lets a stepper forget the lanes that begin an episode.
template <class Stepper>
void forget(Stepper& stepper, std::span<const std::uint8_t> starts) {
  for (std::size_t b = 0; b < starts.size(); ++b)
    if (starts[b]) stepper.memory.clear(static_cast<fbt::Index>(b));
}

struct LearnerOptions {
  fbt::Index segment = 32;  ///< T, steps between two updates
  bool remembers = true;    ///< else every step begins with an empty memory
  double clip = 1;          ///< largest norm of the gradient; 0: no limit
  ActorCriticOptions actor_critic = {};
};

/// Model: of vectors, with actions + 1 outputs.
template <class Model>
class Learner {
 public:
  Learner(Model& model, Lanes& lanes, const LearnerOptions& options)
      : model_(model),
        lanes_(lanes),
        options_(options),
        adam_(model),
        stepper_(model.start(lanes.count())),
        memory_(stepper_.memory),
        grad_(fbt::zeros_like(model)) {
    const fbt::Index T = options.segment, B = lanes.count();
    fbt::check(T >= 1 && T <= 100'000, "segment must be from 1 to 100000, found {}", T);
    const auto columns = static_cast<std::size_t>(T * B);
    seen_.resize(lanes.seen().rows(), (T + 1) * B);
    acted_.resize(model.head.outputs(), T * B);
    starts_.resize(columns + static_cast<std::size_t>(B));
    experience_.actions.resize(columns);
    experience_.rewards.resize(columns);
    experience_.ended.resize(columns);
  }

  /// Throws std::runtime_error when the gradient is not finite.
  ActorCriticLoss update(double rate, double entropy_weight) {
    act();
    const fbt::Matrix<float>& outputs = read();
    const ActorCriticLoss loss =
        actor_critic(outputs, experience_, lanes_.count(), options_.actor_critic, entropy_weight, doutputs_);
    fbt::set_zero(grad_);
    model_.backward(doutputs_, memory_, trace_, grad_);
    const double norm = std::sqrt(fbt::squared_norm(grad_));
    fbt::ensure(std::isfinite(norm), "update {}: the gradient is not finite; a smaller learning rate may help",
                adam_.updates + 1);
    adam_.update(model_, grad_, rate, fbt::clip_scale(norm, options_.clip));
    model_.refresh(stepper_);
    return loss;
  }

  /// The two halves of an update, apart.
  /// Acts for a segment; acted() are the outputs (actions + 1, T*B) that it did so by.
  void act() {
    const fbt::Index T = options_.segment, B = lanes_.count();
    memory_ = stepper_.memory;
    for (fbt::Index t = 0; t < T; ++t) {
      look(t);
      forget(stepper_, starts_at(t));
      const fbt::Matrix<float>& outputs = model_.step(fbt::step_columns(seen_, t, B), stepper_);
      fbt::step_columns(acted_, t, B) = outputs;
      for (fbt::Index b = 0; b < B; ++b) {
        const auto i = static_cast<std::size_t>(t * B + b);
        experience_.actions[i] = draw_action(outputs.col(b).head(outputs.rows() - 1), lanes_.random(b));
        const Outcome outcome = lanes_.act(b, experience_.actions[i]);
        experience_.rewards[i] = outcome.reward;
        experience_.ended[i] = outcome.ended;
      }
    }
    look(T);
  }
  const fbt::Matrix<float>& acted() const { return acted_; }

  /// Reads what was seen in the segment and after it. Returns the outputs (actions + 1, (T+1)*B).
  const fbt::Matrix<float>& read() {
    fbt::Segment segment{options_.segment + 1, lanes_.count(), true};
    segment.starts = starts_;
    return model_.forward(seen_, segment, memory_, trace_);
  }

  std::int64_t updates() const { return adam_.updates; }

 private:
  std::span<std::uint8_t> starts_at(fbt::Index t) {
    const auto B = static_cast<std::size_t>(lanes_.count());
    return std::span(starts_).subspan(static_cast<std::size_t>(t) * B, B);
  }

  void look(fbt::Index t) {
    fbt::step_columns(seen_, t, lanes_.count()) = lanes_.seen();
    if (options_.remembers) {
      std::ranges::copy(lanes_.starts(), starts_at(t).begin());
    } else {
      std::ranges::fill(starts_at(t), std::uint8_t{1});
    }
  }

  Model& model_;
  Lanes& lanes_;
  LearnerOptions options_;
  fbt::Adam<Model> adam_;
  typename Model::Stepper stepper_;
  typename Model::Memory memory_;  // that the segment begins with; read() goes on with it
  typename Model::Trace trace_;
  Model grad_;
  fbt::Matrix<float> seen_, acted_, doutputs_;  // (inputs, (T+1)*B), (actions + 1, T*B), (actions + 1, (T+1)*B)
  std::vector<std::uint8_t> starts_;            // ((T+1)*B)
  Experience experience_;
};

}  // namespace example::agent
