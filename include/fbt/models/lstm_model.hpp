// LstmModel: a recurrent network to compare the FeedbackTransformer with. For each step t:
//   h^0 = embedding(token)
//   h^l = lstm_l(h^{l-1}, its hidden vector and cell of step t-1)                 l = 1..L
//   logits = head(h^L), or with attention head(h^L + attention(h^L, keys and values of steps t-S .. t-1))
//   key, value = W_k h^L, W_v h^L                                                 written to the memory of the attention
// The attention reads the past but no later LSTM reads what it found: that is the feedback it lacks.
// Works wherever a FeedbackTransformer does: Trainer, evaluate, generate, checkpoints.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/layers/attention.hpp"
#include "fbt/layers/dropout.hpp"
#include "fbt/layers/embedding.hpp"
#include "fbt/layers/lstm.hpp"
#include "fbt/models/config.hpp"
#include "fbt/models/phase.hpp"

#include <concepts>
#include <memory>
#include <type_traits>
#include <vector>

namespace fbt {

struct LstmConfig {
  Index vocabulary = 0;              ///< V, number of different tokens
  Index width = 128;                 ///< d, size of embedding, hidden vector and cell
  Index layers = 2;                  ///< L
  bool attention = false;            ///< over the top layer's past
  Index heads = 4;                   ///< H of the attention; their size is width / heads
  Index window = 64;                 ///< S, how many past steps the attention may see
  double dropout = 0;                ///< rate in [0, 1), of embeddings, of every layer's output and of attention weights
  double embedding_deviation = 0.3;  ///< standard deviation of the initial embeddings

  bool operator==(const LstmConfig&) const = default;

  /// Throws std::invalid_argument naming the first field that is out of range or does not fit another.
  void validate() const {
    const auto dimension = [](std::string_view name, Index value, Index most) {
      check(value >= 1 && value <= most, "config: {} must be between 1 and {}, found {}", name, most, value);
    };
    dimension("vocabulary", vocabulary, largest_dimension);
    dimension("width", width, largest_dimension);
    dimension("layers", layers, 64);
    dimension("heads", heads, largest_dimension);
    dimension("window", window, largest_dimension);
    check(!attention || width % heads == 0, "config: width {} is not divisible by heads {}", width, heads);
    check(dropout >= 0 && dropout < 1, "config: dropout must be at least 0 and below 1, found {}", dropout);
    check(embedding_deviation > 0 && embedding_deviation <= 100,
          "config: embedding_deviation must be above 0 and at most 100, found {}", embedding_deviation);
  }

  /// The number of parameters of the model, without building it.
  double parameters() const {
    const auto d = static_cast<double>(width), V = static_cast<double>(vocabulary), L = static_cast<double>(layers);
    const double head_size = static_cast<double>(width / heads), S = static_cast<double>(window);
    return V * d + L * 4 * d * (2 * d + 1) + V * (d + 1) + (attention ? 4 * d * d + d + S * head_size : 0);
  }
  /// As Config::attention_numbers().
  double attention_numbers(Index steps) const {
    const auto seen = static_cast<double>(attention ? steps : 0);
    return seen * (2 * static_cast<double>(width) + static_cast<double>(heads) * static_cast<double>(steps));
  }
};

/// Calls f(name, field) for every field of one or more configs, with the names they have in files.
template <class F, class First, class... Rest>
requires std::same_as<std::remove_const_t<First>, LstmConfig>
void visit_config(F&& f, First& first, Rest&... rest) {
  f("vocabulary", first.vocabulary, rest.vocabulary...);
  f("width", first.width, rest.width...);
  f("layers", first.layers, rest.layers...);
  f("attention", first.attention, rest.attention...);
  f("heads", first.heads, rest.heads...);
  f("window", first.window, rest.window...);
  f("dropout", first.dropout, rest.dropout...);
  f("embedding_deviation", first.embedding_deviation, rest.embedding_deviation...);
}

/// What an LstmModel carries from step to step and from segment to segment, of B lanes.
template <class Scalar>
struct LstmMemory {
  std::vector<LstmCell<Scalar>> cells;  ///< one per layer
  Memory<Scalar> past;                  ///< what the attention reads; no slots without it

  Index lanes() const { return cells.empty() ? 0 : cells.front().cell.cols(); }

  /// Forgets everything, but keeps the room.
  void clear() {
    for (auto& c : cells) {
      c.hidden.setZero();
      c.cell.setZero();
    }
    past.clear();
  }

