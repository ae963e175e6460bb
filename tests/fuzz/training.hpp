// The training whose files are fuzzed.
#pragma once

#include "fbt/io/training_file.hpp"
#include "fbt/models/sequence_model.hpp"

#include <vector>

namespace fuzz {

using Model = fbt::FeedbackTransformer<float>;

inline Model tiny_model(const fbt::Config& config) {
  fbt::Random random(1);
  return {config, random};
}

struct Training {
  Model model;
  std::vector<fbt::Token> text{0, 1, 2, 0, 2, 1, 1, 0, 2, 2, 1, 0, 0, 1, 2, 0, 1};
  fbt::Trainer<Model> trainer;

  Training() : model(tiny_model(config())), trainer(model, text, options()) {}

  static fbt::Config config() {
    fbt::Config c;
    c.vocabulary = 3;
    c.width = c.head_size = c.feed_forward = 2;
    c.heads = c.layers = 1;
    c.window = 3;
    return c;
  }
  static fbt::TrainerOptions options() {
    fbt::TrainerOptions o;
    o.lanes = o.shards = o.segment = 2;
    o.schedule = {0.01, 5, 0.1};
    return o;
  }
};

}  // namespace fuzz
