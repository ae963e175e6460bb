// A tiny model whose files are tested.
#pragma once

#include "fbt/core/random.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/models/sequence_model.hpp"

namespace fbt {

inline Config tiny_config() {
  Config config;
  config.vocabulary = 5;
  config.width = 4;
  config.layers = 2;
  config.heads = 2;
  config.window = 3;
  return config;
}
template <class Scalar = float>
FeedbackTransformer<Scalar> tiny_model(const Config& config = tiny_config(), std::uint64_t seed = 1) {
  Random random(seed);
  FeedbackTransformer<Scalar> model(config, random);
  visit(
      [&](std::string_view, auto& tensor) {  // no zeros and ones, so that a tensor in the wrong place shows
        for (Index i = 0; i < tensor.size(); ++i) flat(tensor)(i) += static_cast<Scalar>(0.1 * random.normal());
      },
      model);
  return model;
}

}  // namespace fbt
