// The Feedback Transformer once more, as plainly as it can be written: one sequence, one vector at a time, no Trace, no
// packed weights, no window arithmetic. Reads the parameters of a FeedbackTransformer and shares nothing else with it.
#pragma once

#include "fbt/models/sequence_model.hpp"

#include <cmath>
#include <vector>

namespace fbt {

template <class Scalar>
class ReferenceModel {
 public:
  using V = Vector<Scalar>;

  explicit ReferenceModel(const FeedbackTransformer<Scalar>& parameters) : p_(parameters), c_(parameters.config()) {
    keys_.resize(p_.core.aggregator.key_values.size());
    values_.resize(p_.core.aggregator.key_values.size());
    if (c_.empty_memory == EmptyMemory::zero_slots)
      for (Index i = 0; i < c_.window; ++i)
        remember(std::vector<V>(p_.core.aggregator.key_values.size(), V::Zero(c_.width)));
  }

  /// The logits after one more token.
  V step(Token token) {
    std::vector<V> h{p_.input.embedding.weight.row(token).transpose()};
    for (std::size_t l = 0; l < p_.core.blocks.size(); ++l) h.push_back(layer(l, h.back()));

    std::vector<V> vectors;
    for (std::size_t i = 0; i < p_.core.aggregator.key_values.size(); ++i) vectors.push_back(memory_vector(h, i));
    remember(vectors);
    V logits = linear(p_.head.linear, c_.pre_norm ? norm(p_.head.norm, h.back()) : h.back());
    if (c_.log_probabilities) logits.array() -= std::log(logits.array().exp().sum());
    return logits;
  }

 private:
  static V linear(const Linear<Scalar>& parameters, const V& x) {
    V y = parameters.weight * x;
    if (parameters.bias.size() > 0) y += parameters.bias;
    return y;
  }

  V norm(const LayerNorm<Scalar>& parameters, const V& x) const { return norm(parameters, x, c_.norm_epsilon); }
  V norm(const LayerNorm<Scalar>& parameters, const V& x, double epsilon) const {
    const auto n = static_cast<Scalar>(x.size());
    Scalar mean = 0, variance = 0;
    for (Scalar value : x) mean += value / n;
    for (Scalar value : x) variance += (value - mean) * (value - mean) / n;
    V y = x;
    for (Index i = 0; i < x.size(); ++i) {
      y(i) = (x(i) - mean) / std::sqrt(variance + static_cast<Scalar>(epsilon));
      y(i) = parameters.weight(i) * y(i) + parameters.bias(i);
    }
    return y;
  }

  V feed_forward(const FeedForward<Scalar>& parameters, const V& x) const {
    const V a = linear(parameters.first, x);
    V hidden(c_.feed_forward);
    const auto bell = [](Scalar v) { return v * (1 + std::erf(v / std::sqrt(Scalar(2)))) / 2; };
    for (Index i = 0; i < hidden.size(); ++i) {
      if (c_.activation == Activation::relu) hidden(i) = a(i) > 0 ? a(i) : 0;
      if (c_.activation == Activation::gelu) hidden(i) = bell(a(i));
      if (c_.activation == Activation::geglu) hidden(i) = a(i) * bell(a(i + c_.feed_forward));
    }
    return linear(parameters.second, hidden);
  }

  V attention(std::size_t l, const V& x) const {
    const auto& parameters = p_.core.blocks[l].attention;
    const std::size_t r = c_.share_key_value ? 0 : l;
    const Index e = c_.head_columns(), past = static_cast<Index>(keys_[r].size());
    const auto& position = p_.core.positions[c_.position == PositionTerm::per_head ? l : 0];
    const V q = linear(parameters.query, x);
    V out = V::Zero(q.size());
    for (Index j = 0; j < c_.heads; ++j) {
      Scalar total = 0;
      V sum = V::Zero(e);
      for (Index age = 1; age <= c_.window && age <= past; ++age) {
        const auto slot = static_cast<std::size_t>(past - age);
        const V key = keys_[r][slot].segment(j * e, e), q_j = q.segment(j * e, e);
        const Index row = c_.window - age;
        Scalar score = q_j.dot(key);
        if (c_.position == PositionTerm::relative_key) score += q_j.dot(position.weight.row(row));
        if (c_.position == PositionTerm::per_head)
          score += q_j.dot(position.weight.row(row).segment(j * e, e)) + position.bias(j * c_.window + row) +
                   position.query_bias.segment(j * e, e).dot(key);
        score /= std::sqrt(static_cast<Scalar>(e));
        if (c_.position == PositionTerm::buckets) score += position.weight(age, j);  // ages below 16 are their own buckets
        const Scalar weight = std::exp(score);
        total += weight;
        sum += weight * values_[r][slot].segment(j * e, e);
      }
      out.segment(j * e, e) = sum / total;
    }
    return linear(parameters.output, out);
  }

  V layer(std::size_t l, const V& x) const {
    const auto& b = p_.core.blocks[l];
    const bool attends = !keys_[0].empty();
    if (c_.pre_norm) {
      const bool tied = c_.memory_norm == MemoryNorm::block;
      const auto& norm1 = tied ? *p_.core.aggregator.key_values[c_.share_key_value ? 0 : l].norm : b.norm1;
      const V g = attends ? V(x + attention(l, norm(norm1, x))) : x;
      return g + feed_forward(b.feed_forward, norm(b.norm2, g));
    }
    const V g = norm(b.norm1, attends ? V(x + attention(l, x)) : x);
    return norm(b.norm2, g + feed_forward(b.feed_forward, g));
  }

  /// What reader i remembers of a step with the layer outputs h.
  V memory_vector(const std::vector<V>& h, std::size_t i) const {
    V m = V::Zero(c_.width);
    Scalar total = 0;
    switch (c_.memory_rule) {
      case MemoryRule::feedback:
        for (std::size_t l = 0; l < h.size(); ++l) {
          const Scalar weight = std::exp(p_.core.aggregator.mix.weight(static_cast<Index>(l)));
          m += weight * h[l];
          total += weight;
        }
        return m / total;
      case MemoryRule::average:
        for (const V& layer : h) m += layer / static_cast<Scalar>(h.size());
        return m;
      case MemoryRule::top_only: return h.back();
      case MemoryRule::layer: return h[static_cast<std::size_t>(c_.memory_layer)];
      case MemoryRule::recurrent: return h[i + 1];
      case MemoryRule::transformer: return h[i];
    }
    return m;
  }

  void remember(const std::vector<V>& vectors) {
    for (std::size_t i = 0; i < p_.core.aggregator.key_values.size(); ++i) {
      const auto& kv = p_.core.aggregator.key_values[i];
      V n = vectors[i];
      if (c_.memory_norm != MemoryNorm::none)
        n = norm(*kv.norm, n, c_.memory_norm == MemoryNorm::soft ? 4 : c_.norm_epsilon);
      keys_[i].push_back(linear(kv.key, n));
      values_[i].push_back(linear(kv.value, n));
    }
  }

  const FeedbackTransformer<Scalar>& p_;
  const Config c_;
  std::vector<std::vector<V>> keys_, values_;  // of all past steps, for each key and value projection
};

}  // namespace fbt
