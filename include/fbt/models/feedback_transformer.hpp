// FeedbackTransformer: the model of "Addressing Some Limitations of Transformers with Feedback Memory"
// (Fan, Lavril, Grave, Joulin, Sukhbaatar, arXiv 2002.09402), section 3. For each step t:
//   h^0 = embedding(token)
//   h^l = block_l(h^{l-1}, memory of earlier steps)                    l = 1..L
//   logits = head(norm_out(h^L))                                      (no norm_out in the post-norm form)
//   m = sum_l softmax(w)_l h^l;   key, value = W_k n(m), W_v n(m)      written to the memory, one slot for all layers
// Other memory rules (Config::memory_rule) put something else in the place of m, for all layers or for each its own.
// The memory is written once and read by every later step and layer, so going back in time its gradient is complete when its
// own step is reached: slot t is read only by steps after t.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/layers/dropout.hpp"
#include "fbt/layers/embedding.hpp"
#include "fbt/layers/layer_mix.hpp"
#include "fbt/models/block.hpp"
#include "fbt/models/config.hpp"
#include "fbt/models/phase.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>
#include <vector>

namespace fbt {

template <class Scalar_>
class FeedbackTransformer {
 public:
  using Scalar = Scalar_;
  static constexpr const char* config_key = "fbt.config";  ///< of the config in a model's file

  /// What one segment keeps for its backward pass.
  struct Trace {
    Segment segment{0, 0, false, 0};
    typename Embedding<Scalar>::Trace embedding;
    typename Dropout<Scalar>::Trace dropout;
    std::vector<typename Block<Scalar>::Trace> blocks;
    typename LayerMix<Scalar>::Trace mix;  // mix.x is the stack of all layer outputs ((L+1) d, T*B)
    std::vector<typename KeyValue<Scalar>::Trace> key_values, zero_slots;
    typename LayerNorm<Scalar>::Trace norm_out;  // over all columns of the segment as one step, like the head
    typename Linear<Scalar>::Trace head;
    Matrix<Scalar> logits;                // (V, T*B)
    Matrix<Scalar> memory_vector, dread;  // (d, B)
    Matrix<Scalar> dtop;                  // (d, T*B)
    Matrix<Scalar> dlayers;               // ((L+1) d, B)
    Matrix<Scalar> dinput;                // (d, B)
    std::vector<Slots<Scalar>> dslots;
    std::vector<typename Attention<Scalar>::Trace*> readers;  // of all blocks, made anew by each backward()
    Index first_slot = 0;                                     // the slot that step 0 writes
    bool fresh_zeros = false;                                 // the zero slots were written in this segment
    Phase phase = Phase::unprepared;
    Index reach = 0;  // how many slots the heads look at, at most
    Index seen = 0;   // how many slots step 0 saw
    Config config;    // of the model that start() or forward() was called of
  };

  /// The running state of B sequences: what they remember, and room for the segment at hand.
  struct State {
    Memory<Scalar> memory;
    Trace trace;
    std::shared_ptr<Team> team = nullptr;  // shared by copies; one that steps while another does goes on alone
  };

  FeedbackTransformer() = default;
  /// Random parameters. Throws std::invalid_argument when the config does not hold (Config::validate).
  FeedbackTransformer(const Config& config, Random& random) : config_((config.validate(), config)) {
    const Config& c = config_;
    embedding = Embedding<Scalar>(c.vocabulary, c.width, c.embedding_deviation, random);
    for (Index l = 0; l < c.layers; ++l) blocks.emplace_back(c, random);
    for (Index i = 0; i < c.positions(); ++i)
      positions.emplace_back(c.position, c.head_columns(), c.heads, c.window, random);
    mix = make_mix(c);
    for (Index i = 0; i < c.key_values(); ++i)
      key_values.emplace_back(c.width, c.heads, c.head_columns(), c.memory_norm != MemoryNorm::none, c.value_bias,
                              c.norm_epsilon, random);
    norm_out = LayerNorm<Scalar>(c.pre_norm ? c.width : 0, c.norm_epsilon);
    head = Linear<Scalar>(c.width, c.vocabulary, random);
  }

