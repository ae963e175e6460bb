// Memory (the recurrent state) and KeyValue (the projection that writes one slot of it).
//
// A slot holds one past step: key = W_k n(m), value = W_v n(m) + b_v for its memory vector m, with n an own LayerNorm or
// nothing. Slots live in storage that is longer than the window, so that a window is a contiguous view and keys that an
// earlier step has read are still there for its backward pass; when the storage is full the last S slots move to the front.
#pragma once

#include "fbt/core/types.hpp"
#include "fbt/layers/layer_norm.hpp"
#include "fbt/layers/linear.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace fbt {

/// The slots a query may see: [begin, begin + count).
struct Window {
  Index begin = 0;
  Index count = 0;
};

/// Keys and values of all slots, lanes and heads; also, as a twin, the gradient with respect to them.
template <class Scalar>
struct Slots {
  Index head_size = 0, heads = 0, lanes = 0, capacity = 0;
  Matrix<Scalar> keys;    ///< (capacity, e*H*B): entry i of head j in lane b is column (b*H + j)*e + i
  Matrix<Scalar> values;  ///< (e, capacity*H*B): slot s of head j in lane b is column (b*H + j)*capacity + s

  Slots() = default;
  Slots(Index head_size_, Index heads_, Index lanes_, Index capacity_)
      : head_size(head_size_), heads(heads_), lanes(lanes_), capacity(capacity_) {
    keys.setZero(capacity, head_size * heads * lanes);
    values.setZero(head_size, capacity * heads * lanes);
  }

  /// Becomes a twin of other slots whose first `count` are zero: a gradient to add to.
  void set_zero_like(const Slots& other, Index count) {
    if (capacity != other.capacity || lanes != other.lanes || heads != other.heads || head_size != other.head_size) {
      *this = Slots(other.head_size, other.heads, other.lanes, other.capacity);
    } else {
      keys.topRows(count).setZero();
      for (Index i = 0; i < heads * lanes; ++i) values.middleCols(i * capacity, count).setZero();
    }
  }

  /// Keys of head j in lane b within the window (count, e).
  auto key(Index b, Index j, Window w) { return keys.block(w.begin, (b * heads + j) * head_size, w.count, head_size); }
  auto key(Index b, Index j, Window w) const { return keys.block(w.begin, (b * heads + j) * head_size, w.count, head_size); }
  /// Values of head j in lane b within the window (e, count).
  auto value(Index b, Index j, Window w) { return values.middleCols((b * heads + j) * capacity + w.begin, w.count); }
  auto value(Index b, Index j, Window w) const { return values.middleCols((b * heads + j) * capacity + w.begin, w.count); }

  /// Writes a slot from key, value (H*e, B).
  void write(Index slot, const In<Scalar>& key, const In<Scalar>& value) {
    for (Index b = 0; b < lanes; ++b) {
      keys.row(slot).segment(b * heads * head_size, heads * head_size) = key.col(b).transpose();
      for (Index j = 0; j < heads; ++j)
        values.col((b * heads + j) * capacity + slot) = value.col(b).segment(j * head_size, head_size);
    }
  }
  /// Reads a slot into key, value (H*e, B).
  void read(Index slot, Out<Scalar> key, Out<Scalar> value) const {
    for (Index b = 0; b < lanes; ++b) {
      key.col(b) = keys.row(slot).segment(b * heads * head_size, heads * head_size).transpose();
      for (Index j = 0; j < heads; ++j)
        value.col(b).segment(j * head_size, head_size) = values.col((b * heads + j) * capacity + slot);
    }
  }
  /// Moves the slots of the window to the front.
  void move_to_front(Window w) {
    for (Index i = 0; i < keys.cols(); ++i) {
      Scalar* const column = keys.col(i).data();
      std::copy(column + w.begin, column + w.begin + w.count, column);
    }
    for (Index i = 0; i < heads * lanes; ++i) {
      Scalar* const front = values.col(i * capacity).data();
      std::copy(front + w.begin * head_size, front + (w.begin + w.count) * head_size, front);
    }
  }
};

/// The past of B lanes, carried from step to step and from segment to segment by the caller.
template <class Scalar>
struct Memory {
  std::vector<Slots<Scalar>> slots;  ///< one for all layers, or one per layer
  Index span = 0;                    ///< S, the most slots a step may see
  Index end = 0;                     ///< slots 0 .. end - 1 are in use

  Index lanes() const { return slots.empty() ? 0 : slots.front().lanes; }
  /// What the next step sees.
  Window window() const { return window_at(end); }
  /// What the step sees that will write the given slot.
  Window window_at(Index slot) const {
    const Index count = std::min(span, slot);
    return {slot - count, count};
  }

  /// Forgets everything, but keeps the room.
  void clear() { end = 0; }

  /// Renumbers the visible slots from 0 and forgets the others.
  void move_to_front() {
    const Window w = window();
    if (w.begin > 0)
      for (auto& s : slots) s.move_to_front(w);
    end = w.count;
  }

  /// Lets the next steps see at most so many slots: the newest of those that are visible now; more gather from now on.
  void set_span(Index most) {
    move_to_front();
    span = most;
    move_to_front();
  }

