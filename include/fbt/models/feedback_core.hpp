// FeedbackCore: vectors in, vectors out, with a memory: the middle of "Addressing Some Limitations of Transformers with
// Feedback Memory" (Fan, Lavril, Grave, Joulin, Sukhbaatar, arXiv 2002.09402), section 3. For each step t, with h^0 = x:
//   h^l = block_l(h^{l-1}, memory of earlier steps)       l = 1..L,   y = h^L
//   the next slot of the memory = aggregate(h^0 .. h^L)   (memory_aggregator.hpp; the paper's rule mixes all layers)
// Follows the contract of layer.hpp with its memory as a further argument, so that it can be checked, composed and trained
// alone.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/layers/memory_aggregator.hpp"
#include "fbt/models/block.hpp"
#include "fbt/models/config.hpp"

#include <algorithm>
#include <vector>

namespace fbt {

template <class Scalar_, BlockLayer Block_ = Block<Scalar_>>
class FeedbackCore {
 public:
  using Scalar = Scalar_;
  using Block = Block_;
  using Norm = typename Block::Norm;
  using Memory = fbt::Memory<Scalar>;
  using Config = fbt::Config;
  static constexpr const char* config_key = "fbt.config";  ///< of the config in a model's file

  /// What one segment keeps for its backward pass.
  struct Trace {
    Segment segment;
    StepOrder order;
    std::vector<typename Block::Trace> blocks;
    std::vector<Index> groups;  // (L): of which group of steps each holds what it needs (Segment::recompute)
    typename MemoryAggregator<Scalar, Norm>::Trace
        aggregator;                              // its input is the stack of all layers' outputs ((L+1) d, T*B)
    std::vector<Window> windows;                 // (T*B): what every lane sees at every step
    Source<Scalar> dsource;                      // of a decoder: the gradient of the source's keys and values
    std::vector<Window> source_windows;          // (B): what every lane sees of its source
    Matrix<Scalar> dstack, dinput, dremembered;  // ((L+1) d, B), (d, B), (d, B)
    Index width = 0;                             // d
    Index reach = 0;                             // how many slots the heads look at, at most
    Index rows = 0;                              // how many slots a window may hold

    /// Where a caller may write the input x (d, B) of step t, and find its output y (d, B): then nothing is copied.
    auto input(Index t) { return aggregator.input(t).topRows(width); }
    auto output(Index t) { return aggregator.input(t).bottomRows(width); }
    /// The outputs of all steps (d, T*B).
    auto outputs() const { return aggregator.mix.x.bottomRows(width); }

    Windows windows_of(Index t) const {
      return Windows(windows).subspan(static_cast<std::size_t>(t * segment.lanes), static_cast<std::size_t>(segment.lanes));
    }
  };

  FeedbackCore() = default;
  /// Random parameters. Throws std::invalid_argument when the config does not hold (Config::validate).
  FeedbackCore(const Config& config, Random& random) : config_((config.validate(), config)) {
    const Config& c = config_;
    check(!c.cross_attention || has_cross, "config: cross_attention needs blocks that have it");
    for (Index l = 0; l < c.layers; ++l) blocks.emplace_back(c, random);
    for (Index i = 0; i < c.positions(); ++i)
      positions.emplace_back(c.position, c.head_columns(), c.heads, c.window, random);
    aggregator = MemoryAggregator<Scalar, Norm>(c.memory_options(), random);
  }

  std::vector<Block> blocks;
  std::vector<Position<Scalar>> positions;  ///< one for all layers, or one per layer
  MemoryAggregator<Scalar, Norm> aggregator;

  const Config& config() const { return config_; }

  /// How many of the newest slots any head looks at: the window, unless spans are learned (Config::span_ramp).
  Index longest_span() const {
    if (config_.span_ramp == 0) return config_.window;
    Index longest = 1;
    for (const Block& block : blocks)
      for (Index j = 0; j < config_.heads; ++j) longest = std::max(longest, block.attention.span.visible(j));
    return longest;
  }

  /// ADDS to grad the gradient of penalty * (the mean span of all heads, in steps).
  void add_span_penalty(double penalty, FeedbackCore& grad) const {
    const double each = penalty * static_cast<double>(config_.window) / static_cast<double>(config_.layers * config_.heads);
    for (std::size_t l = 0; l < blocks.size(); ++l) {
      const Vector<Scalar>& length = blocks[l].attention.span.length;
      grad.blocks[l].attention.span.length.array() +=
          (length.array() > 0).template cast<Scalar>() * static_cast<Scalar>(each);
    }
  }

