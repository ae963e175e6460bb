// Dropout: in training, y = x * mask, where an entry of the mask is 0 with probability rate and 1 / (1 - rate) otherwise
// (Srivastava et al., 2014); else y = x. The masks of a segment are drawn from Segment::seed, those of every delta_steps
// steps anew, so that they can be drawn again for these steps alone (Segment::group). Follows the contract of layer.hpp.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace fbt {

template <class Scalar>
struct Dropout {
  Index rows = 0;
  double rate = 0;  ///< in [0, 1); rounded to a multiple of 2^-16 below 1

  struct Trace {
    Matrix<Scalar> mask;  // (rows, T*B), or empty when nothing is dropped
    Index lanes = 0;

    bool active() const { return mask.size() > 0; }
  };

  /// Throws std::invalid_argument when the rate is out of range, or there are no rows to drop anything of.
  void prepare(Trace& trace, const Segment& segment) const {
    check(rate >= 0 && rate < 1, "the dropout rate must be at least 0 and below 1, found {}", rate);
    check(rows > 0 || rate == 0, "a dropout rate of {}: expected at least 1 row, found {}", rate, rows);
    trace.lanes = segment.lanes;
    const auto threshold = static_cast<std::uint64_t>(std::min(std::lround(rate * 65536), 65535L));
    if (!segment.train || threshold == 0) {
      trace.mask.resize(0, 0);
      return;
    }
    trace.mask.resize(rows, segment.columns());
    const auto keep = static_cast<Scalar>(65536.0 / (65536.0 - static_cast<double>(threshold)));
    for (Index first = 0; first < segment.steps; first += delta_steps) {
      const Index group = segment.first_group + first / delta_steps;
      auto mask = step_columns(trace.mask, first, segment.lanes, std::min(delta_steps, segment.steps - first));
      // of a seed that no child of the segment has
      draw(mask.data(), mask.size(), threshold, keep,
           group == 0 ? segment.seed : mix_seed(~segment.seed, static_cast<std::uint64_t>(group)));
    }
  }

  /// x, y (rows, B); y may be x.
  void forward(const In<Scalar>& x, Trace& trace, Index t, Out<Scalar> y) const { apply(x, trace, t, y); }
  /// y = x * mask  =>  dx = dy * mask. dx may be dy.
  void backward(const In<Scalar>& dy, Trace& trace, Index t, Out<Scalar> dx) const { apply(dy, trace, t, dx); }
  void accumulate(Trace&, Index, Index, Dropout&) const {}

  template <class F, class... Same>
  static void visit(F&&, Same&...) {}

 private:
  static void draw(Scalar* mask, Index size, std::uint64_t threshold, Scalar keep, std::uint64_t seed) {
    Random random(seed);
    const auto draw_some = [&](Index i, Index count) {  // a constant count makes this a few instructions
      std::uint64_t bits = random.bits();
      for (Index j = i; j < i + count; ++j, bits >>= 16) mask[j] = (bits & 0xffff) < threshold ? Scalar(0) : keep;
    };
    const Index whole = size / 4 * 4;
    for (Index i = 0; i < whole; i += 4) draw_some(i, 4);
    if (whole < size) draw_some(whole, size - whole);
  }
  static void apply(const In<Scalar>& from, const Trace& trace, Index t, Out<Scalar> to) {
    if (trace.active()) {
      to = from.cwiseProduct(step_columns(trace.mask, t, trace.lanes));
    } else if (to.data() != from.data()) {
      to = from;
    }
  }
};

}  // namespace fbt
