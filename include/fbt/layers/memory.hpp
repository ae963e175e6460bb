// Memory: the past of B lanes, carried from step to step and from segment to segment by the caller.
//
// A slot holds one past step (key_value_cache.hpp). All lanes share the counter `end` of slots; each has a first slot of its
// own, so that a lane can begin anew alone. Room is longer than the window, so that a window is a contiguous view and keys
// that an earlier step has read are still there for its backward pass; when the room is full, what is visible moves to the
// front.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"
#include "fbt/layers/key_value_cache.hpp"
#include "fbt/layers/source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

namespace fbt {

/// Throws std::invalid_argument unless there is such a lane.
inline void check_lane(Index lane, Index lanes) {
  check(lane >= 0 && lane < lanes, "memory: expected a lane below {}, found {}", lanes, lane);
}

template <class Scalar>
struct Memory {
  std::vector<KeyValueCache<Scalar>> banks;  ///< one for all layers, or one per layer
  Index window = 0;                          ///< S, the most slots that a step may see
  Index end = 0;                             ///< slots 0 .. end - 1 are in use
  std::vector<Index> begin;                  ///< (B): of every lane the first slot that is its own
  Source<Scalar> source;                     ///< of a decoder: what every lane attends to besides; stays when it is cleared

  Memory() = default;
  /// Nothing is remembered by so many lanes.
  Memory(Index count, Index head_size, Index heads, Index lanes, Index window_)
      : banks(static_cast<std::size_t>(count), KeyValueCache<Scalar>(head_size, heads, lanes, 0)),
        window(window_),
        begin(static_cast<std::size_t>(lanes), 0) {}

  Index lanes() const { return static_cast<Index>(begin.size()); }
  /// What the next step of a lane sees.
  Window visible(Index lane) const { return visible_at(lane, end); }
  /// What the step of a lane sees that will write the given slot.
  Window visible_at(Index lane, Index slot) const {
    const Index first = std::max({begin[static_cast<std::size_t>(lane)], slot - window, Index{0}});
    return {first, slot - first};
  }
  /// What the next step sees of all lanes together.
  Window visible() const {
    Index first = end;
    for (Index b = 0; b < lanes(); ++b) first = std::min(first, visible(b).begin);
    return {first, end - first};
  }

  /// Forgets everything, but keeps the room.
  void clear() {
    end = 0;
    std::fill(begin.begin(), begin.end(), Index{0});
  }

  /// One lane forgets everything: its next step is as the first of all.
  void clear(Index lane) {
    check_lane(lane, lanes());
    first_of(lane) = end;
  }

  /// What one lane remembers, as the memory of a single lane.
  Memory take(Index lane) const {
    check_lane(lane, lanes());
    const Window w = visible(lane);
    Memory one(0, 0, 0, 1, window);
    for (const auto& bank : banks)
      one.banks.emplace_back(bank.head_size, bank.heads, 1, w.count).copy(0, {0, w.count}, bank, lane, w);
    one.end = w.count;
    if (source.lanes() > 0) one.source = source.take(lane);
    return one;
  }

  /// One lane forgets what it remembers and goes on from what the memory of a single lane holds. Throws
  /// std::invalid_argument, and changes nothing, when that has more lanes or is of another config.
  void put(Index lane, const Memory& one) {
    check_lane(lane, lanes());
    check(one.lanes() == 1, "put: expected the memory of a single lane, found {} lanes", one.lanes());
    const auto same = [](const KeyValueCache<Scalar>& a, const KeyValueCache<Scalar>& b) {
      return a.heads == b.heads && a.head_size == b.head_size;
    };
    check(banks.size() == one.banks.size() && std::equal(banks.begin(), banks.end(), one.banks.begin(), same),
          "put: expected a memory of the same config");
    if (source.lanes() > 0) source.put(lane, one.source);
    const Window from = one.visible(0).newest(window);
    reserve(from.count);
    if (from.count > end) shift(from.count - end);
    const Window to{end - from.count, from.count};
    for (std::size_t i = 0; i < banks.size(); ++i) banks[i].copy(lane, to, one.banks[i], 0, from);
    first_of(lane) = to.begin;
  }

  /// Lane b goes on from what lane from[b] remembers (B), in all lanes at once, as the survivors of a beam search do.
  /// Sources stay where they are.
  void reorder(std::span<const Index> from) {
    check(from.size() == begin.size(), "reorder: expected {} lanes, found {}", begin.size(), from.size());
    select_slots(from);
  }

  /// Lane b goes on from what lane from[b] remembers, with its source, all at once; from now on there are so many lanes, at
  /// least one. Slot numbers stay. Throws std::invalid_argument, and changes nothing, for a lane that there is not.
  void select(std::span<const Index> from) {
    check(!from.empty(), "select: expected at least 1 lane, found none");
    select_slots(from);
    if (source.lanes() > 0) source.select(from);
  }

