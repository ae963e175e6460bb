// How the time of a step grows with the sizes of the model: each is varied alone, from configuration A.
#pragma once

#include "configurations.hpp"
#include "measure.hpp"
#include "support/plot.hpp"

#include "fbt/training/losses.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace bench {

namespace detail {

/// Seconds of a step of all lanes, forward and backward, with a full window throughout.
inline double train_step_seconds(const Model& model, fbt::Index lanes, const Effort& effort) {
  const fbt::Index steps = 64;
  const fbt::Segment segment{steps, lanes, true, 0};
  const auto tokens = random_tokens(segment.columns(), model.config().vocabulary);
  Model grad = fbt::zeros_like(model);
  Model::Memory memory = model.make_memory(lanes);
  Model::Trace trace;
  fill_memory(memory);
  fbt::Matrix<float> dlogits(model.config().vocabulary, segment.columns());
  return 1 / best_rate(effort, static_cast<double>(steps), [&] {
           fbt::CrossEntropy{}.operator()<float>(model.forward(tokens, segment, memory, trace), tokens, 1e-3f, dlogits);
           model.backward(dlogits, memory, trace, grad);
         });
}

/// Seconds of a step of one lane with a full window.
inline double decode_step_seconds(const Model& model, const Effort& effort) {
  auto stepper = start_with_full_memory(model, 1, 1);
  const fbt::Token token = 0;
  return 1 / best_rate(effort, 1, [&] { model.step({&token, 1}, stepper); });
}

}  // namespace detail

/// The ordinary Transformer of the same sizes, which keeps keys and values of its own in every layer.
inline Model make_transformer(fbt::Config config) {
  config.memory_rule = fbt::MemoryRule::transformer;
  config.share_key_value = false;
  return make_model(config);
}

/// Calls report with one JSON object per size.
template <class Report>
void measure_growth(const Effort& effort, Report&& report) {
  const Configuration base = configurations.front();
  const auto measure = [&](std::string_view quantity, fbt::Index value, const Configuration& c) {
    const Model model = make_model(c.config());
    const double step = detail::train_step_seconds(model, c.lanes, effort);
    nlohmann::ordered_json row{{"quantity", quantity},        {"value", value},
                               {"train_step_us", 1e6 * step}, {"train_token_us", 1e6 * step / static_cast<double>(c.lanes)},
                               {"decode_step_us", nullptr},   {"transformer_decode_step_us", nullptr}};
    if (quantity != "lanes") {
      row["decode_step_us"] = 1e6 * detail::decode_step_seconds(model, effort);
      row["transformer_decode_step_us"] = 1e6 * detail::decode_step_seconds(make_transformer(c.config()), effort);
    }
    report(row);
  };
  for (const fbt::Index window : {16, 32, 64, 128, 256, 512, 1024}) {
    Configuration c = base;
    c.window = window;
    measure("window", window, c);
  }
  for (const fbt::Index width : {64, 128, 256, 512, 1024}) {
    Configuration c = base;
    c.heads = width / (base.width / base.heads);  // heads of the same size
    c.feed_forward = 4 * width;
    c.width = width;
    measure("width", width, c);
  }
  for (const fbt::Index layers : {1, 2, 4, 8, 16}) {
    Configuration c = base;
    c.layers = layers;
    measure("layers", layers, c);
  }
  for (const fbt::Index lanes : {1, 2, 4, 8, 16, 32, 64}) {
    Configuration c = base;
    c.lanes = lanes;
    measure("lanes", lanes, c);
  }
}

/// Both logarithmic, so that a slope of 1 is growth in proportion.
inline example::Plot growth_plot(const nlohmann::ordered_json& rows) {
  const Configuration base = configurations.front();
  example::Plot plot{"Time of a training step of all lanes, from configuration A",
                     "size over that of A, log2 (1: twice as large)",
                     "microseconds, log2",
                     {}};
  for (const auto& [quantity, at_base] :
       {std::pair{"window", base.window}, {"width", base.width}, {"layers", base.layers}, {"lanes", base.lanes}}) {
    example::Series series{fmt::format("{} (A: {})", quantity, at_base), {}, {}};
    for (const auto& row : rows) {
      if (row.at("quantity") != quantity) continue;
      series.x.push_back(std::log2(row.at("value").get<double>() / static_cast<double>(at_base)));
      series.y.push_back(std::log2(row.at("train_step_us").get<double>()));
    }
    plot.series.push_back(std::move(series));
  }
  return plot;
}

}  // namespace bench
