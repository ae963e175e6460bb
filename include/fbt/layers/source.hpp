// Source: what a decoder attends to besides its memory: the keys and values that are made once from an encoder's outputs
// and read at every step. Sources differ in length, so every lane has a window of its own.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/layers/key_value_cache.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace fbt {

template <class Scalar>
struct Source {
  std::vector<KeyValueCache<Scalar>> banks;  ///< one for all blocks, or one per block; slot i is position i of the source
  std::vector<Window> windows;               ///< (B): a lane without a source sees nothing

  Source() = default;
  /// None yet, in any of the lanes.
  Source(Index count, Index head_size, Index heads, Index lanes)
      : banks(static_cast<std::size_t>(count), KeyValueCache<Scalar>(head_size, heads, lanes, 0)),
        windows(static_cast<std::size_t>(lanes)) {}

  Index lanes() const { return static_cast<Index>(windows.size()); }
  const KeyValueCache<Scalar>& bank_of(std::size_t block) const { return banks[banks.size() == 1 ? 0 : block]; }
  /// Positions of the longest source.
  Index longest() const {
    Index most = 0;
    for (const Window& w : windows) most = std::max(most, w.count);
    return most;
  }

  /// Makes room for sources of so many positions; what is there stays.
  void reserve(Index positions) {
    for (KeyValueCache<Scalar>& bank : banks) {
      if (bank.capacity >= positions) continue;
      KeyValueCache<Scalar> larger(bank.head_size, bank.heads, bank.lanes, positions);
      for (Index b = 0; b < lanes(); ++b) larger.copy(b, window(b), bank, b, window(b));
      bank = std::move(larger);
    }
  }

  /// The source of one lane, for a single lane. Throws std::invalid_argument for a lane that there is not.
  Source take(Index lane) const {
    check_source_lane(lane);
    Source one;
    one.windows = {{0, window(lane).count}};
    for (const auto& bank : banks)
      one.banks.emplace_back(bank.head_size, bank.heads, 1, window(lane).count)
          .copy(0, one.windows[0], bank, lane, window(lane));
    return one;
  }
  /// Gives a lane the source of a single lane. Throws std::invalid_argument when that is of another config, and
  /// for a lane that there is not.
  void put(Index lane, const Source& one) {
    check_source_lane(lane);
    const auto same = [](const KeyValueCache<Scalar>& a, const KeyValueCache<Scalar>& b) {
      return a.heads == b.heads && a.head_size == b.head_size;
    };
    check(one.lanes() == 1 && std::equal(banks.begin(), banks.end(), one.banks.begin(), one.banks.end(), same),
          "put: expected the source of a single lane of the same config");
    const Window from = one.windows[0], to{0, from.count};
    reserve(from.count);
    for (std::size_t i = 0; i < banks.size(); ++i) banks[i].copy(lane, to, one.banks[i], 0, from);
    windows[static_cast<std::size_t>(lane)] = to;
  }
  /// Lane b gets the source of lane from[b], all at once; from now on there are as many lanes. Throws std::invalid_argument
  /// for a lane that there is not.
  void select(std::span<const Index> from) {
    for (const Index lane : from) check_source_lane(lane);
    std::vector<Window> selected;
    for (const Index lane : from) selected.push_back(window(lane));
    for (auto& bank : banks) bank.select(from, selected);
    windows = std::move(selected);
  }

 private:
  void check_source_lane(Index lane) const {
    check(lane >= 0 && lane < lanes(), "source: expected a lane below {}, found {}", lanes(), lane);
  }
  const Window& window(Index lane) const { return windows[static_cast<std::size_t>(lane)]; }
};

/// What a block reads of a source.
template <class Scalar>
struct SourceView {
  const KeyValueCache<Scalar>* cache = nullptr;
  Windows windows = {};  ///< (B)
};

}  // namespace fbt
