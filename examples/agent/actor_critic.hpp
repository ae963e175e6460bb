// Advantage actor-critic: of every step the model gives logits of the actions and, in the last row of its outputs, a value v:
// the discounted sum of rewards that it expects. A segment of T steps of B lanes has, step after step (T*B),
//   delta_t = r_t + gamma v_{t+1} - v_t                          v of what comes after an episode is 0
//   A_t = delta_t + gamma lambda A_{t+1}                         the advantage of what was done (generalised advantage
//                                                                estimation, Schulman et al., 2016), 0 after an episode
//   loss = mean of -A_t log p(a_t) - entropy H(p) + value / 2 (v_t - R_t)^2        R_t = A_t + v_t, a constant like A_t
#pragma once

#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

namespace example::agent {

struct ActorCriticOptions {
  double discount = 0.99;  ///< gamma
  double trace = 0.95;     ///< lambda
  double value = 0.5;      ///< weight of the value's loss
};

/// What was done in a segment, and what came of it; lanes of step 0 first.
struct Experience {
  std::vector<fbt::Index> actions;  ///< (T*B)
  std::vector<double> rewards;      ///< (T*B)
  std::vector<std::uint8_t> ended;  ///< (T*B): not 0 where the episode ended with this step
};

/// Advantages (T*B) of values ((T+1)*B): the last are those of what is seen after the segment.
inline std::vector<double> advantages(const Experience& e, const std::vector<double>& values, fbt::Index lanes,
                                      const ActorCriticOptions& options) {
  const auto B = static_cast<std::size_t>(lanes), count = e.rewards.size();
  std::vector<double> result(count);
  for (std::size_t i = count; i-- > 0;) {
    const double goes_on = e.ended[i] ? 0 : 1;
    const double later = i + B < count ? result[i + B] : 0;
    const double delta = e.rewards[i] + options.discount * goes_on * values[i + B] - values[i];
    result[i] = delta + options.discount * options.trace * goes_on * later;
  }
  return result;
}

/// Means over a segment.
struct ActorCriticLoss {
  double entropy = 0;  ///< of the actions' probabilities, in nats
  double value = 0;    ///< squared error of the values
};

/// Of outputs (actions + 1, (T+1)*B). doutputs becomes the gradient of the loss; it is 0 in the last step, which only tells
/// what comes after the segment.
inline ActorCriticLoss actor_critic(const fbt::Matrix<float>& outputs, const Experience& e, fbt::Index lanes,
                                    const ActorCriticOptions& options, double entropy_weight, fbt::Matrix<float>& doutputs) {
  const fbt::Index rows = outputs.rows() - 1;
  const std::size_t count = e.actions.size();
  std::vector<double> values(count + static_cast<std::size_t>(lanes));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = outputs(rows, static_cast<fbt::Index>(i));
  const std::vector<double> advantage = advantages(e, values, lanes, options);

  doutputs.setZero(outputs.rows(), outputs.cols());
  const double share = 1 / static_cast<double>(count);
  ActorCriticLoss loss;
  for (std::size_t i = 0; i < count; ++i) {
    const auto column = static_cast<fbt::Index>(i);
    const fbt::Vector<double> z = outputs.col(column).head(rows).cast<double>();
    const double largest = z.maxCoeff();
    const fbt::Vector<double> log_p = z.array() - largest - std::log((z.array() - largest).exp().sum());
    const fbt::Vector<double> p = log_p.array().exp();
    const double entropy = -p.dot(log_p);
    loss.entropy += share * entropy;
    loss.value += share * advantage[i] * advantage[i];
    // -A log p(a)  =>  dz = A (p - [a]);   -H(p) = sum_j p_j log p_j  =>  dz = p (log p + H)
    fbt::Vector<double> dz = advantage[i] * p.array() + entropy_weight * p.array() * (log_p.array() + entropy);
    dz(e.actions[i]) -= advantage[i];
    doutputs.col(column).head(rows) = (share * dz).cast<float>();
    doutputs(rows, column) = static_cast<float>(-share * options.value * advantage[i]);  // v - R = -A
  }
  return loss;
}

/// Draws an action with the probabilities softmax(logits).
template <class Logits>
fbt::Index draw_action(const Logits& logits, fbt::Random& random) {
  const auto largest = logits.maxCoeff();
  const double total = (logits.array() - largest).exp().sum();
  double left = random.uniform() * total;
  fbt::Index action = 0;
  for (; action + 1 < logits.size(); ++action) {
    left -= std::exp(logits(action) - largest);
    if (left < 0) break;
  }
  return action;
}

/// The action of the largest logit.
template <class Logits>
fbt::Index best_action(const Logits& logits) {
  fbt::Index best;
  logits.maxCoeff(&best);
  return best;
}

}  // namespace example::agent
