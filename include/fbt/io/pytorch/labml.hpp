// The files of labml_nn.transformers.feedback: FeedbackTransformer and FeedbackTransformerKV.
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

struct LabmlLayout {
  /// Names of tensors that are in these files and in no others.
  static constexpr std::array marks{"src_embed.weight", "transformer.weights"};

  /// The config of the model, told from names and shapes.
  static Config config(const ForeignFile& file, Index, LayoutDetails&) {
    Config c;
    c.memory_norm = MemoryNorm::none;
    const std::string first = "transformer.layers.0.", attention = first + "attn.";
    c.vocabulary = file.size({{"src_embed.weight", 2, 0}, {"generator.weight", 2, 0}, {"generator.bias", 1, 0}});
    c.width = file.size({{"src_embed.weight", 2, 1}, {"generator.weight", 2, 1}, {"transformer.norm.weight", 1, 0}});
    c.layers = file.layers("transformer.layers.", {".attn.query.linear.weight", ".feed_forward.layer1.weight"});
    c.window = file.size({{attention + "key_pos_embeddings", 3, 0}, {attention + "key_pos_bias", 2, 0}});
    c.heads = file.size({{attention + "key_pos_embeddings", 3, 1},
                         {attention + "key_pos_bias", 2, 1},
                         {attention + "query_pos_bias", 2, 0}});
    c.head_size = file.size({{attention + "key_pos_embeddings", 3, 2}, {attention + "query_pos_bias", 2, 1}});
    c.feed_forward = file.size({{first + "feed_forward.layer1.weight", 2, 0},
                                {first + "feed_forward.layer1.bias", 1, 0},
                                {first + "feed_forward.layer2.weight", 2, 1}});
    c.share_key_value = file.has("transformer.key.linear.weight") || file.has("transformer.value.linear.weight");
    c.value_bias = c.share_key_value ? file.has("transformer.value.linear.bias")
                                     : file.in_any_layer(c.layers, "transformer.layers.", ".attn.value.linear.bias");
    c.position = PositionTerm::per_head;
    return c;
  }

  /// All tensors of a file, for a model of the right config.
  template <class Scalar>
  static std::vector<ForeignTensor<Scalar>> tensors(FeedbackTransformer<Scalar>& model, const LayoutDetails&) {
    const Config& c = model.config();
    ForeignTensors<Scalar> list;
    list.add({"src_embed.weight"}, model.input.embedding.weight);
    for (std::size_t l = 0; l < model.core.blocks.size(); ++l) {
      Block<Scalar>& block = model.core.blocks[l];
      Position<Scalar>& position = model.core.positions[l];
      const std::string prefix = layer_name("transformer.layers.", l, ".");
      list.add_linear(prefix + "attn.query.linear", block.attention.query);
      list.add_linear(prefix + "attn.output", block.attention.output);
      const Index S = c.window, H = c.heads, e = c.head_columns();
      list.add_reshaped({prefix + "attn.key_pos_embeddings"}, {S, H, e}, [&position, H, e](std::uint64_t i) -> Scalar& {
        return position.weight(static_cast<Index>(i) / (H * e), static_cast<Index>(i) % (H * e));
      });
      list.add_reshaped({prefix + "attn.key_pos_bias"}, {S, H}, [&position, S, H](std::uint64_t i) -> Scalar& {
        return position.bias(static_cast<Index>(i) % H * S + static_cast<Index>(i) / H);
      });
      list.add_reshaped({prefix + "attn.query_pos_bias"}, {H, e},
                        [&position](std::uint64_t i) -> Scalar& { return position.query_bias(static_cast<Index>(i)); });
      list.add_linear(prefix + "feed_forward.layer1", block.feed_forward.first);
      list.add_linear(prefix + "feed_forward.layer2", block.feed_forward.second);
      list.add_norm(prefix + "norm_self_attn", block.norm1);
      list.add_norm(prefix + "norm_ff", block.norm2);
    }
    for (std::size_t i = 0; i < model.core.aggregator.key_values.size(); ++i) {
      const std::string prefix = c.share_key_value ? "transformer." : layer_name("transformer.layers.", i, ".attn.");
      list.add_linear(prefix + "key.linear", model.core.aggregator.key_values[i].key);
      list.add_linear(prefix + "value.linear", model.core.aggregator.key_values[i].value);
    }
    list.add_norm("transformer.norm", model.head.norm);
    list.add({"transformer.weights"}, model.core.aggregator.mix.weight);
    list.add_linear("generator", model.head.linear);
    return list.tensors;
  }

  /// Calls f(name, field, value) for every field of a config that has one value in all files of the layout.
  template <class F, class AnyConfig>
  static void visit_fixed(F&& f, AnyConfig& c) {
    f("activation", c.activation, Activation::relu);
    f("position", c.position, PositionTerm::per_head);
    f("empty_memory", c.empty_memory, EmptyMemory::skip);
    f("memory_rule", c.memory_rule, MemoryRule::feedback);
    f("span_ramp", c.span_ramp, Index{0});
    f("memory_norm", c.memory_norm, MemoryNorm::none);
    f("output_bias", c.output_bias, true);
    f("log_probabilities", c.log_probabilities, false);
    f("norm_epsilon", c.norm_epsilon, Config{}.norm_epsilon);
    f("cross_attention", c.cross_attention, false);
    f("pre_norm", c.pre_norm, true);
  }
  static void set_sizes(Config& c) {
    c.window = 4096;
    c.head_size = 0;
  }
};

}  // namespace fbt
