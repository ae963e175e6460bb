// Recipe: what of a training has a default that differs by task.
#pragma once

#include "agent/task.hpp"

#include "fbt/core/types.hpp"

namespace example::agent {

struct Recipe {
  fbt::Index length = 200, lanes = 128, segment = 32;
  double learning_rate = 2e-3, entropy = 0.003, discount = 0.96;
};

/// Calls f(name, field, help) for every field of one or more recipes.
template <class F, class... Same>
void visit_recipe(F&& f, Same&... recipes) {
  f("length", "cells of the longest corridor of t_maze; else steps of an episode", recipes.length...);
  f("lanes", "environments that are acted in side by side", recipes.lanes...);
  f("segment", "steps of a lane between two updates", recipes.segment...);
  f("learning-rate", "peak of the schedule", recipes.learning_rate...);
  f("entropy", "weight of the actions' entropy at first; it falls to 0 over the training", recipes.entropy...);
  f("discount", "gamma: what a reward one step later is worth", recipes.discount...);
}

inline Recipe recipe(Task task) {
  if (task == Task::t_maze) return {60, 32, 64, 3e-3, 0.005, 0.99};
  if (task == Task::cart_pole) return {200, 32, 32, 3e-3, 0.005, 0.99};
  return {};
}

}  // namespace example::agent