  /// Brings learned spans back between 0 and the window, after an update.
  void clamp_spans() {
    for (Block& block : blocks) block.attention.span.clamp();
  }

  /// The same parameters under another memory rule: a Transformer that was trained in parallel goes on as a Feedback
  /// Transformer (the paper's recipe), say. The layer weights begin anew, unless the rule is the core's own. Throws
  /// std::invalid_argument, and changes nothing, when the rule does not fit: recurrent and transformer need a key and value
  /// projection per layer.
  void set_memory_rule(MemoryRule rule, Index memory_layer = 0) {
    Config changed = config_;
    changed.memory_rule = rule;
    changed.memory_layer = memory_layer;
    changed.validate();
    if (changed == config_) return;
    config_ = changed;
    aggregator.set_rule(rule, memory_layer);
  }

  /// The empty memory of the given number of lanes. Throws std::invalid_argument unless there is at least 1.
  Memory make_memory(Index lanes) const {
    check(lanes >= 1, "memory: lanes must be at least 1, found {}", lanes);
    return aggregator.make_memory(lanes);
  }
  /// Of a decoder: no source yet for so many lanes. banks: how many projections of the source there are, one for all blocks
  /// or one per block.
  Source<Scalar> make_source(Index banks, Index lanes) const {
    return Source<Scalar>(banks, config_.head_columns(), config_.heads, lanes);
  }

  /// Whether a lane can begin anew while others go on: not where all share zero slots.
  bool lanes_begin_alone() const { return config_.empty_memory == EmptyMemory::skip; }

  /// How many slots a step of a segment will see, at most, that begins with the given memory: what prepare() wants to know.
  Index most_slots(const Memory& memory, Index steps) const {
    const Index first = aggregator.starts_with_zeros(memory) ? config_.window : memory.visible().count;
    return std::min(longest_span(), first + steps);
  }

  /// rows: the most slots that a step of the segment will see (most_slots()); 0: as many as there can be.
  void prepare(Trace& trace, const Segment& segment, Index rows = 0) const {
    trace.order = {};
    trace.segment = segment;
    trace.width = config_.width;
    trace.reach = longest_span();
    trace.rows = rows = rows > 0 ? rows : trace.reach;
    trace.blocks.resize(blocks.size());
    trace.groups.assign(blocks.size(), 0);
    for (std::size_t l = 0; l < blocks.size(); ++l)
      blocks[l].prepare(view(l), rows, trace.blocks[l], block_segment(l, segment, 0));
    aggregator.prepare(trace.aggregator, segment);
    trace.windows.assign(static_cast<std::size_t>(segment.columns()), {});
    trace.dstack.resize(trace.aggregator.mix.x.rows(), segment.lanes);
    trace.dinput.resize(config_.width, segment.lanes);
    trace.dremembered.resize(config_.width, segment.lanes);
    trace.order.prepare(segment);
  }

  /// Reads x (d, B), remembers the step in the memory, and overwrites y (d, B). Throws std::invalid_argument when it is not
  /// the turn of step t, and for a memory of other lanes or of a core of another config.
  void forward(const In<Scalar>& x, Memory& memory, Trace& trace, Index t, Out<Scalar> y) const {
    if (t == 0) begin(memory, trace);
    trace.order.forward(t);
    if (auto own = trace.input(t); own.data() != x.data()) own = x;
    see(memory, trace, t, memory.end);
    for (std::size_t i = 0; i < blocks.size(); ++i) run_block(i, memory, trace, t);
    aggregator.forward(trace.aggregator, t, memory);
    if (auto own = trace.output(t); own.data() != y.data()) y = own;
  }

  /// All steps of a segment, with inputs in trace.input(t); outputs are left in trace.output(t). The same numbers as step by
  /// step; where the memory rule allows, layer after layer: a layer of a Transformer reads what the layer below has found at
  /// earlier steps.
  void forward_segment(Memory& memory, Trace& trace) const {
    const Index T = trace.segment.steps;
    if (!aggregator.info().layer_by_layer()) {
      for (Index t = 0; t < T; ++t) forward(trace.input(t), memory, trace, t, trace.output(t));
      return;
    }
    begin(memory, trace);
    for (Index t = 0; t < T; ++t) {
      trace.order.forward(t);
      see(memory, trace, t, trace.aggregator.first_slot + t);
    }
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      for (Index t = 0; t < T; ++t) aggregator.remember(i, trace.aggregator, t, memory);
      for (Index t = 0; t < T; ++t) run_block(i, memory, trace, t);
    }
    memory.end += T;
  }

