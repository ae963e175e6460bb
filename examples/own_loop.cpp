// A training loop of one's own, without fbt::Trainer: a loss of one's own, gradients accumulated over several segments,
// parameters that are frozen by name, and an early stop. Everything that a Trainer does is a few public calls.
#include "support/run.hpp"

#include <fbt/fbt.hpp>

#include <cmath>
#include <vector>

using Model = fbt::FeedbackTransformer<float>;

/// Cross-entropy with label smoothing (Szegedy et al., 2016): the target is 1 - s for the label, and s shared by all
/// classes. Returns the sum over columns; dlogits becomes scale * d sum / dlogits.
double smoothed_cross_entropy(const fbt::Matrix<float>& logits, fbt::Tokens labels, float smoothing, float scale,
                              fbt::Matrix<float>& dlogits) {
  const auto classes = static_cast<float>(logits.rows());
  double sum = 0;
  dlogits.resize(logits.rows(), logits.cols());
  for (fbt::Index i = 0; i < logits.cols(); ++i) {
    const fbt::Index label = labels[static_cast<std::size_t>(i)];
    const auto z = logits.col(i).array() - logits.col(i).maxCoeff();
    const float log_total = std::log(z.exp().sum());
    // loss = -sum_j q_j log p_j,  q_j = s / V + (1 - s) [j = label]   =>   dz = p - q
    sum -= static_cast<double>((1 - smoothing) * (z(label) - log_total) + smoothing / classes * (z - log_total).sum());
    dlogits.col(i) = scale * ((z - log_total).exp() - smoothing / classes);
    dlogits(label, i) -= scale * (1 - smoothing);
  }
  return sum;
}

int run() {
  // The data: a sum modulo 7 of the last two digits, a rule that a held-out stream shows, too.
  constexpr fbt::Index vocabulary = 7, lanes = 8, steps = 24, segments_per_update = 2;
  fbt::Random random(1);
  const auto stream = [&](fbt::Index length) {
    std::vector<fbt::Token> tokens{static_cast<fbt::Token>(random.below(vocabulary)), 1};
    while (static_cast<fbt::Index>(tokens.size()) < length) {
      const auto n = tokens.size();
      tokens.push_back(random.below(10) == 0 ? static_cast<fbt::Token>(random.below(vocabulary))
                                             : (tokens[n - 1] + tokens[n - 2]) % static_cast<fbt::Token>(vocabulary));
    }
    return tokens;
  };
  const auto training = stream(20'000), validation = stream(2'000);
  Model model({.vocabulary = vocabulary, .width = 32, .layers = 2, .heads = 2, .window = 8}, random);

  // Embeddings are frozen, the norms learn at half the rate; the first pattern that a name fits counts.
  fbt::Adam adam(model, {.groups = {{.pattern = "embedding.*", .frozen = true}, {.pattern = "*norm*", .rate = 0.5}}});
  fbt::Batches batches(training, {.lanes = lanes, .segment = steps});
  Model::Memory memory = model.make_memory(lanes);
  Model::Trace trace;
  Model grad = fbt::zeros_like(model), best = model;
  fbt::Matrix<float> dlogits;
  double best_loss = INFINITY;
  int since_best = 0;
  for (int update = 0; since_best < 4 && update < 2000; ++update) {
    fbt::set_zero(grad);
    for (fbt::Index i = 0; i < segments_per_update; ++i) {  // gradients add up
      if (batches.starts_afresh()) memory.clear();
      batches.next();
      const fbt::Segment segment{.steps = steps, .lanes = lanes, .train = true};
      const auto& logits = model.forward(batches.values(), segment, memory, trace);
      const float scale = 1.0f / static_cast<float>(segment.columns() * segments_per_update);
      smoothed_cross_entropy(logits, batches.targets(), 0.05f, scale, dlogits);
      model.backward(dlogits, memory, trace, grad);
    }
    adam.drop_frozen(grad);  // so that they have no part in the norm
    const double norm = std::sqrt(fbt::squared_norm(grad));
    adam.update(model, grad, 3e-3, fbt::clip_scale(norm, 1.0));

    if (update % 25 != 0) continue;
    const auto result = fbt::evaluate(model, validation);
    fmt::print("update {:4}  validation {:.4f} nats, {:4.1f}% right\n", update, result.mean(), 100 * result.accuracy());
    ++since_best;
    if (result.mean() < best_loss - 1e-3) {
      best_loss = result.mean();
      best = model;
      since_best = 0;
    }
  }
  // 9 of 10 digits follow the rule, and of the others every seventh by chance
  const double accuracy = fbt::evaluate(best, validation).accuracy();
  fmt::print("the best model is right in {:.1f}% of the digits\n", 100 * accuracy);
  return accuracy > 0.88 ? 0 : 1;
}

int main() { return example::run(run); }
