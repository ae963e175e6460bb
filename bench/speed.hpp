// Tokens per second of one configuration, beside what the machine can do.
#pragma once

#include "configurations.hpp"
#include "in_child.hpp"
#include "measure.hpp"
#include "roofline.hpp"

#include "fbt/training/trainer.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace bench {

inline std::string compiler() {
#if defined(__clang__)
  return "clang++ " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

namespace detail {

using Json = nlohmann::ordered_json;

/// Forward, backward and update through a Trainer. carried: with the memory of the segment before, else each segment starts
/// empty. Every thread has a shard of its own if that leaves it 16 lanes, so that a reading of the weights serves many; else
/// all share the steps of one.
inline double train_rate(const Configuration& configuration, fbt::Index threads, const Effort& effort, bool carried = false,
                         bool recompute = false) {
  const fbt::Config config = configuration.config();
  Model model = make_model(config);
  fbt::Adam adam(model);
  const fbt::Index lanes = configuration.lanes, tokens = lanes * config.window;
  constexpr fbt::Index segments = 64;
  const auto data = random_tokens(tokens * segments + 1, config.vocabulary);
  fbt::Trainer trainer(model, adam, fbt::Batches(data, {.lanes = lanes, .segment = config.window}),
                       {.shards = lanes / threads >= 16 ? threads : 1,
                        .threads = threads,
                        .recompute = recompute,
                        .fresh = carried ? 0.0 : 1.0});
  return best_rate(effort, static_cast<double>(tokens), [&] { trainer.update(1e-3, 0); });
}

inline Json measure_training(const Configuration& configuration, fbt::Index threads, const Effort& effort) {
  const fbt::Config config = configuration.config();
  const double peak_before = multiply_add_peak(threads);
  const double fresh = train_rate(configuration, threads, effort);
  const double memory = peak_memory_mib();
  const double peak = std::max(peak_before, multiply_add_peak(threads));
  return {{"train_tokens_per_second", fresh},
          {"train_carried_tokens_per_second", train_rate(configuration, threads, effort, true)},
          {"fma_fraction", fresh * train_flop(config, config.window, 0) / peak},
          {"fma_peak", peak},
          {"peak_memory_mib", memory},
          {"training_memory_mib", memory}};
}

/// With Segment::recompute.
inline Json measure_recompute(const Configuration& configuration, fbt::Index threads, const Effort& effort) {
  const double rate = train_rate(configuration, threads, effort, false, true);
  return {{"train_recompute_tokens_per_second", rate}, {"training_recompute_memory_mib", peak_memory_mib()}};
}

/// Tokens per second of all lanes together, with a full window.
inline double decode_rate(const Model& model, fbt::Index lanes, const fbt::Execution& execution, const Effort& effort) {
  auto stepper = start_with_full_memory(model, lanes, execution);
  const auto tokens = random_tokens(lanes, model.config().vocabulary);
  return best_rate(effort, static_cast<double>(lanes), [&] { model.step(tokens, stepper); });
}

/// Tokens per second of one sequence that is read in segments.
inline double prompt_rate(const Model& model, const Effort& effort) {
  const fbt::Index steps = model.config().window;
  Model::Memory memory = model.make_memory(1);
  Model::Trace trace;
  fill_memory(memory);
  const auto tokens = random_tokens(steps, model.config().vocabulary);
  return best_rate(effort, static_cast<double>(steps), [&] { model.forward(tokens, {steps, 1, false, 0}, memory, trace); });
}

inline Json measure_decoding(const Configuration& configuration, fbt::Index threads, const Effort& effort) {
  const Model model = make_model(configuration.config());
  const Reading reading = decode_reading(model.config());
  const double one = decode_rate(model, 1, threads, effort);
  const double memory = peak_memory_mib();
  const double bandwidth = read_bandwidth(reading.working_set, threads);
  Json result{{"decode_tokens_per_second", one},       {"bandwidth_fraction", one * reading.bytes / bandwidth},
              {"read_bandwidth", bandwidth},           {"peak_memory_mib", memory},
              {"decode_8_tokens_per_second", nullptr}, {"decode_32_tokens_per_second", nullptr},
              {"prompt_tokens_per_second", nullptr}};
  for (const auto& [name, weights] : fbt::Names<fbt::WeightFormat>::list)
    if (weights != fbt::WeightFormat::full)
      result[fmt::format("decode_{}_tokens_per_second", name)] = decode_rate(model, 1, {threads, weights}, effort);
  if (threads == 1) {
    result["decode_8_tokens_per_second"] = decode_rate(model, 8, 1, effort);
    result["decode_32_tokens_per_second"] = decode_rate(model, 32, 1, effort);
    result["prompt_tokens_per_second"] = prompt_rate(model, effort);
  }
  return result;
}

}  // namespace detail

/// One object of the report. What does not apply is null. Peak memory is that of training, or of decoding where there is
/// none.
inline nlohmann::ordered_json measure_speed(const Configuration& configuration, fbt::Index threads, const Effort& effort) {
  nlohmann::ordered_json row{{"config", configuration.name}, {"threads", threads}};
  for (const char* key : {"train_tokens_per_second", "decode_tokens_per_second", "fma_fraction", "bandwidth_fraction",
                          "peak_memory_mib", "training_memory_mib", "train_carried_tokens_per_second",
                          "train_recompute_tokens_per_second", "training_recompute_memory_mib"})
    row[key] = nullptr;
  row.update(in_child([&] { return detail::measure_decoding(configuration, threads, effort); }));
  if (configuration.trains) {
    row.update(in_child([&] { return detail::measure_training(configuration, threads, effort); }));
    row.update(in_child([&] { return detail::measure_recompute(configuration, threads, effort); }));
  }
  row["compiler"] = compiler();
  return row;
}

}  // namespace bench