  Embedding<Scalar> embedding;
  std::vector<Block<Scalar>> blocks;
  std::vector<Position<Scalar>> positions;  ///< one for all layers, or one per layer
  LayerMix<Scalar> mix;
  std::vector<KeyValue<Scalar>> key_values;  ///< one for all layers, or one per layer
  LayerNorm<Scalar> norm_out;
  Linear<Scalar> head;

  const Config& config() const { return config_; }

  /// How many of the newest slots any head looks at: the window, unless spans are learned (Config::span_ramp).
  Index longest_span() const {
    if (config_.span_ramp == 0) return config_.window;
    Index longest = 1;
    for (const Block<Scalar>& block : blocks)
      for (Index j = 0; j < config_.heads; ++j) longest = std::max(longest, block.attention.span.visible(j));
    return longest;
  }

  /// ADDS to grad the gradient of penalty * (the mean span of all heads, in steps).
  void add_span_penalty(double penalty, FeedbackTransformer& grad) const {
    const double each = penalty * static_cast<double>(config_.window) / static_cast<double>(config_.layers * config_.heads);
    for (std::size_t l = 0; l < blocks.size(); ++l) {
      const Vector<Scalar>& length = blocks[l].attention.span.length;
      grad.blocks[l].attention.span.length.array() +=
          (length.array() > 0).template cast<Scalar>() * static_cast<Scalar>(each);
    }
  }

  /// Brings learned spans back between 0 and the window, after an update.
  void clamp_spans() {
    for (Block<Scalar>& block : blocks) block.attention.span.clamp();
  }

  /// The same parameters under another memory rule: a Transformer that was trained in parallel goes on as a Feedback Transformer
  /// (the paper's recipe), say. The layer weights begin anew, unless the rule is the model's own. Throws std::invalid_argument
  /// when the rule does not fit: recurrent and transformer need a key and value projection per layer.
  FeedbackTransformer with_memory_rule(MemoryRule rule, Index memory_layer = 0) const {
    FeedbackTransformer other = *this;
    if (rule == config_.memory_rule && memory_layer == config_.memory_layer) return other;
    other.config_.memory_rule = rule;
    other.config_.memory_layer = memory_layer;
    other.config_.validate();
    other.mix = make_mix(other.config_);
    return other;
  }

  /// The empty memory of the given number of lanes. Throws std::invalid_argument unless there is at least 1.
  Memory<Scalar> make_memory(Index lanes) const {
    check(lanes >= 1, "memory: lanes must be at least 1, found {}", lanes);
    Memory<Scalar> memory;
    memory.span = config_.window;
    memory.slots.assign(key_values.size(), Slots<Scalar>(config_.head_columns(), config_.heads, lanes, 0));
    return memory;
  }

  /// A fresh state for stepping the given number of lanes. It holds keys, values and packed weights made from the present
  /// parameters: start anew after changing them. step() refuses a state whose weights it finds changed.
  /// Up to so many threads share the work of a step, where it is large enough; the logits are the same to the last bit.
  /// Throws std::invalid_argument unless there is at least 1 lane, and 1 to 1024 threads.
  State start(Index lanes, Index threads = 1) const {
    State state{make_memory(lanes), {}, std::make_shared<Team>(threads)};
    state.memory.span = longest_span();  // what no head looks at is not kept
    prepare(state.trace, {1, lanes, false, 0, state.team.get()}, config_.window);
    state.trace.phase = Phase::stepping;
    return state;
  }

  /// Reads one token per lane (B), each in [0, V), and remembers the step. Returns the logits (V, B) of the next token (their
  /// log-probabilities with Config::log_probabilities), which stay valid until the next call. Throws std::invalid_argument for a
  /// wrong number of tokens, a token outside the vocabulary, and a state or memory that is not made for it.
  const Matrix<Scalar>& step(Tokens tokens, State& state) const {
    check_may_step("step", state.trace.phase);
    check_own_state("step", config_, state.trace.config);
    check_input(tokens, state.trace.segment, state.memory);
    if (state.memory.span != state.trace.reach) state.memory.set_span(state.trace.reach);
    run(tokens, state);
    return state.trace.logits;
  }