  /// As Memory::save() and Memory::load().
  template <class F>
  void save(F&& f) const {
    for (std::size_t l = 0; l < cells.size(); ++l) {
      f(fmt::format("hidden.{}", l), cells[l].hidden);
      f(fmt::format("cell.{}", l), cells[l].cell);
    }
    past.save(f);
  }
  template <class Source>
  void load(const Source& source) {
    for (std::size_t l = 0; l < cells.size(); ++l) {
      LstmCell<Scalar>& c = cells[l];
      c.hidden = source.matrix(fmt::format("hidden.{}", l), c.hidden.rows(), c.hidden.cols());
      c.cell = source.matrix(fmt::format("cell.{}", l), c.cell.rows(), c.cell.cols());
    }
    past.load(source);
  }
};

template <class Scalar_>
class LstmModel {
 public:
  using Scalar = Scalar_;
  static constexpr const char* config_key = "fbt.lstm";  ///< of the config in a model's file

  /// What one segment keeps for its backward pass.
  struct Trace {
    Segment segment{0, 0, false, 0};
    Phase phase = Phase::unprepared;
    LstmConfig config;  // of the model that start() or forward() was called of
    typename Embedding<Scalar>::Trace embedding;
    std::vector<typename Lstm<Scalar>::Trace> layers;
    std::vector<typename Dropout<Scalar>::Trace> dropouts;  // of h^0 .. h^L
    typename Attention<Scalar>::Trace attention;
    typename KeyValue<Scalar>::Trace key_value;
    typename Linear<Scalar>::Trace head;  // over all columns of the segment as one step
    Matrix<Scalar> logits;                // (V, T*B)
    Matrix<Scalar> attended, dinput;      // (d, B)
    Matrix<Scalar> dtop;                  // (d, T*B)
    Slots<Scalar> dslots;
    Index first_slot = 0;  // the slot that step 0 writes
  };

  /// The running state of B sequences: what they remember, and room for the segment at hand.
  struct State {
    LstmMemory<Scalar> memory;
    Trace trace;
    std::shared_ptr<Team> team = nullptr;  // as in FeedbackTransformer
  };

  LstmModel() = default;
  /// Random parameters. Throws std::invalid_argument when the config does not hold (LstmConfig::validate).
  LstmModel(const LstmConfig& config, Random& random) : config_((config.validate(), config)) {
    const LstmConfig& c = config_;
    embedding = Embedding<Scalar>(c.vocabulary, c.width, c.embedding_deviation, random);
    for (Index l = 0; l < c.layers; ++l) layers.emplace_back(c.width, c.width, random);
    if (c.attention) {
      const Index head_size = c.width / c.heads;
      position = Position<Scalar>(PositionTerm::relative_key, head_size, c.heads, c.window, random);
      key_value = KeyValue<Scalar>(c.width, c.heads, head_size, false, false, 1e-5, random);
      attention = Attention<Scalar>(c.width, c.heads, head_size, true, c.dropout, random);
    }
    head = Linear<Scalar>(c.width, c.vocabulary, random);
  }

  Embedding<Scalar> embedding;
  std::vector<Lstm<Scalar>> layers;
  // without attention these three are empty
  Position<Scalar> position;
  KeyValue<Scalar> key_value;
  Attention<Scalar> attention;
  Linear<Scalar> head;

  const LstmConfig& config() const { return config_; }

  /// Nothing has been read by the given number of lanes.
  LstmMemory<Scalar> make_memory(Index lanes) const {
    check(lanes >= 1, "memory: lanes must be at least 1, found {}", lanes);
    LstmMemory<Scalar> memory;
    memory.cells.assign(layers.size(), LstmCell<Scalar>(config_.width, lanes));
    if (config_.attention) {
      memory.past.span = config_.window;
      memory.past.slots.emplace_back(attention.head_size, attention.heads, lanes, 0);
    }
    return memory;
  }

  /// A fresh state for stepping the given number of lanes. It holds packed weights made from the present parameters: start anew
  /// after changing them; step() refuses a state whose weights it finds changed. Up to so many threads share the work of a step.
  State start(Index lanes, Index threads = 1) const {
    State state{make_memory(lanes), {}, std::make_shared<Team>(threads)};
    prepare(state.trace, {1, lanes, false, 0, state.team.get()}, config_.window);
    state.trace.phase = Phase::stepping;
    return state;
  }

  /// Reads one token per lane (B), each in [0, V), and remembers the step. Returns the logits (V, B) of the next token,
  /// which stay valid until the next call. Throws std::invalid_argument for a wrong number of tokens or a token outside the
  /// vocabulary.
  const Matrix<Scalar>& step(Tokens tokens, State& state) const {
    check_may_step("step", state.trace.phase);
    check_own_state("step", config_, state.trace.config);
    check_input(tokens, state.trace.segment, state.memory);
    run(tokens, state);
    return state.trace.logits;
  }

