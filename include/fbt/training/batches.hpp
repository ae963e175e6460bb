// Batches: B contiguous lanes through a series of values, cut into segments of T steps, for truncated backpropagation
// through time with carried memory. The targets are labels or vectors of the caller's, or the tokens that follow.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"
#include "fbt/training/series.hpp"

#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace fbt {

/// How the segments of a lane belong together.
enum class Segments {
  carried,      ///< one after the other they are one stream: memory is carried on
  independent,  ///< each is a sequence of its own, which begins with an empty memory
};

struct BatchOptions {
  Index lanes = 32;    ///< B, sequences read side by side
  Index segment = 64;  ///< T, steps between updates
  Segments segments = Segments::carried;
  std::uint64_t seed = 1;  ///< of where segments are cut from the second pass on, and of dropout

  void validate() const {
    check(lanes >= 1, "lanes must be at least 1, found {}", lanes);
    check(segment >= 1, "the segment must be at least 1 token, found {}", segment);
  }
};

/// Values, Targets: Tokens or Vectors<Scalar>.
template <class Values = Tokens, class Targets = Tokens>
class Batches {
 public:
  /// Where a run is in the data: enough to go on from.
  struct Place {
    Index position = 0;  ///< of the next segment within every lane
    Index passes = 0;    ///< how often the lanes have been read to their end

    bool operator==(const Place&) const = default;
  };

  /// Lane b reads the b-th of B equal parts of the data; targets holds the target of every value: negative tokens, and
  /// vectors of NaN, are not scored. Neither is copied: they must outlive this. Independent segments begin where the data
  /// begins, in every pass. Throws std::invalid_argument when there are not as many targets as values, or a part is shorter
  /// than one segment.
  Batches(Values data, Targets targets, const BatchOptions& options) : Batches(data, targets, 0, options) {
    check(Series<Targets>::length(targets) == Series<Values>::length(data),
          "expected as many targets as values, found {} for {}", Series<Targets>::length(targets),
          Series<Values>::length(data));
  }
  template <class Scalar>
  Batches(const Matrix<Scalar>& data, const Matrix<Scalar>& targets, const BatchOptions& options)
      : Batches(vectors(data), vectors(targets), options) {}
  /// The target of every token is the one after it.
  Batches(Tokens data, const BatchOptions& options) : Batches(data, data.empty() ? data : data.subspan(1), 1, options) {}

  /// Data that dies at the end of the call.
  template <class... Rest>
  Batches(std::vector<Token>&&, Rest&&...) = delete;
  template <class Scalar, class... Rest>
  Batches(Matrix<Scalar>&&, Rest&&...) = delete;
  Batches(const std::vector<Token>&, std::vector<Token>&&, const BatchOptions&) = delete;

  /// Marks values (not copied) at which a sequence begins, in a stream of many: nothing that came before is remembered
  /// there. Not 0: begins. Throws std::invalid_argument unless there is a mark for every value.
  void set_starts(std::span<const std::uint8_t> starts) {
    check(static_cast<Index>(starts.size()) == Series<Values>::length(data_),
          "expected as many starts as values, found {} for {}", starts.size(), Series<Values>::length(data_));
    starts_ = starts;
    batch_starts_.resize(static_cast<std::size_t>(options_.lanes * options_.segment));
  }

  void set_starts(std::vector<std::uint8_t>&&) = delete;

  Index lanes() const { return options_.lanes; }
  Index segment() const { return options_.segment; }
  Segments segments() const { return options_.segments; }
  std::uint64_t seed() const { return options_.seed; }
  Index length() const { return length_; }  ///< values of a lane
  const Values& data() const { return data_; }
  const Targets& goals() const { return goals_; }
  std::span<const std::uint8_t> all_starts() const { return starts_; }  ///< of set_starts()
  bool predicts_next() const { return after_ == 1; }                    ///< whether targets are the tokens that follow
  Place place() const { return place_; }
  /// Throws std::invalid_argument when there is no such place.
  void set_place(const Place& place) {
    check(place.passes >= 0 && place.position >= 0 && place.position <= length_,
          "expected a place within the {} tokens of a lane, found {} in pass {}", length_, place.position, place.passes);
    place_ = place;
  }

  /// Whether the next segment begins with an empty memory: it begins a new pass, or is independent. From the second pass on
  /// carried segments are cut at another random place.
  bool starts_afresh() const { return starts_afresh(options_.segment); }
  bool starts_afresh(Index steps) const {
    return independent() || place_.position == 0 || place_.position + steps > length_;
  }

  /// Goes on to the next segment, and returns how many steps it has.
  Index next() { return next(options_.segment); }
  /// A segment may be shorter: 1 to T steps. Of an independent one these are its first; the rest is passed over. Throws
  /// std::invalid_argument for any other number.
  Index next(Index steps) {
    check(steps >= 1 && steps <= options_.segment, "expected a segment of 1 to {} steps, found {}", options_.segment, steps);
    steps_ = steps;
    const Index taken = independent() ? options_.segment : steps;
    if (place_.position + taken > length_) {
      ++place_.passes;
      place_.position = 0;
    }
    Index offset = place_.position;
    if (offset == 0 && place_.passes > 0 && !independent()) {
      Random random(mix_seed(options_.seed, static_cast<std::uint64_t>(place_.passes)));
      offset = random.below(std::min(options_.segment, length_ - options_.segment + 1));
    }
    for (Index t = 0; t < steps; ++t) {
      for (Index b = 0; b < options_.lanes; ++b) {
        const Index from = b * length_ + offset + t, to = t * options_.lanes + b;
        Series<Values>::copy(data_, from, 1, values_, to);
        Series<Targets>::copy(goals_, from, 1, targets_, to);
        if (!starts_.empty()) batch_starts_[static_cast<std::size_t>(to)] = starts_[static_cast<std::size_t>(from)];
      }
    }
    place_.position = offset + taken;
    return steps;
  }