  /// What a layer (0 .. L-1) looked at in the step that step() has just read: attention weights (slots seen, H*B), the oldest
  /// slot first, head j of lane b in column b*H + j. No rows when there was nothing to see. Throws std::invalid_argument for a
  /// layer that there is not, and for a state that is prepared for segments.
  Matrix<Scalar> attention(Index layer, const State& state) const {
    check(layer >= 0 && layer < config_.layers, "attention: expected a layer below {}, found {}", config_.layers, layer);
    check_may_step("attention", state.trace.phase);
    check_own_state("attention", config_, state.trace.config);
    return state.trace.blocks[static_cast<std::size_t>(layer)].attention.position.dy.bottomRows(state.trace.seen);
  }

  /// Reads a segment of T steps, step after step: tokens (T*B), the B lanes of step 0 first. The memory is carried on from
  /// whatever it holds. Returns the logits (V, T*B); with segment.train the state can then go backward. Packs the weights
  /// anew. Throws std::invalid_argument for a wrong number of tokens, a token outside the vocabulary, and a memory of other lanes
  /// or of a model of another config. Threads: those of segment.team.
  /// To step on from there: auto next = start(B); next.memory = std::move(state.memory).
  const Matrix<Scalar>& forward(Tokens tokens, const Segment& segment, State& state) const {
    check(segment.steps >= 1 && segment.lanes >= 1, "forward: a segment has at least 1 step and 1 lane, found {} and {}",
          segment.steps, segment.lanes);
    check_input(tokens, segment, state.memory);
    state.trace.phase = Phase::unprepared;
    // from slot 0 on, so that a segment's arithmetic does not depend on how the memory came about; what no head sees is dropped
    state.memory.set_span(longest_span());
    prepare(state.trace, segment, starts_with_zeros(state.memory) ? config_.window : state.memory.end);
    run(tokens, state);
    state.trace.phase = segment.train ? Phase::trained : Phase::read;
    return state.trace.logits;
  }

  /// Goes back through the segment that forward() has just read, given the gradient with respect to its logits (V, T*B).
  /// Slots carried from before the segment are constants. Parameter gradients are left for accumulate(). Throws
  /// std::invalid_argument when there is no such segment, or the state's memory has changed since, and for a wrong shape.
  void backward(const In<Scalar>& dlogits, State& state) const {
    Trace& trace = state.trace;
    const Memory<Scalar>& memory = state.memory;
    const Index B = trace.segment.lanes;
    check_may_go_back(trace.phase);
    check(dlogits.rows() == config_.vocabulary && dlogits.cols() == trace.segment.columns(),
          "backward: expected the gradient of the logits ({}, {}), found ({}, {})", config_.vocabulary,
          trace.segment.columns(), dlogits.rows(), dlogits.cols());
    check_own_state("backward", config_, trace.config);
    check(memory.slots.size() == key_values.size() && memory.end == trace.first_slot + trace.segment.steps,
          "backward: the memory has changed since forward(): expected {} slots in use, found {}",
          trace.first_slot + trace.segment.steps, memory.slots.empty() ? 0 : memory.end);
    trace.phase = Phase::unprepared;  // the way back overwrites the attention weights
    trace.dslots.resize(memory.slots.size());
    for (std::size_t i = 0; i < memory.slots.size(); ++i) trace.dslots[i].set_zero_like(memory.slots[i], memory.end);
    trace.readers.resize(blocks.size());
    for (std::size_t l = 0; l < blocks.size(); ++l) trace.readers[l] = &trace.blocks[l].attention;

    auto dhead = trace.head.delta(0);
    dhead = dlogits;
    if (config_.log_probabilities) {  // y = z - log sum exp(z)  =>  dz = dy - exp(y) * sum(dy)
      for (Index i = 0; i < dhead.cols(); ++i)
        dhead.col(i) -= trace.logits.col(i).array().exp().matrix() * dlogits.col(i).sum();
    }
    // logits = head(norm_out(h^L)) for all steps at once
    if (config_.pre_norm) {
      auto& dnormed = trace.mix.dy;  // free until the walk back
      head.backward(dhead, trace.head, 0, dnormed);
      norm_out.backward(dnormed, trace.norm_out, 0, trace.dtop);
    } else {
      head.backward(dhead, trace.head, 0, trace.dtop);
    }

    if (config_.memory_rule == MemoryRule::transformer) {
      back_by_layers(state);
    } else {
      back_by_steps(state);
    }

    trace.phase = Phase::reversed;
    if (!trace.fresh_zeros) return;
    const Window zeros{trace.first_slot - config_.window, config_.window};
    for (std::size_t i = 0; i < key_values.size(); ++i) {  // all zero slots of all lanes are copies of one
      auto& kv = trace.zero_slots[i];
      auto dk = kv.k(0), dv = kv.v(0);
      dk.setZero();
      dv.setZero();
      const Slots<Scalar>& twin = trace.dslots[i];
      for (Index b = 0; b < B; ++b) {
        for (Index j = 0; j < config_.heads; ++j) {
          const Index e = config_.head_columns();
          dk.middleRows(j * e, e) += twin.key(b, j, zeros).colwise().sum().transpose();
          dv.middleRows(j * e, e) += twin.value(b, j, zeros).rowwise().sum();
        }
      }
      key_values[i].backward(kv, 0, trace.dread.leftCols(1));
    }
  }