  /// Reads a segment of T steps, step after step: tokens (T*B), the B lanes of step 0 first. The memory is carried on from
  /// whatever it holds. Returns the logits (V, T*B); with segment.train the state can then go backward, once. Packs the weights
  /// anew. Throws as step() does.
  const Matrix<Scalar>& forward(Tokens tokens, const Segment& segment, State& state) const {
    check(segment.steps >= 1 && segment.lanes >= 1, "forward: a segment has at least 1 step and 1 lane, found {} and {}",
          segment.steps, segment.lanes);
    check_input(tokens, segment, state.memory);
    state.trace.phase = Phase::unprepared;
    state.memory.past.move_to_front();  // so that a segment's arithmetic does not depend on how the memory came about
    prepare(state.trace, segment, state.memory.past.end);
    run(tokens, state);
    state.trace.phase = segment.train ? Phase::trained : Phase::read;
    return state.trace.logits;
  }

  /// Goes back through the segment that forward() has just read, given the gradient with respect to its logits (V, T*B).
  /// What was carried from before the segment is constant. Parameter gradients are left for accumulate(). Throws as that of
  /// FeedbackTransformer.
  void backward(const In<Scalar>& dlogits, State& state) const {
    Trace& trace = state.trace;
    const Memory<Scalar>& past = state.memory.past;
    const Index B = trace.segment.lanes;
    check_may_go_back(trace.phase);
    check(dlogits.rows() == config_.vocabulary && dlogits.cols() == trace.segment.columns(),
          "backward: expected the gradient of the logits ({}, {}), found ({}, {})", config_.vocabulary,
          trace.segment.columns(), dlogits.rows(), dlogits.cols());
    check_own_state("backward", config_, trace.config);
    check(!config_.attention || (past.slots.size() == 1 && past.end == trace.first_slot + trace.segment.steps),
          "backward: the memory has changed since forward(): expected {} slots in use, found {}",
          trace.first_slot + trace.segment.steps, past.slots.empty() ? 0 : past.end);
    trace.phase = Phase::unprepared;  // the way back overwrites the gates
    if (config_.attention) trace.dslots.set_zero_like(past.slots.front(), past.end);

    head.backward(dlogits, trace.head, 0, trace.dtop);
    for (Index t = trace.segment.steps - 1; t >= 0; --t) {
      auto dh = step_columns(trace.dtop, t, B);
      if (config_.attention) {
        const Index slot = trace.first_slot + t;
        const Window window = past.window_at(slot);
        // every reader of this slot comes later: its gradient is complete.  k, v = key_value(h^L)
        trace.dslots.read(slot, trace.key_value.k(t), trace.key_value.v(t));
        key_value.backward(trace.key_value, t, trace.attended);
        if (window.count > 0) {  // y = h^L + attention(h^L)
          attention.backward(dh, past.slots.front(), window, position, trace.attention, t, trace.dinput);
          auto* const reader = &trace.attention;
          attention.add_to_slots({&reader, 1}, window, t, trace.dslots);
          dh += trace.dinput;
        }
        dh += trace.attended;
      }
      for (std::size_t l = layers.size(); l > 0; --l) {
        dropout().backward(dh, trace.dropouts[l], t, dh);
        layers[l - 1].backward(dh, trace.layers[l - 1], t, trace.dinput);
        dh = trace.dinput;
      }
      dropout().backward(dh, trace.dropouts[0], t, dh);
      embedding.backward(dh, trace.embedding, t);
    }
    trace.phase = Phase::reversed;
  }

  /// ADDS the parameter gradients of the segment to grad, a twin of the model (zeros_like). Throws as that of FeedbackTransformer.
  void accumulate(State& state, LstmModel& grad) const {
    Trace& trace = state.trace;
    check_may_accumulate(trace.phase);
    check_own_state("accumulate", config_, trace.config);
    check_own_gradient(config_, grad.config_);
    embedding.accumulate(trace.embedding, grad.embedding);
    for (std::size_t l = 0; l < layers.size(); ++l) layers[l].accumulate(trace.layers[l], grad.layers[l]);
    if (config_.attention) {
      attention.accumulate(trace.attention, grad.attention);
      position.accumulate(trace.attention.position, grad.position);
      key_value.accumulate(trace.key_value, grad.key_value);
    }
    head.accumulate(trace.head, grad.head);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... models) {
    visit_child("embedding", f, models.embedding...);
    visit_children("layers", f, models.layers...);
    if ((models.config_.attention && ...)) {
      visit_child("position", f, models.position...);
      visit_child("key_value", f, models.key_value...);
      visit_child("attention", f, models.attention...);
    }
    visit_child("head", f, models.head...);
  }

