// MemoryAggregator: from the outputs h^0 .. h^L of all layers of a step to what is remembered of it, the only place that
// knows the memory rules (section 3 of the paper and its ablation). A rule either mixes the layers to one memory vector for
// all,
//   m = sum_l p_l h^l,   key, value = W_k n(m), W_v n(m)       p = softmax(w) (the paper), or given weights
// or lets every layer remember a vector of its own. Follows the contract of layer.hpp: the input is the stack [h^0; ...;
// h^L], which the layers write straight into trace.input(t), the output a slot of the memory.
// The memory is written once and read by every later step and layer. So on the way back the gradient of a slot is complete
// when its own step is reached.
#pragma once

#include "fbt/layers/key_value.hpp"
#include "fbt/layers/layer_mix.hpp"
#include "fbt/layers/memory.hpp"

#include <array>
#include <cmath>
#include <string_view>
#include <vector>

namespace fbt {

/// What a step sees before anything has been remembered.
enum class EmptyMemory {
  skip,        ///< attention is left out until there is a slot: h passes through
  zero_slots,  ///< S slots written from the memory vector 0 take part in the softmax from the start
};

/// What a slot remembers of a past step.
enum class MemoryRule {
  feedback,     ///< the mix of all layers h^0 .. h^L with learned weights
  average,      ///< their mean
  top_only,     ///< h^L
  layer,        ///< h^k with k = memory_layer
  recurrent,    ///< layer l reads its own past output h^l
  transformer,  ///< layer l reads its own past input h^(l-1): an ordinary causal Transformer
};

/// What a memory vector goes through before it is projected to key and value.
enum class MemoryNorm {
  none,
  own,    ///< a norm of its own: a LayerNorm, or the model's Norm
  block,  ///< norm1 of the block that reads it, one for all blocks if they share the projection (pre-norm form only)
  /// Like own, but with an epsilon of 4 in place of norm_epsilon: a LayerNorm is then at the start 4 (m - mean) /
  /// sqrt(variance + 4), about 2 (m - mean) for small m, bounded for large ones. Better for text, where the size of a memory
  /// vector may say something; worse where a state has to last (parity): bench/learning.md, examples/README.md.
  soft,
};
inline constexpr double soft_norm_epsilon = 4;  ///< of MemoryNorm::soft
inline constexpr double soft_norm_weight = 4;   ///< where the norm's tensor named weight begins

struct MemoryRuleInfo {
  enum class Source { learned_mix, even_mix, one_layer, own_output, own_input };

  MemoryRule rule;
  std::string_view name;  ///< in files and messages
  Source source;          ///< of a slot

  /// Whether every layer remembers something of its own.
  bool per_layer() const { return source == Source::own_output || source == Source::own_input; }
  /// Whether a slot is made from nothing that later layers find: then a whole segment can go through layer after layer.
  bool layer_by_layer() const { return source == Source::own_input; }
};
inline constexpr std::array<MemoryRuleInfo, 6> memory_rules{{
    {MemoryRule::feedback, "feedback", MemoryRuleInfo::Source::learned_mix},
    {MemoryRule::average, "average", MemoryRuleInfo::Source::even_mix},
    {MemoryRule::top_only, "top_only", MemoryRuleInfo::Source::one_layer},
    {MemoryRule::layer, "layer", MemoryRuleInfo::Source::one_layer},
    {MemoryRule::recurrent, "recurrent", MemoryRuleInfo::Source::own_output},
    {MemoryRule::transformer, "transformer", MemoryRuleInfo::Source::own_input},
}};
constexpr const MemoryRuleInfo& info_of(MemoryRule rule) { return memory_rules[static_cast<std::size_t>(rule)]; }

struct MemoryOptions {
  MemoryRule rule = MemoryRule::feedback;
  Index layer = 0;              ///< k of MemoryRule::layer
  Index layers = 1;             ///< L
  Index width = 0;              ///< d
  Index heads = 1;              ///< H
  Index head_size = 0;          ///< e
  Index window = 1;             ///< S
  bool share_key_value = true;  ///< one key and value projection for all layers; else one per layer
  MemoryNorm norm = MemoryNorm::own;
  bool value_bias = false;
  EmptyMemory empty = EmptyMemory::skip;
  double norm_epsilon = 1e-5;
};

template <class Scalar, class Norm = LayerNorm<Scalar>>
struct MemoryAggregator {
  MemoryOptions options;
  LayerMix<Scalar> mix;
  std::vector<KeyValue<Scalar, Norm>> key_values;  ///< one for all layers, or one per layer

