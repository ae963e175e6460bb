// What attention to a source adds to the memory of training: a decoder alone, one that attends to 100 source tokens, and the
// whole EncoderDecoder.
#pragma once

#include "configurations.hpp"
#include "in_child.hpp"
#include "measure.hpp"

#include "fbt/models/encoder_decoder.hpp"

#include <nlohmann/json.hpp>

#include <type_traits>
#include <vector>

namespace bench {

/// Calls report with one JSON object per number of layers: width 256, 8 heads, segments of 512 steps of 8 lanes, window 16.
template <class Report>
void measure_source_memory(Report&& report) {
  const fbt::Index steps = 512, lanes = 8, positions = 100;
  const fbt::Segment segment{steps, lanes, true};
  for (const fbt::Index layers : {1, 2, 4}) {
    fbt::Config plain;
    plain.vocabulary = 1000;
    plain.width = 256;
    plain.heads = 8;
    plain.layers = layers;
    plain.window = 16;
    fbt::Config crossed = plain;
    crossed.cross_attention = true;
    const auto target = random_tokens(segment.columns(), plain.vocabulary);
    const auto source = random_tokens(positions * lanes, plain.vocabulary);
    const fbt::Matrix<float> dlogits = fbt::Matrix<float>::Constant(plain.vocabulary, segment.columns(), 1e-3f);
    const auto train = [&](const auto& model, auto& memory, const auto& values) {
      auto grad = fbt::zeros_like(model);
      typename std::remove_cvref_t<decltype(model)>::Trace trace;
      for (int i = 0; i < 2; ++i) {
        model.forward(values, segment, memory, trace);
        model.backward(dlogits, memory, trace, grad);
      }
      return peak_memory_mib();
    };
    fbt::Random random(1);
    nlohmann::ordered_json row{{"layers", layers}};
    row["decoder_mib"] = in_child([&] {
      const Model model(plain, random);
      auto memory = model.make_memory(lanes);
      return train(model, memory, fbt::Tokens(target));
    });
    row["with_source_mib"] = in_child([&] {
      const Model model(crossed, random);
      auto memory = model.make_memory(lanes);
      memory.source = model.core.make_source(1, lanes);
      memory.source.reserve(positions);
      for (auto& bank : memory.source.banks) {
        bank.keys.setConstant(0.01f);
        bank.values.setConstant(0.01f);
      }
      for (fbt::Window& window : memory.source.windows) window = {0, positions};
      return train(model, memory, fbt::Tokens(target));
    });
    row["ratio"] = row["with_source_mib"].get<double>() / row["decoder_mib"].get<double>();
    row["encoder_decoder_mib"] = in_child([&] {
      const fbt::EncoderDecoder<float> model({.decoder = crossed, .encoder_layers = 1}, random);
      auto memory = model.make_memory(lanes);
      const std::vector<fbt::Index> lengths(static_cast<std::size_t>(lanes), positions);
      return train(model, memory, fbt::SourceAndTarget{{source, lengths}, target});
    });
    report(row);
  }
}

}  // namespace bench