  /// Renumbers the visible slots from 0 and forgets the others.
  void move_to_front() {
    const Window w = visible();
    if (w.begin > 0)
      for (auto& bank : banks) bank.move(w, -w.begin);
    end = w.count;
    for (Index& first : begin) first = std::max(first - w.begin, Index{0});
  }

  /// Lets the next steps see at most so many slots: the newest of those that are visible now; more gather from now on. Slot
  /// numbers change.
  void set_window(Index most) {
    move_to_front();
    window = most;
    move_to_front();
  }

  /// Makes room for the given number of steps. What is visible stays visible; slot numbers may change.
  void reserve(Index steps) {
    if (end + steps <= banks.front().capacity) return;
    move_to_front();
    if (end + std::max(steps, end) <= banks.front().capacity) return;  // else the next move would come soon
    // room for as many steps again as are visible, so that moving is rare; a long window's room grows as it fills
    Index capacity = std::max(end + steps, std::min(2 * window, std::max<Index>(1024, 2 * banks.front().capacity)));
    capacity = KeyValueCache<Scalar>::padded(capacity);
    std::vector<KeyValueCache<Scalar>> all;  // all or none are replaced
    for (const auto& bank : banks) {
      KeyValueCache<Scalar>& larger = all.emplace_back(bank.head_size, bank.heads, bank.lanes, capacity);
      for (Index b = 0; b < bank.lanes; ++b) larger.copy(b, {0, end}, bank, b, {0, end});
    }
    std::move(all.begin(), all.end(), banks.begin());
  }

  /// What a checkpoint keeps, the slots that the next step sees: calls f(name, matrix). Where lanes have begun at different
  /// slots, also which of the slots is the first of every lane.
  template <class F>
  void save(F&& f) const {
    const Window w = visible();
    for (std::size_t i = 0; i < banks.size(); ++i) {
      const auto& bank = banks[i];
      f(fmt::format("{}.keys", i), bank.keys.middleRows(w.begin, w.count));
      Matrix<Scalar> values(bank.head_size, w.count * bank.heads * bank.lanes);
      for (Index b = 0; b < bank.lanes; ++b)
        for (Index j = 0; j < bank.heads; ++j)
          values.middleCols((b * bank.heads + j) * w.count, w.count) = bank.value(b, j, w);
      f(fmt::format("{}.values", i), values);
    }
    Matrix<Scalar> first(1, lanes());
    for (Index b = 0; b < lanes(); ++b) first(b) = static_cast<Scalar>(visible(b).begin - w.begin);
    if ((first.array() > 0).any()) f("begin", first);
  }

  /// Fills an empty memory with what save() wrote: stored.slots(name, most) is the number of rows of a matrix, which may be
  /// up to most, and stored.matrix(name, rows, columns) the matrix of that shape; both throw when there is none.
  /// stored.has(name) tells.
  template <class Stored>
  void load(const Stored& stored) {
    for (std::size_t i = 0; i < banks.size(); ++i) {
      auto& bank = banks[i];
      const std::string keys = fmt::format("{}.keys", i);
      if (i == 0) {
        const Index count = stored.slots(keys, window);
        reserve(count);
        end = count;
      }
      bank.keys.topRows(end) = stored.matrix(keys, end, bank.keys.cols());
      const Matrix<Scalar> values =
          stored.matrix(fmt::format("{}.values", i), bank.head_size, end * bank.heads * bank.lanes);
      for (Index b = 0; b < bank.lanes; ++b)
        for (Index j = 0; j < bank.heads; ++j)
          bank.value(b, j, {0, end}) = values.middleCols((b * bank.heads + j) * end, end);
    }
    if (!stored.has("begin")) return;
    const Matrix<Scalar> first = stored.matrix("begin", 1, lanes());
    for (Index b = 0; b < lanes(); ++b) {
      ensure(first(b) >= 0 && first(b) <= static_cast<Scalar>(end),
             "memory: expected a first slot from 0 to {} of lane {}, found {}", end, b, first(b));
      first_of(b) = static_cast<Index>(first(b));
    }
  }

 private:
  Index& first_of(Index lane) { return begin[static_cast<std::size_t>(lane)]; }

  void select_slots(std::span<const Index> from) {
    for (const Index lane : from) check_lane(lane, lanes());
    std::vector<Window> seen;
    std::vector<Index> selected;
    for (const Index lane : from) {
      seen.push_back(visible(lane));
      selected.push_back(first_of(lane));
    }
    for (auto& bank : banks) bank.select(from, seen);
    begin = std::move(selected);
  }

  /// Numbers all slots higher by so many; there is room.
  void shift(Index by) {
    for (auto& bank : banks) bank.move({0, end}, by);
    for (Index& first : begin) first += by;
    end += by;
  }
};

}  // namespace fbt
