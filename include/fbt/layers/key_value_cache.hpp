// KeyValueCache: the key and the value of every slot, for all lanes and heads (the KV cache of a Transformer). A slot is one
// past step. Slots are rows of a key's columns, and columns of the values, so that any window of slots is a strided view:
// plain products read it without a copy.
#pragma once

#include "fbt/core/types.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace fbt {

/// The slots that a query sees: [begin, begin + count).
struct Window {
  Index begin = 0;
  Index count = 0;

  bool operator==(const Window&) const = default;

  /// The newest of them, at most so many.
  Window newest(Index most) const {
    const Index seen = std::min(count, most);
    return {begin + count - seen, seen};
  }
};

/// One for every lane (B).
using Windows = std::span<const Window>;

/// Whether any lane sees a slot.
inline bool any_slot(Windows windows) {
  return std::any_of(windows.begin(), windows.end(), [](const Window& w) { return w.count > 0; });
}
/// Calls f(b) for every lane that sees none.
template <class F>
void for_each_empty(Windows windows, F&& f) {
  for (std::size_t b = 0; b < windows.size(); ++b)
    if (windows[b].count == 0) f(static_cast<Index>(b));
}

/// Keys and values of all slots, lanes and heads; also, in another object of this class, the gradient with respect to them.
template <class Scalar>
struct KeyValueCache {
  Index head_size = 0, heads = 0, lanes = 0, capacity = 0;
  Matrix<Scalar> keys;    ///< (capacity, e*H*B): entry i of head j in lane b is column (b*H + j)*e + i
  Matrix<Scalar> values;  ///< (e, capacity*H*B): slot s of head j in lane b is column (b*H + j)*capacity + s

  KeyValueCache() = default;
  KeyValueCache(Index head_size_, Index heads_, Index lanes_, Index capacity_)
      : head_size(head_size_), heads(heads_), lanes(lanes_), capacity(capacity_) {
    keys.setZero(capacity, head_size * heads * lanes);
    values.setZero(head_size, capacity * heads * lanes);
  }

  /// The capacity to take for at least so many slots: an odd number of cache lines between the columns of the keys, which at
  /// a power of two would share few cache sets.
  static Index padded(Index slots) {
    constexpr Index line = 64 / Index{sizeof(Scalar)};
    return slots > 4 * line ? ((slots + line - 1) / line | 1) * line : slots;
  }

  /// Becomes the gradient of the first `count` slots of another, to add to: zero, and with room for no more than these need.
  void set_zero_like(const KeyValueCache& other, Index count) {
    if (capacity < count || lanes != other.lanes || heads != other.heads || head_size != other.head_size) {
      *this = KeyValueCache(other.head_size, other.heads, other.lanes, padded(count));
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
  /// Moves the slots of the window by so many places, in all lanes.
  void move(Window w, Index by) {
    const auto move_range = [](Scalar* first, Scalar* last, Index distance) {
      distance < 0 ? std::copy(first, last, first + distance) : std::copy_backward(first, last, last + distance);
    };
    for (Index i = 0; i < keys.cols(); ++i) {
      Scalar* const column = keys.col(i).data();
      move_range(column + w.begin, column + w.begin + w.count, by);
    }
    for (Index i = 0; i < heads * lanes; ++i) {
      Scalar* const front = values.col(i * capacity).data();
      move_range(front + w.begin * head_size, front + (w.begin + w.count) * head_size, by * head_size);
    }
  }
  /// Copies the slots of a lane of another cache into a lane of this one; both windows hold as many.
  void copy(Index lane, Window to, const KeyValueCache& other, Index other_lane, Window from) {
    for (Index j = 0; j < heads; ++j) {
      key(lane, j, to) = other.key(other_lane, j, from);
      value(lane, j, to) = other.value(other_lane, j, from);
    }
  }
  /// Lane b becomes what lane from[b] was within the window seen[b], all at once; from now on there are as many lanes. What
  /// is outside of the windows is not kept.
  void select(std::span<const Index> from, Windows seen) {
    // lanes are written from the first to the last: what a later one needs of an earlier one is held for it
    std::vector<KeyValueCache> held(from.size());
    for (std::size_t b = 0; b < from.size(); ++b) {
      if (from[b] >= static_cast<Index>(b)) continue;
      held[b] = KeyValueCache(head_size, heads, 1, seen[b].count);
      held[b].copy(0, {0, seen[b].count}, *this, from[b], seen[b]);
    }
    const Index before = lanes, after = static_cast<Index>(from.size());
    if (after > before) {
      set_lanes(after);
      keys.rightCols((after - before) * heads * head_size).setZero();
      values.rightCols((after - before) * heads * capacity).setZero();
    }
    for (std::size_t b = 0; b < from.size(); ++b) {
      const auto lane = static_cast<Index>(b);
      if (from[b] > lane) copy(lane, seen[b], *this, from[b], seen[b]);
      if (from[b] < lane) copy(lane, seen[b], held[b], 0, {0, seen[b].count});
    }
    if (after < before) set_lanes(after);
  }

 private:
  /// The first lanes keep what they have: a lane's keys stand together, and so do its values.
  void set_lanes(Index count) {
    lanes = count;
    keys.conservativeResize(Eigen::NoChange, count * heads * head_size);
    values.conservativeResize(Eigen::NoChange, count * heads * capacity);
  }
};

}  // namespace fbt
