// The configurations that are measured, and how much arithmetic and reading they take.
#pragma once

#include "fbt/models/sequence_model.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace bench {

using Model = fbt::FeedbackTransformer<float>;

/// Training reads segments as long as the window.
struct Configuration {
  std::string_view name;
  fbt::Index width, layers, heads, feed_forward, window;
  fbt::Index lanes;    ///< B, side by side in training
  bool trains = true;  ///< else only decoding is measured

  fbt::Config config() const {
    fbt::Config config;
    config.vocabulary = 65;
    config.width = width;
    config.layers = layers;
    config.heads = heads;
    config.feed_forward = feed_forward;
    config.window = window;
    return config;
  }
};

inline constexpr std::array<Configuration, 4> configurations{{{"A", 128, 4, 4, 512, 64, 32},
                                                              {"B", 256, 4, 4, 1024, 64, 32},
                                                              {"C", 512, 6, 8, 2048, 128, 16},
                                                              {"D", 512, 12, 8, 4096, 512, 1, false}}};

inline Model make_model(const fbt::Config& config) {
  fbt::Random random(1);
  return Model(config, random);
}

inline std::vector<fbt::Token> random_tokens(fbt::Index count, fbt::Index vocabulary) {
  fbt::Random random(2);
  std::vector<fbt::Token> tokens(static_cast<std::size_t>(count));
  for (auto& token : tokens) token = static_cast<fbt::Token>(random.below(vocabulary));
  return tokens;
}

/// Writes random keys and values into a memory until a step sees as many slots as it can: the time of a step does not depend
/// on what they hold.
inline void fill_memory(fbt::Memory<float>& memory) {
  fbt::Random random(3);
  memory.reserve(memory.window);
  for (auto& bank : memory.banks) {
    fbt::Matrix<float> key(bank.head_size * bank.heads, bank.lanes), value = key;
    for (fbt::Index slot = 0; slot < memory.window; ++slot) {
      fbt::fill_uniform(key, 1, random);
      fbt::fill_uniform(value, 1, random);
      bank.write(slot, key, value);
    }
  }
  memory.end = memory.window;
}

/// For stepping the given number of lanes with a full window.
inline Model::Stepper start_with_full_memory(const Model& model, fbt::Index lanes, const fbt::Execution& execution) {
  auto stepper = model.start(lanes, execution);
  fill_memory(stepper.memory);
  return stepper;
}

/// Multiply-adds of the matrix products for one token that sees the given number of slots, forward only: all Linear layers,
/// and per layer and slot the scores, the weighted values and the relative-key term. Nothing else is counted: no norms,
/// softmax, activations, embeddings or sums. Without a slot attention is left out.
inline double multiply_adds(const fbt::Config& c, fbt::Index slots) {
  const auto d = static_cast<double>(c.width), all_heads = static_cast<double>(c.heads * c.head_columns());
  const double feed_forward = 2 * d * static_cast<double>(c.hidden_units());
  const double attention = slots > 0 ? 2 * d * all_heads + 3 * static_cast<double>(slots) * all_heads : 0;
  const double key_value = 2 * d * all_heads, head = d * static_cast<double>(c.vocabulary);
  return static_cast<double>(c.layers) * (attention + feed_forward) + key_value + head;
}

/// FLOP per token of training on segments of T steps that start with the given number of slots: a multiply-add is 2, and
/// each product has two more of its size in the backward pass.
inline double train_flop(const fbt::Config& config, fbt::Index steps, fbt::Index slots_at_start) {
  double sum = 0;
  for (fbt::Index t = 0; t < steps; ++t) sum += multiply_adds(config, std::min(config.window, slots_at_start + t));
  return 3 * 2 * sum / static_cast<double>(steps);
}

struct Reading {
  double bytes;        ///< read per step
  double working_set;  ///< bytes that are read over and over
};

/// What a step of one lane with a full window reads: every weight once, and in every layer the shared keys, values and
/// position table. Of the embedding a single row is read, which is not counted.
inline Reading decode_reading(const fbt::Config& c) {
  const double table = static_cast<double>(c.window * c.head_columns());
  const double keys_and_values = 2 * static_cast<double>(c.window * c.heads * c.head_columns());
  const double weights = c.parameters() - static_cast<double>(c.vocabulary * c.width) - table;
  const double shared = table + keys_and_values;
  return {sizeof(float) * (weights + static_cast<double>(c.layers) * shared), sizeof(float) * (weights + shared)};
}

}  // namespace bench
