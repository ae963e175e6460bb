// LstmCore: a recurrent network to compare the FeedbackCore with. For each step t, with h^0 = dropout(x) already applied:
//   h^l = dropout(lstm_l(h^{l-1}, its hidden vector and cell of step t-1))          l = 1..L
//   y = h^L, or with attention h^L + attention(h^L, keys and values of steps t-S .. t-1)
//   key, value = W_k h^L, W_v h^L                                                   written to the memory of the attention
// The attention reads the past but no later LSTM reads what it found: that is the feedback it lacks.
// Follows the contract of layer.hpp with its memory as a further argument, and so works wherever a FeedbackCore does.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/layers/attention.hpp"
#include "fbt/layers/dropout.hpp"
#include "fbt/layers/key_value.hpp"
#include "fbt/layers/lstm.hpp"
#include "fbt/layers/memory.hpp"
#include "fbt/models/lstm_config.hpp"

#include <vector>

namespace fbt {

/// What an LstmCore carries from step to step and from segment to segment, of B lanes.
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
  /// As those of Memory.
  void clear(Index lane) {
    check_lane(lane, lanes());
    for (auto& c : cells) {
      c.hidden.col(lane).setZero();
      c.cell.col(lane).setZero();
    }
    if (!past.banks.empty()) past.clear(lane);
  }
  LstmMemory take(Index lane) const {
    check_lane(lane, lanes());
    LstmMemory one;
    for (const auto& c : cells) {
      auto& taken = one.cells.emplace_back();
      taken.hidden = c.hidden.col(lane);
      taken.cell = c.cell.col(lane);
    }
    if (!past.banks.empty()) one.past = past.take(lane);
    return one;
  }
  void put(Index lane, const LstmMemory& one) {
    check_lane(lane, lanes());
    check(one.lanes() == 1, "put: expected the memory of a single lane, found {} lanes", one.lanes());
    check(one.cells.size() == cells.size() && one.cells.front().cell.rows() == cells.front().cell.rows() &&
              one.past.banks.size() == past.banks.size(),
          "put: expected a memory of the same config");
    if (!past.banks.empty()) past.put(lane, one.past);
    for (std::size_t l = 0; l < cells.size(); ++l) {
      cells[l].hidden.col(lane) = one.cells[l].hidden;
      cells[l].cell.col(lane) = one.cells[l].cell;
    }
  }
  void select(std::span<const Index> from) {
    for (const Index lane : from) check_lane(lane, lanes());
    check(!from.empty(), "select: expected at least 1 lane, found none");
    if (!past.banks.empty()) past.select(from);
    const std::vector<Index> columns(from.begin(), from.end());
    for (auto& c : cells) {
      c.hidden = c.hidden(Eigen::all, columns).eval();
      c.cell = c.cell(Eigen::all, columns).eval();
    }
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
class LstmCore {
 public:
  using Scalar = Scalar_;
  using Memory = LstmMemory<Scalar>;
  using Config = LstmConfig;
  static constexpr const char* config_key = "fbt.lstm";  ///< of the config in a model's file

  /// What one segment keeps for its backward pass.
  struct Trace {
    Segment segment;
    StepOrder order;
    std::vector<typename Lstm<Scalar>::Trace> layers;
    std::vector<typename Dropout<Scalar>::Trace> dropouts;  // of every layer's output
    typename KeyValue<Scalar>::Trace key_value;
    typename Attention<Scalar>::Trace attention;
    std::vector<Window> windows;                   // (T*B): what the attention of every lane sees at every step
    Matrix<Scalar> top;                            // y (d, T*B)
    Matrix<Scalar> attended, dinput, dremembered;  // (d, B)
    Matrix<Scalar> dh;                             // (d, B)
    KeyValueCache<Scalar> dbank;
    Index first_slot = 0;  // the slot that step 0 writes
    Index rows = 0;        // how many slots a window may hold

    /// As those of FeedbackCore::Trace.
    auto input(Index t) { return layers.front().input(t); }
    auto output(Index t) { return step_columns(top, t, segment.lanes); }
    const auto& outputs() const { return top; }

    Windows windows_of(Index t) const {
      return Windows(windows).subspan(static_cast<std::size_t>(t * segment.lanes), static_cast<std::size_t>(segment.lanes));
    }
  };

  LstmCore() = default;
  /// Random parameters. Throws std::invalid_argument when the config does not hold (LstmConfig::validate).
  LstmCore(const LstmConfig& config, Random& random) : config_((config.validate(), config)) {
    const LstmConfig& c = config_;
    for (Index l = 0; l < c.layers; ++l) layers.emplace_back(c.width, c.width, random);
    if (!c.attention) return;
    const Index head_size = c.width / c.heads;
    position = Position<Scalar>(PositionTerm::relative_key, head_size, c.heads, c.window, random);
    key_value = KeyValue<Scalar>(c.width, c.heads, head_size, false, false, 1e-5, random);
    attention = Attention<Scalar>(c.width, c.heads, head_size, true, c.dropout, random);
  }

  std::vector<Lstm<Scalar>> layers;
  // without attention these three are empty
  Position<Scalar> position;
  KeyValue<Scalar> key_value;
  Attention<Scalar> attention;

  const LstmConfig& config() const { return config_; }

  /// Nothing has been read by the given number of lanes. Throws std::invalid_argument unless there is at least 1.
  Memory make_memory(Index lanes) const {
    check(lanes >= 1, "memory: lanes must be at least 1, found {}", lanes);
    Memory memory;
    memory.cells.assign(layers.size(), LstmCell<Scalar>(config_.width, lanes));
    if (config_.attention) memory.past = fbt::Memory<Scalar>(1, attention.head_size, attention.heads, lanes, config_.window);
    return memory;
  }

  /// As those of FeedbackCore.
  bool lanes_begin_alone() const { return true; }
  Index most_slots(const Memory& memory, Index steps) const {
    return config_.attention ? std::min(config_.window, memory.past.visible().count + steps) : 0;
  }

  /// As that of FeedbackCore.
  void prepare(Trace& trace, const Segment& segment, Index rows = 0) const {
    check(!segment.recompute, "an LstmCore keeps what it needs of all steps: expected a segment without recompute");
    const Index d = config_.width;
    trace.order = {};
    trace.segment = segment;
    trace.rows = rows > 0 ? rows : config_.window;
    trace.layers.resize(layers.size());
    trace.dropouts.resize(layers.size());
    for (std::size_t l = 0; l < layers.size(); ++l) layers[l].prepare(trace.layers[l], segment);
    for (std::size_t l = 0; l < layers.size(); ++l) dropout().prepare(trace.dropouts[l], segment.child(l + 1));
    if (config_.attention) {
      attention.prepare(position, trace.rows, trace.attention, segment.child(layers.size() + 1));
      key_value.prepare(trace.key_value, segment);
    }
    trace.windows.resize(config_.attention ? static_cast<std::size_t>(segment.columns()) : 0);
    trace.top.resize(d, segment.columns());
    for (auto* m : {&trace.attended, &trace.dinput, &trace.dremembered, &trace.dh}) m->resize(d, segment.lanes);
    trace.order.prepare(segment);
  }

  /// Reads x (d, B), remembers the step, and overwrites y (d, B). Throws as that of FeedbackCore.
  void forward(const In<Scalar>& x, Memory& memory, Trace& trace, Index t, Out<Scalar> y) const {
    if (t == 0) begin(memory, trace);
    trace.order.forward(t);
    if (t == 0) check_weights(trace);
    if (auto own = trace.input(t); own.data() != x.data()) own = x;
    for (Index b = 0; b < trace.segment.lanes; ++b)
      if (trace.segment.starts_at(t, b)) memory.clear(b);
    for (std::size_t l = 1; l <= layers.size(); ++l) {
      const bool last = l == layers.size();
      Out<Scalar> h = last ? Out<Scalar>(trace.output(t)) : Out<Scalar>(trace.layers[l].input(t));
      layers[l - 1].forward(trace.layers[l - 1].input(t), memory.cells[l - 1], trace.layers[l - 1], t, h);
      dropout().forward(h, trace.dropouts[l - 1], t, h);
    }
    if (config_.attention) attend(trace.output(t), memory.past, trace, t);
    if (auto own = trace.output(t); own.data() != y.data()) y = own;
  }

  /// As that of FeedbackCore.
  void forward_segment(Memory& memory, Trace& trace) const {
    for (Index t = 0; t < trace.segment.steps; ++t) forward(trace.input(t), memory, trace, t, trace.output(t));
  }

  /// dy, dx (d, B); dx is overwritten. What was carried from before the segment is constant. Throws as that of FeedbackCore.
  void backward(const In<Scalar>& dy, const Memory& memory, Trace& trace, Index t, Out<Scalar> dx) const {
    const fbt::Memory<Scalar>& past = memory.past;
    if (t == trace.segment.steps - 1) {
      check_backward(memory, trace);
      if (config_.attention) trace.dbank.set_zero_like(past.banks.front(), past.end);
    }
    trace.order.backward(t);
    auto& dh = trace.dh;
    dh = dy;
    if (config_.attention) {
      // every step that reads this slot comes later: its gradient is complete.  k, v = key_value(h^L)
      trace.dbank.read(trace.first_slot + t, trace.key_value.k(t), trace.key_value.v(t));
      key_value.backward(trace.key_value, t, trace.dremembered);
      if (const Windows windows = trace.windows_of(t); any_slot(windows)) {  // y = h^L + attention(h^L)
        auto dattended = trace.attention.output.delta(t);
        dattended = dh;
        for_each_empty(windows, [&](Index b) { dattended.col(b).setZero(); });
        attention.backward(dattended, past.banks.front(), windows, position, trace.attention, t, trace.dinput);
        attention.add_to_cache(
            1, [&](Index) -> auto& { return trace.attention; }, windows, t, trace.dbank);
        dh += trace.dinput;
      } else {
        attention.skip(trace.attention, t);
      }
      dh += trace.dremembered;
    }
    for (std::size_t l = layers.size(); l > 0; --l) {
      dropout().backward(dh, trace.dropouts[l - 1], t, dh);
      layers[l - 1].backward(dh, trace.layers[l - 1], t, trace.dinput);
      dh = trace.dinput;
      for (Index b = 0; b < trace.segment.lanes; ++b)  // nothing that it has carried reaches a lane that begins anew
        if (trace.segment.starts_at(t, b)) trace.layers[l - 1].forget(b);
    }
    dx = dh;
  }

  /// As that of FeedbackCore.
  void backward_segment(Out<Scalar> dh, const Memory& memory, Trace& trace, LstmCore& grad) const {
    const Index B = trace.segment.lanes;
    walk_back(
        trace.segment.steps, [&](Index t) { backward(step_columns(dh, t, B), memory, trace, t, step_columns(dh, t, B)); },
        [&](Index first, Index count) { accumulate(trace, first, count, grad); });
  }

  /// As that of FeedbackCore.
  void accumulate(Trace& trace, Index first, Index count, LstmCore& grad) const {
    trace.order.accumulate(first, count);
    for (std::size_t l = 0; l < layers.size(); ++l) layers[l].accumulate(trace.layers[l], first, count, grad.layers[l]);
    if (!config_.attention) return;
    attention.accumulate(trace.attention, first, count, grad.attention);
    position.accumulate(trace.attention.position, first, count, grad.position);
    key_value.accumulate(trace.key_value, first, count, grad.key_value);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... cores) {
    visit_children("layers", f, cores.layers...);
    if ((cores.config_.attention && ...)) {
      visit_child("position", f, cores.position...);
      visit_child("key_value", f, cores.key_value...);
      visit_child("attention", f, cores.attention...);
    }
  }

  /// Throws std::invalid_argument unless the memory is that of so many lanes and of this config.
  void check_memory(const Memory& memory, Index lanes) const {
    check(memory.lanes() == lanes, "the memory has {} lanes, expected {}", memory.lanes(), lanes);
    const fbt::Memory<Scalar>& past = memory.past;
    const bool fits = memory.cells.size() == layers.size() && memory.cells.front().cell.rows() == config_.width &&
                      past.banks.size() == (config_.attention ? 1u : 0u) &&
                      (!config_.attention || (past.window == config_.window && past.banks.front().heads == config_.heads));
    if (fits) return;
    const auto past_text = [](bool present, Index window, Index heads) {
      return present ? fmt::format(" and a past of {} steps for {} heads", window, heads) : "";
    };
    check(false, "the memory was made by a model of another config: expected {} layers of {} cells{}, found {} of {}{}",
          layers.size(), config_.width, past_text(config_.attention, config_.window, config_.heads), memory.cells.size(),
          memory.cells.front().cell.rows(),
          past_text(!past.banks.empty(), past.window, past.banks.empty() ? 0 : past.banks.front().heads));
  }

  /// As that of FeedbackCore.
  void check_backward(const Memory& memory, const Trace& trace) const {
    trace.order.check_backward(trace.segment.steps - 1);
    const fbt::Memory<Scalar>& past = memory.past;
    check(!config_.attention || (past.banks.size() == 1 && past.end == trace.first_slot + trace.segment.steps),
          "backward: the memory has changed since forward(): expected {} slots in use, found {}",
          trace.first_slot + trace.segment.steps, past.banks.empty() ? 0 : past.end);
  }

 private:
  /// Before a cell changes.
  void check_weights(const Trace& trace) const {
    for (std::size_t l = 0; l < layers.size(); ++l) layers[l].gates.check_weights(trace.layers[l].gates);
    if (!config_.attention) return;
    attention.check_weights(trace.attention);
    position.check_weights(trace.attention.position);
    key_value.key.check_weights(trace.key_value.key);
    key_value.value.check_weights(trace.key_value.value);
  }

  Dropout<Scalar> dropout() const { return {config_.width, config_.dropout}; }

  /// Before step 0.
  void begin(Memory& memory, Trace& trace) const {
    trace.order.check_prepared();
    check_memory(memory, trace.segment.lanes);
    trace.segment.check_starts();
    if (!config_.attention) return;
    // a segment's slots count from 0 on, so that its arithmetic does not depend on how the memory came about
    if (trace.segment.steps > 1 || trace.segment.train) memory.past.move_to_front();
    memory.past.reserve(trace.segment.steps);
    trace.first_slot = memory.past.end;
    const Index most = std::min(config_.window, memory.past.visible().count + trace.segment.steps - 1);
    check(most <= trace.rows, "forward: the Trace was prepared for windows of at most {} slots, found {}", trace.rows, most);
  }

  /// Adds to h (d, B) what it finds in the past, and writes it, as it was, to the past.
  void attend(Out<Scalar> h, fbt::Memory<Scalar>& past, Trace& trace, Index t) const {
    for (Index b = 0; b < trace.segment.lanes; ++b)
      trace.windows[static_cast<std::size_t>(t * trace.segment.lanes + b)] = past.visible(b);
    const Windows windows = trace.windows_of(t);
    key_value.forward(h, trace.key_value, t);
    past.banks.front().write(past.end, trace.key_value.k(t), trace.key_value.v(t));
    ++past.end;
    if (any_slot(windows)) {
      attention.forward(h, past.banks.front(), windows, position, trace.attention, t, trace.attended);
      for_each_empty(windows, [&](Index b) { trace.attended.col(b).setZero(); });
      h += trace.attended;
    } else {
      attention.skip(trace.attention, t);
    }
  }

  LstmConfig config_;
};

}  // namespace fbt
