// Mimetic initialization: weights that begin like those that trained models end up with (Trockman and Kolter, "Mimetic
// Initialization of Self-Attention Layers", 2023). Associative recall, to find the value that was given to a name, is then
// learned within hundreds of updates; from weights that are independent of one another the loss stays on a plateau for
// thousands.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/models/feedback_core.hpp"

#include <cmath>

namespace fbt {

/// Makes the weights of attention begin in accord with one another:
///   W_q = strength * W_k       a token looks for slots of tokens like itself,
///   W_o = -strength * W_v^T    and takes what it reads in the directions in which it was written;
///   positions times 1 + strength, so that some heads look at single ages from the start (not of buckets, which begin at 0).
/// For a new model with a FeedbackCore, of any memory rule. strength: above 0; 3 suits tasks of recall, and of text 1
/// changes little. Throws std::invalid_argument.
template <class Model>
void initialize_mimetic(Model& model, double strength) {
  using Scalar = typename Model::Scalar;
  check(is_finite(strength) && strength > 0, "mimetic initialization: the strength must be above 0 and finite, found {}",
        strength);
  const auto s = static_cast<Scalar>(strength);
  auto& core = model.core;
  for (std::size_t l = 0; l < core.blocks.size(); ++l) {
    const auto& read = core.aggregator.key_values[core.aggregator.bank_of(l)];
    Attention<Scalar>& attention = core.blocks[l].attention;
    attention.query.weight = s * read.key.weight;
    attention.output.weight = -s * read.value.weight.transpose();
  }
  for (Position<Scalar>& position : core.positions) position.weight *= 1 + s;
}

}  // namespace fbt