  /// dy, dx (d, B); dx is overwritten. Slots carried from before the segment are constants. Throws std::invalid_argument
  /// when it is not the turn of step t, or the memory has changed since the segment was read.
  void backward(const In<Scalar>& dy, const Memory& memory, Trace& trace, Index t, Out<Scalar> dx) const {
    if (t == trace.segment.steps - 1) begin_backward(memory, trace);
    trace.order.backward(t);
    const Index d = config_.width;
    aggregator.backward(trace.aggregator, t, trace.dstack);
    trace.dstack.bottomRows(d) += dy;  // y = h^L
    for (std::size_t i = blocks.size(); i-- > 0;) {
      const Index l = static_cast<Index>(i);
      back_through(i, trace.dstack.middleRows((l + 1) * d, d), memory, trace, t);
      trace.dstack.middleRows(l * d, d) += trace.dinput;
    }
    if (config_.share_key_value) {
      add_to_bank(0, 0, config_.layers, trace, t);
    } else {
      for (Index l = 0; l < config_.layers; ++l) add_to_bank(static_cast<std::size_t>(l), l, 1, trace, t);
    }
    if (trace.dsource.banks.size() == 1) {
      add_to_source(0, 0, config_.layers, memory, trace, t);
    } else if (trace.dsource.banks.size() > 1) {
      for (Index l = 0; l < config_.layers; ++l) add_to_source(static_cast<std::size_t>(l), l, 1, memory, trace, t);
    }
    dx = trace.dstack.topRows(d);
    for (std::size_t i = 0; i < aggregator.key_values.size() && t == 0; ++i) aggregator.end_backward(i, trace.aggregator);
  }

  /// The way back of forward_segment(): dh (d, T*B) is the gradient of the outputs, and is overwritten by that of the
  /// inputs. ADDS the parameter gradients.
  void backward_segment(Out<Scalar> dh, const Memory& memory, Trace& trace, FeedbackCore& grad) const {
    const Index T = trace.segment.steps, B = trace.segment.lanes;
    if (!aggregator.info().layer_by_layer()) {
      walk_back(
          T, [&](Index t) { backward(step_columns(dh, t, B), memory, trace, t, step_columns(dh, t, B)); },
          [&](Index first, Index count) { accumulate(trace, first, count, grad); });
      return;
    }
    begin_backward(memory, trace);
    walk_back(
        T, [&](Index t) { trace.order.backward(t); },
        [&](Index first, Index count) { trace.order.accumulate(first, count); });
    for (std::size_t i = blocks.size(); i-- > 0;) {
      const auto back = [&](Index t) {
        auto dlayer = step_columns(dh, t, B);  // of the layer's output, then of its input
        back_through(i, dlayer, memory, trace, t);
        add_to_bank(i, static_cast<Index>(i), 1, trace, t);
        if (const std::size_t banks = trace.dsource.banks.size(); banks > 0)
          add_to_source(banks == 1 ? 0 : i, static_cast<Index>(i), 1, memory, trace, t);
        aggregator.back_to_remembered(i, trace.aggregator, t, trace.dremembered);
        dlayer = trace.dinput + trace.dremembered;
        if (t == 0) aggregator.end_backward(i, trace.aggregator);
      };
      walk_back(T, back, [&](Index first, Index count) {
        accumulate_block(i, trace, first, count, grad);
        aggregator.accumulate_bank(i, trace.aggregator, first, count, grad.aggregator);
      });
    }
  }

  /// ADDS the parameter gradients of count steps, from the given one on. Throws std::invalid_argument unless they are those
  /// that have been walked back since the last time.
  void accumulate(Trace& trace, Index first, Index count, FeedbackCore& grad) const {
    trace.order.accumulate(first, count);
    for (std::size_t l = 0; l < blocks.size(); ++l) accumulate_block(l, trace, first, count, grad);
    aggregator.accumulate(trace.aggregator, first, count, grad.aggregator);
  }

  /// What a layer (0 .. L-1) looked at in the last step that was read: attention weights (slots seen, H*B), the oldest slot
  /// first, head j of lane b in column b*H + j. No rows when there was nothing to see. Throws std::invalid_argument for a
  /// layer that there is not, and for a Trace that is prepared for more than single steps.
  Matrix<Scalar> attention(Index layer, const Trace& trace) const {
    check(layer >= 0 && layer < config_.layers, "attention: expected a layer below {}, found {}", config_.layers, layer);
    check(trace.segment.steps == 1 && !trace.segment.train && trace.blocks.size() == blocks.size(),
          "attention: expected a Trace of single steps, such as that of start(), found one of a segment");
    Index seen = 0;
    for (const Window& w : trace.windows) seen = std::max(seen, std::min(w.count, trace.reach));
    return trace.blocks[static_cast<std::size_t>(layer)].attention.position.dy.bottomRows(seen);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... cores) {
    visit_children("blocks", f, cores.blocks...);
    visit_children("positions", f, cores.positions...);
    MemoryAggregator<Scalar, Norm>::visit(f, cores.aggregator...);
  }