  /// ADDS the parameter gradients of the segment to grad, a twin of the model (zeros_like). Throws std::invalid_argument when
  /// backward() has not been called, and for the gradient of another config.
  void accumulate(State& state, FeedbackTransformer& grad) const {
    Trace& trace = state.trace;
    check_may_accumulate(trace.phase);
    check_own_state("accumulate", config_, trace.config);
    check_own_gradient(config_, grad.config_);
    embedding.accumulate(trace.embedding, grad.embedding);
    for (std::size_t l = 0; l < blocks.size(); ++l) {
      blocks[l].accumulate(trace.blocks[l], grad.blocks[l]);
      positions[position_of(l)].accumulate(trace.blocks[l].attention.position, grad.positions[position_of(l)]);
      if (config_.memory_norm == MemoryNorm::block)
        norm1(l).accumulate(trace.blocks[l].norm1, *grad.key_values[reader(l)].norm);
    }
    mix.accumulate(trace.mix, grad.mix);
    for (std::size_t i = 0; i < key_values.size(); ++i) {
      key_values[i].accumulate(trace.key_values[i], grad.key_values[i]);
      if (trace.fresh_zeros) key_values[i].accumulate(trace.zero_slots[i], grad.key_values[i]);
    }
    if (config_.pre_norm) norm_out.accumulate(trace.norm_out, grad.norm_out);
    head.accumulate(trace.head, grad.head);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... models) {
    visit_child("embedding", f, models.embedding...);
    visit_children("blocks", f, models.blocks...);
    visit_children("positions", f, models.positions...);
    if (((models.mix.weight.size() > 0) && ...)) visit_child("mix", f, models.mix...);
    visit_children("key_values", f, models.key_values...);
    if (((models.norm_out.weight.size() > 0) && ...)) visit_child("norm_out", f, models.norm_out...);
    visit_child("head", f, models.head...);
  }

 private:
  /// Which slots, and which position term, block i reads.
  std::size_t reader(std::size_t i) const { return config_.share_key_value ? 0 : i; }
  /// The blocks that read slots i.
  auto readers_of(std::size_t i, const Trace& trace) const {
    const std::span all(trace.readers);
    return config_.share_key_value ? all : all.subspan(i, 1);
  }
  std::size_t position_of(std::size_t i) const { return positions.size() == 1 ? 0 : i; }
  const LayerNorm<Scalar>& norm1(std::size_t i) const {
    return config_.memory_norm == MemoryNorm::block ? *key_values[reader(i)].norm : blocks[i].norm1;
  }
  Surroundings<Scalar> surroundings(std::size_t i, const Memory<Scalar>& memory, Window window) const {
    return {norm1(i), positions[position_of(i)], memory.slots[reader(i)], window};
  }
  Dropout<Scalar> dropout() const { return {config_.width, config_.dropout}; }

