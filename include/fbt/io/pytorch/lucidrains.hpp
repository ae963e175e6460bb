// The files of lucidrains/feedback-transformer-pytorch. They tell everything but the memory's length.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"
#include "fbt/io/pytorch/layout.hpp"
#include "fbt/models/config.hpp"
#include "fbt/models/sequence_model.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace fbt {

struct LucidrainsLayout {
  /// Names of tensors that are in these files and in no others.
  static constexpr std::array marks{"token_emb.weight", "layer_weight"};

  /// Where attention's norm lives in a model with seq_len > 1.
  static constexpr const char* segments = ".0.fn";

  /// The config of the model, told from names and shapes, and from window: its memory length.
  static Config config(const ForeignFile& file, Index window, LayoutDetails& details) {
    Config c;
    c.memory_norm = MemoryNorm::none;
    if (file.has("layers.0.0.fn.norm.weight") || file.has("layers.0.0.fn.fn.to_q.weight")) details.attention = segments;
    const std::string attention = "layers.0" + details.attention + ".fn.";
    c.vocabulary = file.size({{"token_emb.weight", 2, 0}, {"to_logits.1.weight", 2, 0}, {"to_logits.1.bias", 1, 0}});
    c.width = file.size({{"token_emb.weight", 2, 1}, {"to_logits.1.weight", 2, 1}, {"to_logits.0.weight", 1, 0}});
    c.layers = file.layers("layers.", {details.attention + ".fn.to_q.weight", ".1.fn.fn.net.0.weight"});
    c.heads = file.size({{"pos_emb.relative_attention_bias.weight", 2, 1}});
    c.head_size = file.divide(file.size({{attention + "to_q.weight", 2, 0}, {attention + "to_out.weight", 2, 1}}), c.heads,
                              "number of heads");
    c.feed_forward = file.size({{"layers.0.1.fn.fn.net.3.weight", 2, 1}, {"layers.1.1.fn.fn.net.3.weight", 2, 1}});
    c.activation = Activation::geglu;
    c.position = PositionTerm::none;
    check(window > 0, "{}: a lucidrains file does not tell its memory length: give it as window (mem_len in Python)",
          file.name());
    c.window = window;
    return c;
  }

  /// All tensors of a file, for a model of the right config.
  template <class Scalar>
  static std::vector<ForeignTensor<Scalar>> tensors(FeedbackTransformer<Scalar>& model, const LayoutDetails& details) {
    const Config& c = model.config();
    ForeignTensors<Scalar> list;
    list.add({"token_emb.weight"}, model.input.embedding.weight);
    list.add_reshaped({"pos_emb.relative_attention_bias.weight"}, {32, c.heads},
                      nullptr);  // the same for every slot: no effect
    std::vector<std::string> names = each_layer(c.layers, "layers.", details.attention + ".fn.to_kv.weight");
    names.push_back("shared_kv_proj.weight");
    KeyValue<Scalar>& kv = model.core.aggregator.key_values[0];
    const Index half = kv.key.weight.size(), d = c.width;
    list.add_reshaped(std::move(names), {2 * kv.key.outputs(), d}, [&kv, half, d](std::uint64_t i) -> Scalar& {
      const Index k = static_cast<Index>(i) % half;
      return (static_cast<Index>(i) < half ? kv.key : kv.value).weight(k / d, k % d);
    });
    for (std::size_t l = 0; l < model.core.blocks.size(); ++l) {
      Block<Scalar>& block = model.core.blocks[l];
      const std::string attention = layer_name("layers.", l, details.attention), rest = layer_name("layers.", l, ".1.fn");
      list.add_norm(attention + ".norm", block.norm1);
      list.add_linear(attention + ".fn.to_q", block.attention.query);
      list.add_linear(attention + ".fn.to_out", block.attention.output);
      list.add_norm(rest + ".norm", block.norm2);
      list.add_linear(rest + ".fn.net.0", block.feed_forward.first);
      list.add_linear(rest + ".fn.net.3", block.feed_forward.second);
    }
    list.add({"layer_weight"}, model.core.aggregator.mix.weight);
    list.add_norm("to_logits.0", model.head.norm);
    list.add_linear("to_logits.1", model.head.linear);
    return list.tensors;
  }

  /// Calls f(name, field, value) for every field of a config that has one value in all files of the layout.
  template <class F, class AnyConfig>
  static void visit_fixed(F&& f, AnyConfig& c) {
    f("activation", c.activation, Activation::geglu);
    f("position", c.position, PositionTerm::none);
    f("empty_memory", c.empty_memory, EmptyMemory::skip);
    f("memory_rule", c.memory_rule, MemoryRule::feedback);
    f("span_ramp", c.span_ramp, Index{0});
    f("memory_norm", c.memory_norm, MemoryNorm::none);
    f("output_bias", c.output_bias, true);
    f("log_probabilities", c.log_probabilities, false);
    f("norm_epsilon", c.norm_epsilon, Config{}.norm_epsilon);
    f("cross_attention", c.cross_attention, false);
    f("pre_norm", c.pre_norm, true);
    f("value_bias", c.value_bias, false);
    f("share_key_value", c.share_key_value, true);
  }
  static void set_sizes(Config& c) { c.feed_forward = 0; }
};

}  // namespace fbt
