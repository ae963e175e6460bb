// The training whose files are fuzzed.
#pragma once

#include "fbt/io/training_file.hpp"
#include "fbt/models/sequence_model.hpp"
#include "fbt/training/schedule.hpp"

#include <string_view>
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
  fbt::Adam<Model> adam;
  fbt::Trainer<Model> trainer;

  Training() : model(tiny_model(config())), adam(model), trainer(model, adam, {text, {2, 2}}, {.shards = 2}) {}

  static fbt::Config config() {
    fbt::Config c;
    c.vocabulary = 3;
    c.width = c.head_size = c.feed_forward = 2;
    c.heads = c.layers = 1;
    c.window = 3;
    return c;
  }
  /// One update; progress: the share of the training that is done.
  void update(double progress) {
    const fbt::Schedule schedule{0.01, 5, 0.1};
    trainer.update(schedule.rate(adam.updates, progress), progress);
  }
};

/// A model with the same bits by every compiler: a session's file names them.
inline Model exact_model() {
  Model model = tiny_model(Training::config());
  const auto fill = [](std::string_view, auto& tensor) {
    for (fbt::Index i = 0; i < tensor.size(); ++i) fbt::flat(tensor)(i) = static_cast<float>(i % 7 - 3) / 4;
  };
  fbt::visit(fill, model);
  return model;
}

}  // namespace fuzz