  /// Makes room for the given number of steps. What is visible stays visible; slot numbers may change.
  void reserve(Index steps) {
    if (end + steps <= slots.front().capacity) return;
    move_to_front();
    if (end + std::max(steps, end) <= slots.front().capacity) return;  // else the next move would come soon
    // room for as many steps again as are visible, so that moving is rare; a long window's room grows as it fills
    Index capacity = std::max(end + steps, std::min(2 * span, std::max<Index>(1024, 2 * slots.front().capacity)));
    // a distance of an odd number of cache lines between the keys' columns: at a power of two they would share few cache sets
    constexpr Index line = 64 / Index{sizeof(Scalar)};
    if (capacity > 4 * line) capacity = ((capacity + line - 1) / line | 1) * line;
    std::vector<Slots<Scalar>> all;  // all or none are replaced
    for (const auto& s : slots) {
      Slots<Scalar>& larger = all.emplace_back(s.head_size, s.heads, s.lanes, capacity);
      larger.keys.topRows(end) = s.keys.topRows(end);
      for (Index b = 0; b < s.lanes; ++b)
        for (Index j = 0; j < s.heads; ++j) larger.value(b, j, {0, end}) = s.value(b, j, {0, end});
    }
    std::move(all.begin(), all.end(), slots.begin());
  }

  /// What a checkpoint keeps, the slots that the next step sees: calls f(name, matrix).
  template <class F>
  void save(F&& f) const {
    const Window w = window();
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const auto& s = slots[i];
      f(fmt::format("{}.keys", i), s.keys.middleRows(w.begin, w.count));
      Matrix<Scalar> values(s.head_size, w.count * s.heads * s.lanes);
      for (Index b = 0; b < s.lanes; ++b)
        for (Index j = 0; j < s.heads; ++j) values.middleCols((b * s.heads + j) * w.count, w.count) = s.value(b, j, w);
      f(fmt::format("{}.values", i), values);
    }
  }

  /// Fills an empty memory with what save() wrote: source.slots(name, most) is the number of rows of a matrix, which may be up to
  /// most, and source.matrix(name, rows, columns) the matrix of that shape. Both throw when there is none.
  template <class Source>
  void load(const Source& source) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
      auto& s = slots[i];
      const std::string keys = fmt::format("{}.keys", i);
      if (i == 0) {
        const Index count = source.slots(keys, span);
        reserve(count);
        end = count;
      }
      s.keys.topRows(end) = source.matrix(keys, end, s.keys.cols());
      const Matrix<Scalar> values = source.matrix(fmt::format("{}.values", i), s.head_size, end * s.heads * s.lanes);
      for (Index b = 0; b < s.lanes; ++b)
        for (Index j = 0; j < s.heads; ++j) s.value(b, j, {0, end}) = values.middleCols((b * s.heads + j) * end, end);
    }
  }
};

/// Projects a memory vector to the key and value of one slot, for all layers that share it.
template <class Scalar>
struct KeyValue {
  std::optional<LayerNorm<Scalar>> norm;  ///< n, or nothing
  Linear<Scalar> key;                     ///< W_k (H*e, d)
  Linear<Scalar> value;                   ///< W_v (H*e, d), b_v (H*e) or nothing

  struct Trace {
    typename LayerNorm<Scalar>::Trace norm;
    typename Linear<Scalar>::Trace key, value;
    Matrix<Scalar> dn, dx;  // (d, B)

    auto k(Index t) { return key.delta(t); }  // (H*e, B): the key, until its gradient takes its place
    auto v(Index t) { return value.delta(t); }
  };

  KeyValue() = default;
  KeyValue(Index width, Index heads, Index head_size, bool with_norm, bool value_bias, double epsilon, Random& random)
      : key(width, heads * head_size, random, false), value(width, heads * head_size, random, value_bias) {
    if (with_norm) norm.emplace(width, epsilon);
  }

  void prepare(Trace& trace, const Segment& segment) const {
    if (norm) norm->prepare(trace.norm, segment);
    key.prepare(trace.key, segment);
    value.prepare(trace.value, segment);
    trace.dn.resize(key.inputs(), segment.lanes);
    trace.dx.resize(key.inputs(), segment.lanes);
  }

  /// Leaves key and value of the memory vectors m (d, B) in trace.k(t) and trace.v(t).
  void forward(const In<Scalar>& m, Trace& trace, Index t) const {
    auto n = trace.key.input(t);
    if (norm) {
      norm->forward(m, trace.norm, t, n);
    } else {
      n = m;
    }
    key.forward(n, trace.key, t, trace.k(t));
    value.forward(n, trace.value, t, trace.v(t));
  }

  /// From dk in trace.k(t) and dv in trace.v(t) to dm (d, B).
  void backward(Trace& trace, Index t, Out<Scalar> dm) const {
    // k = W_k n,  v = W_v n + b  =>  dn = W_k^T dk + W_v^T dv
    key.backward(trace.k(t), trace.key, t, trace.dn);
    value.backward(trace.v(t), trace.value, t, trace.dx);
    trace.dn += trace.dx;
    if (norm) {
      norm->backward(trace.dn, trace.norm, t, dm);
    } else {
      dm = trace.dn;
    }
  }

  void accumulate(Trace& trace, KeyValue& grad) const {
    if (norm) norm->accumulate(trace.norm, *grad.norm);
    key.accumulate(trace.key, grad.key);
    value.accumulate(trace.value, grad.value);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    if ((layers.norm.has_value() && ...)) visit_child("norm", f, *layers.norm...);
    visit_child("key", f, layers.key...);
    visit_child("value", f, layers.value...);
  }
};

}  // namespace fbt
