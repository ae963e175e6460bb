// A training by all processes, for tests of fbt::mpi.
#pragma once

#include "fbt/training/data_parallel.hpp"

#include "support/catch.hpp"
#include "support/helpers.hpp"
#include "support/training.hpp"

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fbt {

inline constexpr double rate = 0.01;
inline constexpr Index shards = 5;

/// Large enough for some ten pieces, and for several in one tensor.
template <class AnyConfig>
AnyConfig small_config() {
  AnyConfig config;
  config.vocabulary = 30;
  config.width = 48;
  config.layers = 2;
  config.heads = 2;
  config.window = 5;
  config.dropout = 0.2;
  return config;
}
template <class Model>
Model small_model(std::uint64_t seed = 1) {
  Random random(seed);
  return Model(small_config<std::remove_cvref_t<decltype(std::declval<const Model&>().config())>>(), random);
}
inline std::vector<Token> small_text() {
  Random random(3);
  return random_tokens(400, 30, random);
}

template <class Model>
bool same(const Model& a, const Model& b) {
  bool equal = true;
  visit([&](std::string_view, const auto& x, const auto& y) { equal = equal && x == y; }, a, b);
  return equal;
}

inline AdamOptions adam_options() {
  return {.weight_decay = 0.1, .groups = {{.pattern = "*.bias", .frozen = true}, {.pattern = "head.*", .rate = 0.5}}};
}
inline TrainerOptions trainer_options() { return {.shards = shards, .threads = 2, .fresh = 0, .clip = 0.01}; }
inline constexpr BatchOptions batch_options{.lanes = 7, .segment = 6};

/// The training of all processes.
template <class Model, class Data = Batches<>>
struct Together {
  DataParallel<Model> optimizer;
  Trainer<Model, CrossEntropy, DataParallel<Model>, Data> trainer;

  Together(const Processes& processes, Model& model, const Data& batches)
      : optimizer(processes, model, shards, adam_options()),
        trainer(model, optimizer, batches, trainer_options(), {}, optimizer.reduction()) {}
};

template <class AnyTrainer>
std::vector<double> update(AnyTrainer& training, int updates) {
  std::vector<double> numbers;
  for (int n = 0; n < updates; ++n) {
    const auto report = training.update(rate);
    for (const double number : {report.loss, report.gradient_norm, static_cast<double>(report.tokens)})
      numbers.push_back(number);
  }
  return numbers;
}

/// A training by all processes is to the last bit that of one.
template <class Model>
void check_same_training() {
  const Processes processes;
  const auto text = small_text();
  const Model before = small_model<Model>();
  Model one = before, model = before;
  Training alone(one, Batches(text, batch_options), adam_options(), trainer_options());
  Together together(processes, model, Batches(text, batch_options));
  const auto expected = update(alone, 5);
  CHECK(expected[1] > 0.01);  // it is clipped
  CHECK(update(together.trainer, 5) == expected);
  CHECK(same(model, one));
  CHECK_FALSE(same(model, before));
  CHECK(together.optimizer.updates == 5);
}

}  // namespace fbt
