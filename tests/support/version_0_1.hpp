// The trainings whose files version 0.1 wrote: tests/data/0.1/README.md.
#pragma once

#include "fbt/models/sequence_model.hpp"
#include "fbt/training/schedule.hpp"
#include "fbt/training/trainer.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace fbt::version_0_1 {

inline std::filesystem::path file(const std::string& training, const std::string& kind) {
  return std::filesystem::path(FBT_DATA) / "0.1" / (training + "." + kind + ".safetensors");
}

inline Config feedback_config() {
  Config c;
  c.vocabulary = 5;
  c.width = 4;
  c.layers = c.heads = 2;
  c.feed_forward = c.window = 6;
  return c;
}
inline Config recurrent_config() {
  Config c = feedback_config();
  c.memory_rule = MemoryRule::recurrent;
  c.share_key_value = false;
  c.dropout = 0.1;
  return c;
}
inline LstmConfig lstm_config() {
  LstmConfig c;
  c.vocabulary = 5;
  c.width = 4;
  c.layers = c.heads = 2;
  c.attention = true;
  c.window = 6;
  return c;
}

inline std::vector<Token> text() {
  std::vector<Token> tokens(40);
  for (Token i = 0; i < 40; ++i) tokens[static_cast<std::size_t>(i)] = i * i / 3 % 5;
  return tokens;
}
inline BatchOptions batch_options() { return {.lanes = 2, .segment = 4, .seed = 3}; }
inline AdamOptions adam_options() {
  AdamOptions o;
  o.weight_decay = 0.1;
  return o;
}
inline TrainerOptions options() { return {.shards = 2, .fresh = 0}; }
inline Schedule schedule() { return {0.01, 2, 0.1}; }

}  // namespace fbt::version_0_1
