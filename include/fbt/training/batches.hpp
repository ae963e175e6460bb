// Batches: B contiguous lanes through a stream of tokens, cut into segments of T steps, for truncated backpropagation through
// time with carried memory. The targets are the tokens that follow, or labels of the caller's.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <vector>

namespace fbt {

/// How the segments of a lane belong together.
enum class Segments {
  carried,      ///< one after the other they are one stream: memory is carried on
  independent,  ///< each is a sequence of its own, which begins with an empty memory
};

class Batches {
 public:
  /// Where a run is in the data: enough to go on from.
  struct Place {
    Index position = 0;  ///< of the next segment within every lane
    Index passes = 0;    ///< how often the lanes have been read to their end

    bool operator==(const Place&) const = default;
  };

  /// Lane b reads the b-th of B equal parts of the data (not copied: it must outlive this). Throws std::invalid_argument
  /// when a part is shorter than one segment and the token after it.
  Batches(Tokens data, Index lanes, Index segment, std::uint64_t seed)
      : Batches(data, data.empty() ? data : data.subspan(1), 1, lanes, segment, seed, Segments::carried) {}

  /// Labelled data: labels holds the target of every token, negative where none is scored (not copied either). Independent
  /// segments begin where the data begins, in every pass. Throws std::invalid_argument when there are not as many labels as
  /// tokens, or a part is shorter than one segment.
  Batches(Tokens data, Tokens labels, Index lanes, Index segment, std::uint64_t seed, Segments segments)
      : Batches(data, labels, 0, lanes, segment, seed, segments) {
    check(labels.size() == data.size(), "expected as many labels as tokens, found {} for {}", labels.size(), data.size());
  }

  /// Data that dies at the end of the call, labelled or not.
  template <class... Rest>
  Batches(std::vector<Token>&&, Rest&&...) = delete;

  Index lanes() const { return lanes_; }
  Index segment() const { return segment_; }
  Index length() const { return length_; }  ///< tokens of a lane
  Tokens data() const { return data_; }
  Tokens labels() const { return after_ == 0 ? goals_ : Tokens{}; }  ///< empty when the targets are the tokens that follow
  Segments segments() const { return segments_; }
  Place place() const { return place_; }
  /// Throws std::invalid_argument when there is no such place.
  void set_place(const Place& place) {
    check(place.passes >= 0 && place.position >= 0 && place.position <= length_,
          "expected a place within the {} tokens of a lane, found {} in pass {}", length_, place.position, place.passes);
    place_ = place;
  }

  /// Whether the next segment begins with an empty memory: it begins a new pass, or is independent. From the second pass on
  /// carried segments are cut at another random place.
  bool starts_afresh() const { return starts_afresh(segment_); }
  bool starts_afresh(Index steps) const {
    return segments_ == Segments::independent || place_.position == 0 || place_.position + steps > length_;
  }

  /// Goes on to the next segment.
  void next() { next(segment_); }
  /// A carried segment may be shorter: 1 to T steps. Throws std::invalid_argument for any other number.
  void next(Index steps) {
    check(steps >= 1 && steps <= segment_ && (steps == segment_ || segments_ == Segments::carried),
          "expected a segment of {}{} steps, found {}", segments_ == Segments::carried ? "1 to " : "", segment_, steps);
    steps_ = steps;
    if (place_.position + steps > length_) {
      ++place_.passes;
      place_.position = 0;
    }
    Index offset = place_.position;
    if (offset == 0 && place_.passes > 0 && segments_ == Segments::carried) {
      Random random(mix_seed(seed_, static_cast<std::uint64_t>(place_.passes)));
      offset = random.below(std::min(segment_, length_ - segment_ + 1));
    }
    for (Index t = 0; t < steps; ++t) {
      for (Index b = 0; b < lanes_; ++b) {
        const auto from = static_cast<std::size_t>(b * length_ + offset + t);
        const auto to = static_cast<std::size_t>(t * lanes_ + b);
        tokens_[to] = data_[from];
        targets_[to] = goals_[from];
      }
    }
    place_.position = offset + steps;
  }

  /// The segment (T*B, the lanes of step 0 first), and for each token its target.
  Tokens tokens() const { return Tokens(tokens_).first(static_cast<std::size_t>(steps_ * lanes_)); }
  Tokens targets() const { return Tokens(targets_).first(static_cast<std::size_t>(steps_ * lanes_)); }

 private:
  /// The target of data[i] is goals[i]. after: how many tokens at the end of the data are targets only.
  Batches(Tokens data, Tokens goals, Index after, Index lanes, Index segment, std::uint64_t seed, Segments segments)
      : data_(data), goals_(goals), after_(after), lanes_(lanes), segment_(segment), seed_(seed), segments_(segments) {
    check(lanes >= 1, "lanes must be at least 1, found {}", lanes);
    check(segment >= 1, "the segment must be at least 1 token, found {}", segment);
    length_ = (static_cast<Index>(data.size()) - after) / lanes;
    if (segments == Segments::independent) length_ = length_ / segment * segment;
    check(length_ >= segment, "the data is too short: {} lanes of segments of {} tokens need {:.0f} tokens, found {}", lanes,
          segment, static_cast<double>(lanes) * static_cast<double>(segment) + static_cast<double>(after),
          data.size());  // the product may overflow
    tokens_.resize(static_cast<std::size_t>(lanes * segment));
    targets_.resize(tokens_.size());
  }

  Tokens data_, goals_;
  Index after_, lanes_, segment_, length_ = 0;
  std::uint64_t seed_;
  Segments segments_;
  Place place_;
  Index steps_ = 0;  // of the present segment
  std::vector<Token> tokens_, targets_;
};

}  // namespace fbt
