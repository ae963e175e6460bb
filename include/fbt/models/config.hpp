// Config: everything that decides the shape and meaning of a FeedbackTransformer's parameters.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"
#include "fbt/core/types.hpp"
#include "fbt/layers/feed_forward.hpp"
#include "fbt/layers/memory_aggregator.hpp"
#include "fbt/layers/position.hpp"

#include <fmt/format.h>

#include <array>
#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace fbt {

struct Config {
  Index vocabulary = 0;    ///< V, number of different tokens that are read; 0 for a model of vectors
  Index inputs = 0;        ///< size of the vectors that are read; 0 for a model of tokens
  Index outputs = 0;       ///< rows of the outputs (classes, actions, sizes of vectors); 0 means the vocabulary
  Index width = 128;       ///< d, size of a layer's output and of a memory vector
  Index layers = 4;        ///< L
  Index heads = 4;         ///< H
  Index head_size = 0;     ///< e; 0 means width / heads
  Index feed_forward = 0;  ///< f, hidden units of the feed-forward part; 0 means 4 * width
  Index window = 64;       ///< S, how many past steps a step may see
  Activation activation = Activation::relu;
  PositionTerm position = PositionTerm::relative_key;
  /// Every head learns how far back it looks, with a ramp of so many steps (layers/adaptive_span.hpp); 0: all see the
  /// window.
  Index span_ramp = 0;
  EmptyMemory empty_memory = EmptyMemory::skip;
  bool pre_norm = true;  ///< LayerNorm before attention and feed-forward and before the head; else after each residual
  MemoryRule memory_rule = MemoryRule::feedback;
  Index memory_layer = 0;       ///< k of MemoryRule::layer, 0 .. L; else 0
  bool share_key_value = true;  ///< one key and value projection for all layers; else one per layer
  MemoryNorm memory_norm = MemoryNorm::own;
  bool value_bias = false;
  bool output_bias = true;         ///< of attention
  bool cross_attention = false;    ///< blocks also attend to a source, between memory and feed-forward: a decoder
  bool log_probabilities = false;  ///< the outputs are log softmax(logits) instead of the logits
  double dropout = 0;              ///< rate in [0, 1), of embeddings, attention weights, hidden units and residual branches
  double norm_epsilon = 1e-5;
  double embedding_deviation = 0.3;  ///< standard deviation of the initial embeddings

  bool operator==(const Config&) const = default;

  Index head_columns() const { return head_size > 0 ? head_size : width / heads; }
  Index hidden_units() const { return feed_forward > 0 ? feed_forward : 4 * width; }
  /// Whether every layer remembers something of its own.
  bool remembers_per_layer() const { return info_of(memory_rule).per_layer(); }
  Index depth() const { return layers; }
  Index key_values() const { return share_key_value ? 1 : layers; }
  Index output_rows() const { return outputs > 0 ? outputs : vocabulary; }
  bool norms_output() const { return pre_norm; }
  Index positions() const { return position == PositionTerm::per_head ? layers : 1; }

  MemoryOptions memory_options() const {
    return {memory_rule, memory_layer,    layers,      width,      heads,        head_columns(),
            window,      share_key_value, memory_norm, value_bias, empty_memory, norm_epsilon};
  }

  /// Throws std::invalid_argument naming the first field that is out of range or does not fit another.
  void validate() const;

  /// The number of parameters of the model, without building it.
  double parameters() const;

  /// About how many numbers a run of one lane from an empty memory over the given number of steps keeps of the slots and the
  /// attention to them: many heads with many zero slots may need far more than the parameters.
  double attention_numbers(Index steps) const {
    const auto seen = static_cast<double>(empty_memory == EmptyMemory::zero_slots ? window : steps);
    const auto stored = static_cast<double>(2 * head_columns() * key_values());
    return seen * static_cast<double>(heads) * (stored + static_cast<double>(layers) * static_cast<double>(steps));
  }
};

/// The largest accepted size of any dimension: keeps every product of two of them far from overflow.
inline constexpr Index largest_dimension = 1 << 24;

// The names of the enumerators of a Config, in files and messages.
template <>
struct Names<Activation> {
  static constexpr std::array<std::pair<std::string_view, Activation>, 3> list{
      {{"relu", Activation::relu}, {"gelu", Activation::gelu}, {"geglu", Activation::geglu}}};
};
template <>
struct Names<PositionTerm> {
  static constexpr std::array<std::pair<std::string_view, PositionTerm>, 4> list{
      {{"none", PositionTerm::none},
       {"relative_key", PositionTerm::relative_key},
       {"per_head", PositionTerm::per_head},
       {"buckets", PositionTerm::buckets}}};
};
template <>
struct Names<MemoryRule> {
  static constexpr auto list = [] {
    std::array<std::pair<std::string_view, MemoryRule>, memory_rules.size()> names;
    for (std::size_t i = 0; i < names.size(); ++i) names[i] = {memory_rules[i].name, memory_rules[i].rule};
    return names;
  }();
};
template <>
struct Names<EmptyMemory> {
  static constexpr std::array<std::pair<std::string_view, EmptyMemory>, 2> list{
      {{"skip", EmptyMemory::skip}, {"zero_slots", EmptyMemory::zero_slots}}};
};
template <>
struct Names<MemoryNorm> {
  static constexpr std::array<std::pair<std::string_view, MemoryNorm>, 4> list{
      {{"none", MemoryNorm::none}, {"own", MemoryNorm::own}, {"block", MemoryNorm::block}, {"soft", MemoryNorm::soft}}};
};