  /// Throws std::invalid_argument unless the memory is that of so many lanes and of this config.
  void check_memory(const Memory& memory, Index lanes) const {
    check(memory.lanes() == lanes, "the memory has {} lanes, expected {}", memory.lanes(), lanes);
    const KeyValueCache<Scalar>& bank = memory.banks.front();
    const Index shortest = config_.span_ramp > 0 ? 1 : config_.window;
    check(memory.window >= shortest && memory.window <= config_.window &&
              memory.banks.size() == aggregator.key_values.size() && bank.heads == config_.heads &&
              bank.head_size == config_.head_columns(),
          "the memory was made by a model of another config: expected {} banks of slots, window {}, {} heads of {}, found "
          "{}, {}, {} of {}",
          aggregator.key_values.size(), config_.window, config_.heads, config_.head_columns(), memory.banks.size(),
          memory.window, bank.heads, bank.head_size);
    if (config_.cross_attention) {
      const Source<Scalar>& source = memory.source;
      check(source.lanes() == lanes && (source.banks.size() == 1 || source.banks.size() == blocks.size()) &&
                source.banks.front().heads == config_.heads && source.banks.front().head_size == config_.head_columns(),
            "a decoder needs a memory with a source of {} lanes, made by a model of the same config, found {} lanes", lanes,
            source.lanes());
    }
    check(
        lanes_begin_alone() || std::all_of(memory.begin.begin(), memory.begin.end(), [](Index first) { return first == 0; }),
        "a lane cannot begin anew alone with empty_memory zero_slots: all lanes share the zero slots");
  }

  /// Throws std::invalid_argument unless the way back of the segment may begin, with the memory as forward() left it.
  void check_backward(const Memory& memory, const Trace& trace) const {
    trace.order.check_backward(trace.segment.steps - 1);
    check(memory.banks.size() == aggregator.key_values.size() &&
              memory.end == trace.aggregator.first_slot + trace.segment.steps,
          "backward: the memory has changed since forward(): expected {} slots in use, found {}",
          trace.aggregator.first_slot + trace.segment.steps, memory.banks.empty() ? 0 : memory.end);
    check(memory.source.windows == trace.source_windows, "backward: the memory has other sources than in forward()");
  }

 private:
  static constexpr bool has_cross = requires(Block block, typename Block::Trace trace) {
    block.cross->prepare_source(Index{}, trace.cross);
  };

  std::size_t position_of(std::size_t i) const { return positions.size() == 1 ? 0 : i; }
  typename Block::View view(std::size_t i) const { return {shared_norm(i), positions[position_of(i)]}; }
  typename Block::View view(std::size_t i, const Memory& memory, Windows windows) const {
    typename Block::View view{shared_norm(i), positions[position_of(i)], &memory.banks[aggregator.bank_of(i)], windows};
    if (config_.cross_attention) view.source = {&memory.source.bank_of(i), memory.source.windows};
    return view;
  }
  const Norm* shared_norm(std::size_t i) const {
    return config_.memory_norm == MemoryNorm::block ? &*aggregator.key_values[aggregator.bank_of(i)].norm : nullptr;
  }

  /// Before step 0.
  void begin(Memory& memory, Trace& trace) const {
    trace.order.check_forward(0);
    check_memory(memory, trace.segment.lanes);
    trace.segment.check_starts();
    check(lanes_begin_alone() || trace.segment.starts.empty(),
          "a segment with starts needs empty_memory skip: with zero_slots all lanes share the zero slots");
    const Index most = std::min(trace.reach, most_slots(memory, trace.segment.steps - 1));
    check(most <= trace.rows, "forward: the Trace was prepared for windows of at most {} slots, found {}", trace.rows, most);
    // A segment's slots count from 0 on, so that its arithmetic does not depend on how the memory came about. What no head
    // sees is dropped.
    if (trace.segment.steps > 1 || trace.segment.train || memory.window != trace.reach) memory.set_window(trace.reach);
    aggregator.begin(trace.aggregator, memory);
    if (trace.segment.train) trace.source_windows = memory.source.windows;
    for (std::size_t l = 0; l < blocks.size(); ++l) prepare_source(l, memory, trace);
  }

  void prepare_source(std::size_t l, const Memory& memory, Trace& trace) const {
    if constexpr (has_cross)
      if (config_.cross_attention) blocks[l].cross->prepare_source(memory.source.longest(), trace.blocks[l].cross);
  }