  /// visible: how many slots the first step sees.
  void prepare(Trace& trace, const Segment& segment, Index visible) const {
    trace.config = config_;
    trace.seen = 0;
    trace.reach = longest_span();
    const Index rows = std::min(trace.reach, visible + segment.steps);
    const Index d = config_.width;
    Segment all = segment;  // the head and its norm see the whole segment as one step
    all.steps = 1;
    all.lanes = segment.columns();
    trace.segment = segment;
    trace.blocks.resize(blocks.size());
    trace.key_values.resize(key_values.size());
    trace.zero_slots.resize(key_values.size());
    embedding.prepare(trace.embedding, segment);
    dropout().prepare(trace.dropout, segment.child(0));
    for (std::size_t l = 0; l < blocks.size(); ++l)
      blocks[l].prepare(norm1(l), positions[position_of(l)], rows, trace.blocks[l], segment.child(l + 1));
    mix.prepare(trace.mix, segment);
    for (std::size_t i = 0; i < key_values.size(); ++i) key_values[i].prepare(trace.key_values[i], segment);
    norm_out.prepare(trace.norm_out, all);
    head.prepare(trace.head, all);
    trace.logits.resize(config_.vocabulary, segment.columns());
    trace.memory_vector.resize(d, segment.lanes);
    trace.dread.resize(d, segment.lanes);
    trace.dinput.resize(d, segment.lanes);
    trace.dlayers.resize(trace.mix.x.rows(), segment.lanes);
    trace.dtop.resize(d, segment.train ? segment.columns() : 0);
  }

  static LayerMix<Scalar> make_mix(const Config& c) {
    Vector<Scalar> shares = Vector<Scalar>::Zero(c.layers + 1);
    switch (c.memory_rule) {
      case MemoryRule::feedback: return LayerMix<Scalar>(c.layers, c.width);
      case MemoryRule::average: shares.setConstant(Scalar(1) / static_cast<Scalar>(c.layers + 1)); break;
      case MemoryRule::top_only: shares(c.layers) = 1; break;
      case MemoryRule::layer: shares(c.memory_layer) = 1; break;
      case MemoryRule::recurrent:
      case MemoryRule::transformer: break;  // nothing is mixed
    }
    return LayerMix<Scalar>(shares, c.width);
  }

  /// Which layer's output reader i remembers, where each remembers its own.
  Index remembered(std::size_t i) const {
    return static_cast<Index>(i) + (config_.memory_rule == MemoryRule::recurrent ? 1 : 0);
  }

  void check_input(Tokens tokens, const Segment& segment, const Memory<Scalar>& memory) const {
    check(memory.lanes() == segment.lanes, "the memory has {} lanes, expected {}", memory.lanes(), segment.lanes);
    const Slots<Scalar>& slots = memory.slots.front();
    const Index shortest = config_.span_ramp > 0 ? 1 : config_.window;
    check(memory.span >= shortest && memory.span <= config_.window && memory.slots.size() == key_values.size() &&
              slots.heads == config_.heads && slots.head_size == config_.head_columns(),
          "the memory was made by a model of another config: expected {} sets of slots, window {}, {} heads of {}, found "
          "{}, {}, {} of {}",
          key_values.size(), config_.window, config_.heads, config_.head_columns(), memory.slots.size(), memory.span,
          slots.heads, slots.head_size);
    check_tokens(tokens, segment, config_.vocabulary);
  }

