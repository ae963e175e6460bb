// The files of facebookresearch/transformer-sequential, feedback transformer (the paper's own implementation).
#pragma once

#include "fbt/core/types.hpp"
#include "fbt/io/pytorch/layout.hpp"
#include "fbt/models/config.hpp"
#include "fbt/models/sequence_model.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace fbt {

struct OfficialLayout {
  /// Names of tensors that are in these files and in no others.
  static constexpr std::array marks{"in_emb.weight", "single_memory_attn_params"};

  /// The config of the model, told from names and shapes.
  static Config config(const ForeignFile& file, Index, LayoutDetails&) {
    Config c;
    c.memory_norm = MemoryNorm::none;
    const std::string first = "layers.0.";
    c.vocabulary = file.size({{"in_emb.weight", 2, 0}, {"out.out_emb.weight", 2, 0}, {"out.out_emb.bias", 1, 0}});
    c.width = file.size({{"in_emb.weight", 2, 1}, {"out.out_emb.weight", 2, 1}, {first + "norm2.weight", 1, 0}});
    c.layers = file.layers("layers.", {".attn.proj_query.weight", ".ff.fc1.weight"});
    c.head_size = file.size({{first + "attn.attn.key_pe", 3, 1}});
    c.window = file.size({{first + "attn.attn.key_pe", 3, 2}});
    c.heads = file.divide(file.size({{first + "attn.proj_query.weight", 2, 0},
                                     {first + "attn.proj_out.weight", 2, 1},
                                     {first + "attn.proj_key.weight", 2, 0}}),
                          c.head_size, "head size");
    c.feed_forward =
        file.size({{first + "ff.fc1.weight", 2, 0}, {first + "ff.fc1.bias", 1, 0}, {first + "ff.fc2.weight", 2, 1}});
    c.pre_norm = file.has("out_norm.weight") || file.has("out_norm.bias");
    // Shared projections come with a shared norm1. Norms may be equal by chance, as all are before training; projections are
    // not.
    bool differ = false, shared = false;
    for (Index l = 1; l < c.layers; ++l) {
      for (const std::string part : {"attn.proj_key.weight", "attn.proj_val.weight", "norm1.weight", "norm1.bias"}) {
        const bool norm = part.starts_with("norm");
        if (norm && !c.pre_norm) continue;
        const auto copies = file.copies(first + part, fmt::format("layers.{}.{}", l, part));
        differ = differ || copies == ForeignFile::Copies::different;
        shared = shared || (!norm && copies == ForeignFile::Copies::same);
      }
    }
    c.share_key_value = shared || !differ;
    c.memory_norm = c.pre_norm ? MemoryNorm::block : MemoryNorm::none;
    c.empty_memory = EmptyMemory::zero_slots;
    c.output_bias = false;
    c.log_probabilities = true;
    return c;
  }

  /// All tensors of a file, for a model of the right config.
  template <class Scalar>
  static std::vector<ForeignTensor<Scalar>> tensors(FeedbackTransformer<Scalar>& model, const LayoutDetails&) {
    const Config& c = model.config();
    ForeignTensors<Scalar> list;
    list.add({"in_emb.weight"}, model.input.embedding.weight);
    Matrix<Scalar>& table = model.core.positions[0].weight;  // (S, e), as (1, e, S)
    list.add_reshaped(each_layer(c.layers, "layers.", ".attn.attn.key_pe"), {1, table.cols(), table.rows()},
                      [&table](std::uint64_t i) -> Scalar& {
                        return table(static_cast<Index>(i) % table.rows(), static_cast<Index>(i) / table.rows());
                      });
    for (std::size_t i = 0; i < model.core.aggregator.key_values.size(); ++i) {
      KeyValue<Scalar>& kv = model.core.aggregator.key_values[i];
      const auto names = [&](const std::string& suffix) {
        return c.share_key_value ? each_layer(c.layers, "layers.", suffix)
                                 : std::vector<std::string>{layer_name("layers.", i, suffix)};
      };
      list.add(names(".attn.proj_key.weight"), kv.key.weight);
      list.add(names(".attn.proj_val.weight"), kv.value.weight);
      if (kv.norm) {
        list.add(names(".norm1.weight"), kv.norm->weight);
        list.add(names(".norm1.bias"), kv.norm->bias);
      }
    }
    for (std::size_t l = 0; l < model.core.blocks.size(); ++l) {
      Block<Scalar>& block = model.core.blocks[l];
      list.add_linear(layer_name("layers.", l, ".attn.proj_query"), block.attention.query);
      list.add_linear(layer_name("layers.", l, ".attn.proj_out"), block.attention.output);
      list.add_linear(layer_name("layers.", l, ".ff.fc1"), block.feed_forward.first);
      list.add_linear(layer_name("layers.", l, ".ff.fc2"), block.feed_forward.second);
      if (block.norm1.weight.size() > 0) list.add_norm(layer_name("layers.", l, ".norm1"), block.norm1);
      list.add_norm(layer_name("layers.", l, ".norm2"), block.norm2);
    }
    if (c.pre_norm) list.add_norm("out_norm", model.head.norm);
    list.add_linear("out.out_emb", model.head.linear);
    Vector<Scalar>& mix = model.core.aggregator.mix.weight;
    list.add_reshaped({"single_memory_attn_params"}, {1, mix.size()},
                      [&mix](std::uint64_t i) -> Scalar& { return mix(static_cast<Index>(i)); });
    list.add_reshaped({"single_memory_attn_buf"}, {1, mix.size()}, nullptr);  // the implementation logs into it
    return list.tensors;
  }

  /// Calls f(name, field, value) for every field of a config that has one value in all files of the layout.
  template <class F, class AnyConfig>
  static void visit_fixed(F&& f, AnyConfig& c) {
    f("activation", c.activation, Activation::relu);
    f("position", c.position, PositionTerm::relative_key);
    f("empty_memory", c.empty_memory, EmptyMemory::zero_slots);
    f("memory_rule", c.memory_rule, MemoryRule::feedback);
    f("span_ramp", c.span_ramp, Index{0});
    f("memory_norm", c.memory_norm, c.pre_norm ? MemoryNorm::block : MemoryNorm::none);
    f("output_bias", c.output_bias, false);
    f("log_probabilities", c.log_probabilities, true);
    f("norm_epsilon", c.norm_epsilon, Config{}.norm_epsilon);
    f("cross_attention", c.cross_attention, false);
    f("value_bias", c.value_bias, false);
  }
  /// They are all arguments of the class.
  static void set_sizes(Config&) {}
};

}  // namespace fbt