  /// Notes what step t sees, which will write the given slot.
  void see(Memory& memory, Trace& trace, Index t, Index slot) const {
    Window* const windows = trace.windows.data() + t * trace.segment.lanes;
    for (Index b = 0; b < trace.segment.lanes; ++b) {
      if (trace.segment.starts_at(t, b)) memory.begin[static_cast<std::size_t>(b)] = slot;
      windows[b] = memory.visible_at(b, slot);
    }
  }

  /// What block l is prepared for: the segment, or one of its groups of steps.
  static Segment block_segment(std::size_t l, const Segment& segment, Index group) {
    const Segment all = segment.child(l + 1);
    return segment.in_groups() ? all.group(group) : all;
  }
  /// Where a block's Trace holds step t, while it holds the step's group.
  static Index place(const Trace& trace, Index t) { return trace.segment.in_groups() ? delta_index(t) : t; }
  /// Prepares block i for the group of step t. False if it is already.
  bool begin_group(std::size_t i, const Memory& memory, Trace& trace, Index t) const {
    const Index group = t / delta_steps;
    if (!trace.segment.in_groups() || trace.groups[i] == group) return false;
    Segment segment = block_segment(i, trace.segment, group);
    segment.keep_packed = segment.again = true;
    blocks[i].prepare(view(i), trace.rows, trace.blocks[i], segment);
    prepare_source(i, memory, trace);
    trace.groups[i] = group;
    return true;
  }
  /// From the gradient of the output of block i at step t to that of its input, in trace.dinput.
  void back_through(std::size_t i, const In<Scalar>& dy, const Memory& memory, Trace& trace, Index t) const {
    if (begin_group(i, memory, trace, t))
      for (Index k = t - delta_index(t); k <= t; ++k) run_block(i, memory, trace, k);  // writes what is there already
    blocks[i].backward(dy, view(i, memory, trace.windows_of(t)), trace.blocks[i], place(trace, t), trace.dinput);
  }

  void run_block(std::size_t i, const Memory& memory, Trace& trace, Index t) const {
    begin_group(i, memory, trace, t);
    auto stack = trace.aggregator.input(t);
    const Index d = config_.width, l = static_cast<Index>(i);
    blocks[i].forward(stack.middleRows(l * d, d), view(i, memory, trace.windows_of(t)), trace.blocks[i], place(trace, t),
                      stack.middleRows((l + 1) * d, d));
  }

  void begin_backward(const Memory& memory, Trace& trace) const {
    check_backward(memory, trace);
    aggregator.begin_backward(trace.aggregator, memory);
    trace.dsource.banks.resize(config_.cross_attention ? memory.source.banks.size() : 0);
    for (std::size_t i = 0; i < trace.dsource.banks.size(); ++i)
      trace.dsource.banks[i].set_zero_like(memory.source.banks[i], memory.source.longest());
  }

  void accumulate_block(std::size_t l, Trace& trace, Index first, Index count, FeedbackCore& grad) const {
    auto& block = trace.blocks[l];
    const Index from = place(trace, first);
    blocks[l].accumulate(block, from, count, grad.blocks[l]);
    positions[position_of(l)].accumulate(block.attention.position, from, count, grad.positions[position_of(l)]);
    if (const std::size_t bank = aggregator.bank_of(l); config_.memory_norm == MemoryNorm::block)
      aggregator.key_values[bank].norm->accumulate(block.norm1, from, count, *grad.aggregator.key_values[bank].norm);
  }

  /// ADDS to the gradient of bank i what so many blocks, from the given one on, have read of it at step t.
  void add_to_bank(std::size_t i, Index first, Index count, Trace& trace, Index t) const {
    const auto trace_of = [&](Index l) -> auto& { return trace.blocks[static_cast<std::size_t>(first + l)].attention; };
    Attention<Scalar>::add_to_cache(count, trace_of, trace.windows_of(t), place(trace, t), trace.aggregator.dbanks[i]);
  }
  /// The same for bank i of the source.
  void add_to_source(std::size_t i, Index first, Index count, const Memory& memory, Trace& trace, Index t) const {
    if constexpr (has_cross) {
      const auto trace_of = [&](Index l) -> auto& {
        return trace.blocks[static_cast<std::size_t>(first + l)].cross.attention;
      };
      const Index at = blocks.front().cross->place(t);
      Attention<Scalar>::add_to_cache(count, trace_of, memory.source.windows, at, trace.dsource.banks[i]);
    }
  }

  Config config_;
};

}  // namespace fbt