  void run(Tokens tokens, State& state) const {
    Trace& trace = state.trace;
    Memory<Scalar>& memory = state.memory;
    const Index T = trace.segment.steps, d = config_.width;
    const bool zeros = starts_with_zeros(memory);
    memory.reserve(T + (zeros ? config_.window : 0));
    if (zeros) write_zero_slots(state);
    trace.fresh_zeros = zeros;
    trace.first_slot = memory.end;
    trace.seen = memory.window().count;

    if (config_.memory_rule == MemoryRule::transformer) {
      run_by_layers(tokens, state);
    } else {
      run_by_steps(tokens, state);
    }

    auto top = trace.head.input(0);
    if (config_.pre_norm) {
      norm_out.forward(trace.mix.x.bottomRows(d), trace.norm_out, 0, top);
    } else {
      top = trace.mix.x.bottomRows(d);
    }
    head.forward(top, trace.head, 0, trace.logits);
    if (config_.log_probabilities) {
      for (Index i = 0; i < trace.logits.cols(); ++i) {
        auto z = trace.logits.col(i).array();
        const Scalar largest = z.maxCoeff();
        z -= largest + std::log((z - largest).exp().sum());
      }
    }
  }

  void embed(Tokens tokens, Trace& trace, Index t) const {
    auto h = trace.mix.input(t).topRows(config_.width);
    embedding.forward(step_columns(tokens, t, trace.segment.lanes), trace.embedding, t, h);
    dropout().forward(h, trace.dropout, t, h);
  }
  void run_block(std::size_t i, const Memory<Scalar>& memory, Window window, Trace& trace, Index t) const {
    auto layers = trace.mix.input(t);
    const Index d = config_.width, l = static_cast<Index>(i);
    blocks[i].forward(layers.middleRows(l * d, d), surroundings(i, memory, window), trace.blocks[i], t,
                      layers.middleRows((l + 1) * d, d));
  }
  /// Writes the slot of step t for reader i.
  void remember(std::size_t i, const In<Scalar>& vector, Index t, State& state) const {
    auto& kv = state.trace.key_values[i];
    key_values[i].forward(vector, kv, t);
    state.memory.slots[i].write(state.trace.first_slot + t, kv.k(t), kv.v(t));
  }

  void run_by_steps(Tokens tokens, State& state) const {
    Trace& trace = state.trace;
    Memory<Scalar>& memory = state.memory;
    const Index d = config_.width;
    for (Index t = 0; t < trace.segment.steps; ++t) {
      auto layers = trace.mix.input(t);
      const Window window = memory.window();
      embed(tokens, trace, t);
      for (std::size_t i = 0; i < blocks.size(); ++i) run_block(i, memory, window, trace, t);
      if (config_.remembers_per_layer()) {
        for (std::size_t i = 0; i < key_values.size(); ++i) remember(i, layers.middleRows(remembered(i) * d, d), t, state);
      } else {
        mix.forward(layers, trace.mix, t, trace.memory_vector);
        for (std::size_t i = 0; i < key_values.size(); ++i) remember(i, trace.memory_vector, t, state);
      }
      ++memory.end;
    }
  }

  /// A layer of a Transformer reads what the layer below has found at earlier steps, so that a whole segment can go through
  /// layer after layer: the same arithmetic in another order.
  void run_by_layers(Tokens tokens, State& state) const {
    Trace& trace = state.trace;
    Memory<Scalar>& memory = state.memory;
    const Index T = trace.segment.steps, d = config_.width;
    for (Index t = 0; t < T; ++t) embed(tokens, trace, t);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      for (Index t = 0; t < T; ++t) remember(i, trace.mix.input(t).middleRows(remembered(i) * d, d), t, state);
      for (Index t = 0; t < T; ++t) run_block(i, memory, memory.window_at(trace.first_slot + t), trace, t);
    }
    memory.end += T;
  }

  /// From dk, dv of the slot of step t to the gradient (d, B) of what reader i has remembered. Every reader of the slot comes
  /// later, so that dk and dv are complete.
  void back_to_remembered(std::size_t i, Trace& trace, Index t, Out<Scalar> dvector) const {
    auto& kv = trace.key_values[i];
    trace.dslots[i].read(trace.first_slot + t, kv.k(t), kv.v(t));
    key_values[i].backward(kv, t, dvector);  // k, v = key_value(m)
  }
  void back_to_embedding(const In<Scalar>& dh, Trace& trace, Index t) const {
    auto dembedded = trace.embedding.delta(t);
    dropout().backward(dh, trace.dropout, t, dembedded);
    embedding.backward(dembedded, trace.embedding, t);
  }

