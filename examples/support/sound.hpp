// Whether a model can be saved in the place of another.
#pragma once

#include "fbt/core/visit.hpp"
#include "fbt/training/evaluate.hpp"

#include <cmath>

namespace example {

/// Whether all parameters are finite, and the model computes finite numbers from the tokens (at least 2).
template <class Model>
bool is_sound(const Model& model, fbt::Tokens tokens) {
  return std::isfinite(fbt::squared_norm(model)) && std::isfinite(fbt::evaluate(model, tokens).mean());
}

}  // namespace example