  struct Trace {
    typename LayerMix<Scalar>::Trace mix;  // mix.x is the stack of all layer outputs ((L+1) d, T*B)
    std::vector<typename KeyValue<Scalar, Norm>::Trace> key_values, zero_slots;
    std::vector<KeyValueCache<Scalar>> dbanks;  // gradient of the slots
    Matrix<Scalar> vector, dvector;             // (d, B)
    Segment segment;
    Index first_slot = 0;      // the slot that step 0 writes
    bool fresh_zeros = false;  // the zero slots were written in this segment

    auto input(Index t) { return mix.input(t); }
  };

  MemoryAggregator() = default;
  /// Random projections. Of the learned layer weights two thirds begin with the embedding h^0: what a step has read is found
  /// again sooner then, though a state of its own (of a random walk) is learned a little later (examples/README.md).
  MemoryAggregator(const MemoryOptions& o, Random& random) : options(o) {
    set_rule(o.rule, o.layer);
    if (mix.weight.size() > 0) mix.weight(0) = std::log(static_cast<Scalar>(2 * o.layers));  // exp(0) is each other layer's
    const bool soft = o.norm == MemoryNorm::soft;
    for (Index i = 0; i < (o.share_key_value ? 1 : o.layers); ++i) {
      key_values.emplace_back(o.width, o.heads, o.head_size, o.norm != MemoryNorm::none, o.value_bias,
                              soft ? soft_norm_epsilon : o.norm_epsilon, random);
      if (soft)
        Norm::visit(
            [](std::string_view name, auto& tensor) {
              if (name == "weight") tensor *= static_cast<Scalar>(soft_norm_weight);
            },
            *key_values.back().norm);
    }
  }

  /// The same projections under another rule; the layer weights begin anew, equal.
  void set_rule(MemoryRule rule, Index layer) {
    options.rule = rule;
    options.layer = layer;
    const Index layers = options.layers;
    Vector<Scalar> given = Vector<Scalar>::Zero(layers + 1);
    switch (info().source) {
      case MemoryRuleInfo::Source::learned_mix: mix = LayerMix<Scalar>(layers, options.width); return;
      case MemoryRuleInfo::Source::even_mix: given.setConstant(Scalar(1) / static_cast<Scalar>(layers + 1)); break;
      case MemoryRuleInfo::Source::one_layer: given(rule == MemoryRule::top_only ? layers : layer) = 1; break;
      case MemoryRuleInfo::Source::own_output:
      case MemoryRuleInfo::Source::own_input: break;  // nothing is mixed
    }
    mix = LayerMix<Scalar>(given, options.width);
  }
  const MemoryRuleInfo& info() const { return info_of(options.rule); }

  /// Which bank layer i (0 .. L-1) reads.
  std::size_t bank_of(std::size_t i) const { return key_values.size() == 1 ? 0 : i; }

  /// The empty memory of the given number of lanes.
  Memory<Scalar> make_memory(Index lanes) const {
    return Memory<Scalar>(static_cast<Index>(key_values.size()), options.head_size, options.heads, lanes, options.window);
  }
  /// Whether the next segment begins with zero slots.
  bool starts_with_zeros(const Memory<Scalar>& memory) const {
    return options.empty == EmptyMemory::zero_slots && memory.end == 0;
  }

  void prepare(Trace& trace, const Segment& segment) const {
    trace.segment = segment;
    mix.prepare(trace.mix, segment);
    trace.key_values.resize(key_values.size());
    trace.zero_slots.resize(key_values.size());
    for (std::size_t i = 0; i < key_values.size(); ++i) key_values[i].prepare(trace.key_values[i], segment);
    trace.vector.resize(options.width, segment.lanes);
    trace.dvector.resize(options.width, segment.lanes);
  }

  /// Before step 0: makes room for the segment and writes the zero slots.
  void begin(Trace& trace, Memory<Scalar>& memory) const {
    trace.fresh_zeros = starts_with_zeros(memory);
    memory.reserve(trace.segment.steps + (trace.fresh_zeros ? options.window : 0));
    if (trace.fresh_zeros) write_zero_slots(trace, memory);
    trace.first_slot = memory.end;
  }

  /// Remembers step t: the next slot of the memory, in all banks.
  void forward(Trace& trace, Index t, Memory<Scalar>& memory) const {
    if (info().per_layer()) {
      for (std::size_t i = 0; i < key_values.size(); ++i) remember(i, trace, t, memory);
    } else {
      mix.forward(trace.mix.input(t), trace.mix, t, trace.vector);
      for (std::size_t i = 0; i < key_values.size(); ++i) write(i, trace.vector, trace, t, memory);
    }
    ++memory.end;
  }

  /// Only what layer i remembers of step t, where every layer remembers its own; the slot is not counted.
  void remember(std::size_t i, Trace& trace, Index t, Memory<Scalar>& memory) const {
    const Index d = options.width;
    write(i, trace.mix.input(t).middleRows(remembered(i) * d, d), trace, t, memory);
  }