/// Calls f(name, field) for every field of one or more configs, with the names they have in files.
template <class F, class... Same>
requires(std::same_as<std::remove_const_t<Same>, Config>&&...) void visit_config(F&& f, Same&... configs) {
  f("vocabulary", configs.vocabulary...);
  f("inputs", configs.inputs...);
  f("outputs", configs.outputs...);
  f("width", configs.width...);
  f("layers", configs.layers...);
  f("heads", configs.heads...);
  f("head_size", configs.head_size...);
  f("feed_forward", configs.feed_forward...);
  f("window", configs.window...);
  f("activation", configs.activation...);
  f("position", configs.position...);
  f("span_ramp", configs.span_ramp...);
  f("empty_memory", configs.empty_memory...);
  f("pre_norm", configs.pre_norm...);
  f("memory_rule", configs.memory_rule...);
  f("memory_layer", configs.memory_layer...);
  f("share_key_value", configs.share_key_value...);
  f("memory_norm", configs.memory_norm...);
  f("value_bias", configs.value_bias...);
  f("output_bias", configs.output_bias...);
  f("cross_attention", configs.cross_attention...);
  f("log_probabilities", configs.log_probabilities...);
  f("dropout", configs.dropout...);
  f("norm_epsilon", configs.norm_epsilon...);
  f("embedding_deviation", configs.embedding_deviation...);
}

inline void Config::validate() const {
  const auto dimension = [](std::string_view name, Index value, Index least) {
    check(value >= least && value <= largest_dimension, "config: {} must be between {} and {}, found {}", name, least,
          largest_dimension, value);
  };
  dimension("vocabulary", vocabulary, inputs > 0 ? 0 : 1);
  dimension("inputs", inputs, 0);
  dimension("outputs", outputs, inputs > 0 ? 1 : 0);
  check(inputs == 0 || vocabulary == 0,
        "config: a model reads tokens or vectors: expected a vocabulary or inputs, found {} and {}", vocabulary, inputs);
  dimension("width", width, 1);
  check(layers >= 1 && layers <= 4096, "config: layers must be between 1 and 4096, found {}", layers);
  dimension("heads", heads, 1);
  dimension("head_size", head_size, 0);
  dimension("feed_forward", feed_forward, 0);
  dimension("window", window, 1);
  check(head_size > 0 || width % heads == 0,
        "config: width {} is not divisible by heads {}; choose them so, or give head_size", width, heads);
  dimension("span_ramp", span_ramp, 0);
  check(span_ramp != 1,
        "config: span_ramp must be at least 2, so that the newest slot is seen, or 0 for fixed spans, found 1");
  check(heads * head_columns() <= largest_dimension, "config: heads * head_size must be at most {}, found {} * {}",
        largest_dimension, heads, head_columns());
  const Index deepest = memory_rule == MemoryRule::layer ? layers : 0;
  check(memory_layer >= 0 && memory_layer <= deepest,
        "config: memory_layer must be between 0 and {}, found {}; other than 0 it needs memory_rule layer", deepest,
        memory_layer);
  check(!remembers_per_layer() || !share_key_value,
        "config: memory_rule {} needs share_key_value false: every layer remembers vectors of its own",
        name_of(memory_rule));
  check(memory_norm != MemoryNorm::block || pre_norm,
        "config: memory_norm block needs pre_norm: in the post-norm form norm1 does not come before the block");
  check(!cross_attention || pre_norm, "config: cross_attention needs pre_norm");
  check(dropout >= 0 && dropout < 1, "config: dropout must be at least 0 and below 1, found {}", dropout);
  check(norm_epsilon > 0 && norm_epsilon < 1, "config: norm_epsilon must be above 0 and below 1, found {}", norm_epsilon);
  check(embedding_deviation > 0 && embedding_deviation <= 100,
        "config: embedding_deviation must be above 0 and at most 100, found {}", embedding_deviation);
}

inline double Config::parameters() const {
  const auto d = static_cast<double>(width), V = static_cast<double>(vocabulary), L = static_cast<double>(layers);
  const auto f = static_cast<double>(hidden_units()), e = static_cast<double>(head_columns());
  const auto H = static_cast<double>(heads), S = static_cast<double>(window), banks = static_cast<double>(key_values());
  const double first_rows = activation == Activation::geglu ? 2 * f : f;
  const double block_norms = memory_norm == MemoryNorm::block ? L : 2 * L;
  const double norms = memory_norm == MemoryNorm::none ? block_norms : block_norms + banks;
  const double attention = 2 * d * H * e + (output_bias ? d : 0);
  const double feed_forward_part = first_rows * (d + 1) + d * (f + 1);
  const double key_value = 2 * d * H * e + (value_bias ? H * e : 0);
  const double one_position = position == PositionTerm::relative_key ? S * e
                              : position == PositionTerm::per_head   ? H * (S * (e + 1) + e)
                              : position == PositionTerm::buckets    ? 32 * H
                                                                     : 0;
  const auto rows = static_cast<double>(output_rows()), input = inputs > 0 ? (static_cast<double>(inputs) + 1) * d : V * d;
  const double cross = cross_attention ? attention + 2 * d : 0;
  return input + L * (attention + feed_forward_part + cross + (span_ramp > 0 ? H : 0)) +
         static_cast<double>(positions()) * one_position + (memory_rule == MemoryRule::feedback ? L + 1 : 0) +
         banks * key_value + 2 * d * (norms + (pre_norm ? 1 : 0)) + rows * (d + 1);
}

}  // namespace fbt
