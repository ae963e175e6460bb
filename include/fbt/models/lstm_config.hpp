// LstmConfig: everything that decides the shape and meaning of an LstmModel's parameters.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"
#include "fbt/models/config.hpp"

#include <concepts>
#include <string_view>
#include <type_traits>

namespace fbt {

struct LstmConfig {
  Index vocabulary = 0;  ///< V, inputs and outputs as those of Config
  Index inputs = 0;
  Index outputs = 0;
  Index width = 128;                 ///< d, size of embedding, hidden vector and cell
  Index layers = 2;                  ///< L
  bool attention = false;            ///< over the top layer's past
  Index heads = 4;                   ///< H of the attention; their size is width / heads
  Index window = 64;                 ///< S, how many past steps the attention may see
  double dropout = 0;                ///< rate in [0, 1), of embeddings, of every layer's output and of attention weights
  double embedding_deviation = 0.3;  ///< standard deviation of the initial embeddings

  bool operator==(const LstmConfig&) const = default;

  // as those of Config
  static constexpr double norm_epsilon = 1e-5;
  static constexpr bool log_probabilities = false;
  Index depth() const { return layers; }
  Index output_rows() const { return outputs > 0 ? outputs : vocabulary; }
  bool norms_output() const { return false; }

  /// Throws std::invalid_argument naming the first field that is out of range or does not fit another.
  void validate() const {
    const auto dimension = [](std::string_view name, Index value, Index most, Index least = 1) {
      check(value >= least && value <= most, "config: {} must be between {} and {}, found {}", name, least, most, value);
    };
    dimension("vocabulary", vocabulary, largest_dimension, inputs > 0 ? 0 : 1);
    dimension("inputs", inputs, largest_dimension, 0);
    dimension("outputs", outputs, largest_dimension, inputs > 0 ? 1 : 0);
    check(inputs == 0 || vocabulary == 0,
          "config: a model reads tokens or vectors: expected a vocabulary or inputs, found {} and {}", vocabulary, inputs);
    dimension("width", width, largest_dimension);
    dimension("layers", layers, 64);
    dimension("heads", heads, largest_dimension);
    dimension("window", window, largest_dimension);
    check(!attention || width % heads == 0, "config: width {} is not divisible by heads {}", width, heads);
    check(dropout >= 0 && dropout < 1, "config: dropout must be at least 0 and below 1, found {}", dropout);
    check(embedding_deviation > 0 && embedding_deviation <= 100,
          "config: embedding_deviation must be above 0 and at most 100, found {}", embedding_deviation);
  }

  /// The number of parameters of the model, without building it.
  double parameters() const {
    const auto d = static_cast<double>(width), V = static_cast<double>(vocabulary), L = static_cast<double>(layers);
    const double head_size = static_cast<double>(width / heads), S = static_cast<double>(window);
    const auto rows = static_cast<double>(output_rows()), input = inputs > 0 ? (static_cast<double>(inputs) + 1) * d : V * d;
    return input + L * 4 * d * (2 * d + 1) + rows * (d + 1) + (attention ? 4 * d * d + d + S * head_size : 0);
  }
  /// As Config::attention_numbers().
  double attention_numbers(Index steps) const {
    const auto seen = static_cast<double>(attention ? steps : 0);
    return seen * (2 * static_cast<double>(width) + static_cast<double>(heads) * static_cast<double>(steps));
  }
};

/// Calls f(name, field) for every field of one or more configs, with the names they have in files.
template <class F, class First, class... Rest>
requires std::same_as<std::remove_const_t<First>, LstmConfig>
void visit_config(F&& f, First& first, Rest&... rest) {
  f("vocabulary", first.vocabulary, rest.vocabulary...);
  f("inputs", first.inputs, rest.inputs...);
  f("outputs", first.outputs, rest.outputs...);
  f("width", first.width, rest.width...);
  f("layers", first.layers, rest.layers...);
  f("attention", first.attention, rest.attention...);
  f("heads", first.heads, rest.heads...);
  f("window", first.window, rest.window...);
  f("dropout", first.dropout, rest.dropout...);
  f("embedding_deviation", first.embedding_deviation, rest.embedding_deviation...);
}

}  // namespace fbt