  /// The segment (T*B, the lanes of step 0 first), for each value its target, and whether a sequence begins with it (or
  /// nothing).
  Values values() const { return Series<Values>::first(values_, steps_ * options_.lanes); }
  Targets targets() const { return Series<Targets>::first(targets_, steps_ * options_.lanes); }
  std::span<const std::uint8_t> starts() const {
    return std::span(batch_starts_).first(starts_.empty() ? 0 : static_cast<std::size_t>(steps_ * options_.lanes));
  }

  /// Some lanes of the segment, as a shard of a Trainer reads them.
  class Part {
   public:
    Values values() const { return Series<Values>::first(values_, columns_); }
    Targets targets() const { return Series<Targets>::first(targets_, columns_); }
    std::span<const std::uint8_t> starts() const { return starts_; }

   private:
    friend Batches;
    typename Series<Values>::Buffer values_;
    typename Series<Targets>::Buffer targets_;
    std::vector<std::uint8_t> starts_;
    Index columns_ = 0;
  };
  /// Room for so many lanes of any segment.
  Part part(Index lanes) const {
    Part part;
    part.values_ = Series<Values>::room(data_, lanes * options_.segment);
    part.targets_ = Series<Targets>::room(goals_, lanes * options_.segment);
    return part;
  }
  /// Copies so many lanes of the present segment, from the given one on. The part was made for as many.
  void copy(Index first_lane, Index lanes, Part& part) const {
    part.columns_ = lanes * steps_;
    part.starts_.resize(starts_.empty() ? 0 : static_cast<std::size_t>(part.columns_));
    for (Index t = 0; t < steps_; ++t) {
      const Index from = t * options_.lanes + first_lane, to = t * lanes;
      Series<Values>::copy(values_, from, lanes, part.values_, to);
      Series<Targets>::copy(targets_, from, lanes, part.targets_, to);
      if (!starts_.empty()) std::copy_n(batch_starts_.begin() + from, lanes, part.starts_.begin() + to);
    }
  }

  /// Throws std::invalid_argument when the model cannot read the data, or has not as many outputs as the targets need.
  template <class Model>
  void check_model(const Model& model) const {
    if constexpr (std::is_same_v<Values, Tokens>) {
      const auto vocabulary = model.config().vocabulary;
      for (const Token token : data_)
        check(token >= 0 && token < vocabulary, "the data has token {}: expected 0 to {}", token, vocabulary - 1);
    } else {
      check(data_.rows() == model.config().inputs, "the data has vectors of {} numbers: expected {}", data_.rows(),
            model.config().inputs);
    }
    const Index outputs = model.head.outputs();
    if constexpr (std::is_same_v<Targets, Tokens>) {
      for (const Token label : goals_)
        check(label < outputs, "the data has label {}: expected at most {}", label, outputs - 1);
    } else {
      check(goals_.rows() == outputs, "the targets are vectors of {} numbers: expected {}", goals_.rows(), outputs);
    }
  }

 private:
  /// The target of data[i] is goals[i]. after: how many values at the end of the data are targets only.
  Batches(Values data, Targets goals, Index after, const BatchOptions& options)
      : data_(data), goals_(goals), after_(after), options_((options.validate(), options)) {
    const Index lanes = options.lanes, segment = options.segment;
    const Index count = Series<Values>::length(data);
    length_ = (count - after) / lanes;
    if (independent()) length_ = length_ / segment * segment;
    check(length_ >= segment, "the data is too short: {} lanes of segments of {} tokens need {:.0f} tokens, found {}", lanes,
          segment, static_cast<double>(lanes) * static_cast<double>(segment) + static_cast<double>(after),
          count);  // the product may overflow
    values_ = Series<Values>::room(data, lanes * segment);
    targets_ = Series<Targets>::room(goals, lanes * segment);
  }

  bool independent() const { return options_.segments == Segments::independent; }

  Values data_;
  Targets goals_;
  std::span<const std::uint8_t> starts_;
  Index after_, length_ = 0;
  BatchOptions options_;
  Place place_;
  Index steps_ = 0;  // of the present segment
  typename Series<Values>::Buffer values_;
  typename Series<Targets>::Buffer targets_;
  std::vector<std::uint8_t> batch_starts_;
};

Batches(const std::vector<Token>&, const BatchOptions&)->Batches<Tokens, Tokens>;
template <class Scalar>
Batches(const Matrix<Scalar>&, const Matrix<Scalar>&, const BatchOptions&) -> Batches<Vectors<Scalar>, Vectors<Scalar>>;
Batches(const std::vector<Token>&, const std::vector<Token>&, const BatchOptions&)->Batches<Tokens, Tokens>;

}  // namespace fbt