 private:
  Dropout<Scalar> dropout() const { return {config_.width, config_.dropout}; }

  /// visible: how many slots the first step sees.
  void prepare(Trace& trace, const Segment& segment, Index visible) const {
    const Index d = config_.width;
    trace.config = config_;
    Segment all = segment;  // the head sees the whole segment as one step
    all.steps = 1;
    all.lanes = segment.columns();
    trace.segment = segment;
    trace.layers.resize(layers.size());
    trace.dropouts.resize(layers.size() + 1);
    embedding.prepare(trace.embedding, segment);
    for (std::size_t l = 0; l < layers.size(); ++l) layers[l].prepare(trace.layers[l], segment);
    for (std::size_t l = 0; l <= layers.size(); ++l) dropout().prepare(trace.dropouts[l], segment.child(l));
    if (config_.attention) {
      attention.prepare(position, std::min(config_.window, visible + segment.steps), trace.attention,
                        segment.child(layers.size() + 1));
      key_value.prepare(trace.key_value, segment);
    }
    head.prepare(trace.head, all);
    trace.logits.resize(config_.vocabulary, segment.columns());
    trace.attended.resize(d, segment.lanes);
    trace.dinput.resize(d, segment.lanes);
    trace.dtop.resize(d, segment.train ? segment.columns() : 0);
  }

  void check_input(Tokens tokens, const Segment& segment, const LstmMemory<Scalar>& memory) const {
    check(memory.lanes() == segment.lanes, "the memory has {} lanes, expected {}", memory.lanes(), segment.lanes);
    const Memory<Scalar>& past = memory.past;
    const bool fits = memory.cells.size() == layers.size() && memory.cells.front().cell.rows() == config_.width &&
                      past.slots.size() == (config_.attention ? 1u : 0u) &&
                      (!config_.attention || (past.span == config_.window && past.slots.front().heads == config_.heads));
    if (!fits) {
      const auto past_text = [](bool present, Index window, Index heads) {
        return present ? fmt::format(" and a past of {} steps for {} heads", window, heads) : "";
      };
      check(false, "the memory was made by a model of another config: expected {} layers of {} cells{}, found {} of {}{}",
            layers.size(), config_.width, past_text(config_.attention, config_.window, config_.heads), memory.cells.size(),
            memory.cells.front().cell.rows(),
            past_text(!past.slots.empty(), past.span, past.slots.empty() ? 0 : past.slots.front().heads));
    }
    check_tokens(tokens, segment, config_.vocabulary);
  }

  void run(Tokens tokens, State& state) const {
    Trace& trace = state.trace;
    LstmMemory<Scalar>& memory = state.memory;
    const Index T = trace.segment.steps, B = trace.segment.lanes;
    if (config_.attention) memory.past.reserve(T);
    trace.first_slot = memory.past.end;

    for (Index t = 0; t < T; ++t) {
      auto first = trace.layers[0].input(t);
      auto top = step_columns(trace.head.x, t, B);  // h^L, then what the head reads
      embedding.forward(step_columns(tokens, t, B), trace.embedding, t, first);
      dropout().forward(first, trace.dropouts[0], t, first);
      for (std::size_t l = 1; l <= layers.size(); ++l) {
        const bool last = l == layers.size();
        Out<Scalar> h = last ? Out<Scalar>(top) : Out<Scalar>(trace.layers[l].input(t));
        layers[l - 1].forward(trace.layers[l - 1].input(t), memory.cells[l - 1], trace.layers[l - 1], t, h);
        dropout().forward(h, trace.dropouts[l], t, h);
      }
      if (config_.attention) attend(top, memory.past, trace, t);
    }
    head.forward(trace.head.x, trace.head, 0, trace.logits);
  }

  /// Adds to h (d, B) what it finds in the past, and writes it, as it was, to the past.
  void attend(Out<Scalar> h, Memory<Scalar>& past, Trace& trace, Index t) const {
    const Window window = past.window();
    key_value.forward(h, trace.key_value, t);
    past.slots.front().write(past.end, trace.key_value.k(t), trace.key_value.v(t));
    ++past.end;
    if (window.count > 0) {
      attention.forward(h, past.slots.front(), window, position, trace.attention, t, trace.attended);
      h += trace.attended;
    } else {
      attention.skip(trace.attention, t);
    }
  }

  LstmConfig config_;
};

}  // namespace fbt