  void back_by_steps(State& state) const {
    Trace& trace = state.trace;
    const Index d = config_.width, B = trace.segment.lanes, L = config_.layers;
    for (Index t = trace.segment.steps - 1; t >= 0; --t) {
      const Window window = state.memory.window_at(trace.first_slot + t);
      if (config_.remembers_per_layer()) {
        trace.dlayers.setZero();
        for (std::size_t i = 0; i < key_values.size(); ++i) {
          back_to_remembered(i, trace, t, trace.dread);
          trace.dlayers.middleRows(remembered(i) * d, d) += trace.dread;
        }
      } else {  // m = mix(h^0 .. h^L)
        auto dm = trace.mix.delta(t);
        back_to_remembered(0, trace, t, dm);
        for (std::size_t i = 1; i < key_values.size(); ++i) {
          back_to_remembered(i, trace, t, trace.dread);
          dm += trace.dread;
        }
        mix.backward(dm, trace.mix, t, trace.dlayers);
      }
      trace.dlayers.bottomRows(d) += step_columns(trace.dtop, t, B);
      for (Index l = L; l >= 1; --l) {
        const auto i = static_cast<std::size_t>(l - 1);
        blocks[i].backward(trace.dlayers.middleRows(l * d, d), surroundings(i, state.memory, window), trace.blocks[i], t,
                           trace.dinput);
        trace.dlayers.middleRows((l - 1) * d, d) += trace.dinput;
      }
      if (window.count > 0) {
        for (std::size_t i = 0; i < key_values.size(); ++i)
          Attention<Scalar>::add_to_slots(readers_of(i, trace), window, t, trace.dslots[i]);
      }
      back_to_embedding(trace.dlayers.topRows(d), trace, t);
    }
  }

  /// The way back of run_by_layers().
  void back_by_layers(State& state) const {
    Trace& trace = state.trace;
    for (std::size_t i = blocks.size(); i-- > 0;) {
      for (Index t = trace.segment.steps - 1; t >= 0; --t) {
        const Window window = state.memory.window_at(trace.first_slot + t);
        auto dh = step_columns(trace.dtop, t, trace.segment.lanes);  // of the layer's output, then of its input
        blocks[i].backward(dh, surroundings(i, state.memory, window), trace.blocks[i], t, trace.dinput);
        if (window.count > 0) Attention<Scalar>::add_to_slots(readers_of(i, trace), window, t, trace.dslots[i]);
        back_to_remembered(i, trace, t, trace.dread);
        dh = trace.dinput + trace.dread;
      }
    }
    for (Index t = 0; t < trace.segment.steps; ++t)
      back_to_embedding(step_columns(trace.dtop, t, trace.segment.lanes), trace, t);
  }

  bool starts_with_zeros(const Memory<Scalar>& memory) const {
    return config_.empty_memory == EmptyMemory::zero_slots && memory.end == 0;
  }

  void write_zero_slots(State& state) const {
    Memory<Scalar>& memory = state.memory;
    Segment one = state.trace.segment;
    one.steps = one.lanes = 1;
    for (std::size_t i = 0; i < key_values.size(); ++i) {
      auto& kv = state.trace.zero_slots[i];
      key_values[i].prepare(kv, one);
      key_values[i].forward(Vector<Scalar>::Zero(config_.width), kv, 0);
      const Matrix<Scalar> key = kv.k(0).replicate(1, memory.lanes()), value = kv.v(0).replicate(1, memory.lanes());
      for (Index slot = 0; slot < config_.window; ++slot) memory.slots[i].write(slot, key, value);
    }
    memory.end = config_.window;
  }

  Config config_;
};

}  // namespace fbt
