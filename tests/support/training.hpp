// A trainer with the optimiser that it needs, for tests.
#pragma once

#include "fbt/training/trainer.hpp"

#include <utility>

namespace fbt {

template <class Model, class Data = Batches<>, class Loss = CrossEntropy>
struct Training {
  Adam<Model> adam;
  Trainer<Model, Loss, Adam<Model>, Data> trainer;

  Training(Model& model, Data batches, const AdamOptions& adam_options, const TrainerOptions& options, Loss loss = {},
           Reduction<Model> reduction = {})
      : adam(model, adam_options),
        trainer(model, adam, std::move(batches), options, std::move(loss), std::move(reduction)) {}
  Training(const Training&) = delete;  // the trainer refers to adam

  auto update(double learning_rate, double progress = 1) { return trainer.update(learning_rate, progress); }
};

}  // namespace fbt