  /// Before the last step is walked back: gradients of the slots are zero.
  void begin_backward(Trace& trace, const Memory<Scalar>& memory) const {
    trace.dbanks.resize(memory.banks.size());
    for (std::size_t i = 0; i < memory.banks.size(); ++i) trace.dbanks[i].set_zero_like(memory.banks[i], memory.end);
  }

  /// From the gradient of the slot of step t, which is complete, to that of the stack: dstack ((L+1) d, B), overwritten.
  void backward(Trace& trace, Index t, Out<Scalar> dstack) const {
    if (info().per_layer()) {
      dstack.setZero();
      const Index d = options.width;
      for (std::size_t i = 0; i < key_values.size(); ++i) {
        back_to_remembered(i, trace, t, trace.dvector);
        dstack.middleRows(remembered(i) * d, d) += trace.dvector;
      }
      return;
    }
    auto dm = trace.mix.delta(t);  // m = mix(h^0 .. h^L)
    back_to_remembered(0, trace, t, dm);
    for (std::size_t i = 1; i < key_values.size(); ++i) {
      back_to_remembered(i, trace, t, trace.dvector);
      dm += trace.dvector;
    }
    mix.backward(dm, trace.mix, t, dstack);
  }

  /// From the gradient of slot t of bank i to that of what was remembered there: dvector (d, B), overwritten.
  void back_to_remembered(std::size_t i, Trace& trace, Index t, Out<Scalar> dvector) const {
    auto& kv = trace.key_values[i];
    trace.dbanks[i].read(trace.first_slot + t, kv.k(t), kv.v(t));
    key_values[i].backward(kv, t, dvector);  // k, v = key_value(m)
  }

  /// After step 0 has been walked back: the gradient of the zero slots of bank i, which are all copies of one.
  void end_backward(std::size_t i, Trace& trace) const {
    if (!trace.fresh_zeros) return;
    const Index e = options.head_size;
    const Window zeros{trace.first_slot - options.window, options.window};
    auto& kv = trace.zero_slots[i];
    auto dk = kv.k(0), dv = kv.v(0);
    dk.setZero();
    dv.setZero();
    const KeyValueCache<Scalar>& dbank = trace.dbanks[i];
    for (Index b = 0; b < dbank.lanes; ++b) {
      for (Index j = 0; j < options.heads; ++j) {
        dk.middleRows(j * e, e) += dbank.key(b, j, zeros).colwise().sum().transpose();
        dv.middleRows(j * e, e) += dbank.value(b, j, zeros).rowwise().sum();
      }
    }
    key_values[i].backward(kv, 0, trace.dvector.leftCols(1));
  }

  /// The zero slots belong to step 0.
  void accumulate(Trace& trace, Index first, Index count, MemoryAggregator& grad) const {
    mix.accumulate(trace.mix, first, count, grad.mix);
    for (std::size_t i = 0; i < key_values.size(); ++i) accumulate_bank(i, trace, first, count, grad);
  }
  /// Only what bank i is made by.
  void accumulate_bank(std::size_t i, Trace& trace, Index first, Index count, MemoryAggregator& grad) const {
    key_values[i].accumulate(trace.key_values[i], first, count, grad.key_values[i]);
    if (first == 0 && trace.fresh_zeros) key_values[i].accumulate(trace.zero_slots[i], 0, 1, grad.key_values[i]);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    if (((layers.mix.weight.size() > 0) && ...)) visit_child("mix", f, layers.mix...);
    visit_children("key_values", f, layers.key_values...);
  }

 private:
  /// Which row of the stack layer i remembers, where each remembers its own.
  Index remembered(std::size_t i) const {
    return static_cast<Index>(i) + (info().source == MemoryRuleInfo::Source::own_output ? 1 : 0);
  }

  void write(std::size_t i, const In<Scalar>& vector, Trace& trace, Index t, Memory<Scalar>& memory) const {
    auto& kv = trace.key_values[i];
    key_values[i].forward(vector, kv, t);
    memory.banks[i].write(trace.first_slot + t, kv.k(t), kv.v(t));
  }

  void write_zero_slots(Trace& trace, Memory<Scalar>& memory) const {
    Segment one = trace.segment;
    one.steps = one.lanes = 1;
    one.weights = WeightFormat::full;  // packed for a single step they would cost more than they save
    for (std::size_t i = 0; i < key_values.size(); ++i) {
      auto& kv = trace.zero_slots[i];
      key_values[i].prepare(kv, one);
      key_values[i].forward(Vector<Scalar>::Zero(options.width), kv, 0);
      const Matrix<Scalar> key = kv.k(0).replicate(1, memory.lanes()), value = kv.v(0).replicate(1, memory.lanes());
      for (Index slot = 0; slot < options.window; ++slot) memory.banks[i].write(slot, key, value);
    }
    memory.end = options.window;
  }
};

}  // namespace fbt
