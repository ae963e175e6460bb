// AdaptiveSpan: how far back each head of an attention looks, learned (Sukhbaatar et al., 2019, and the paper's code). The
// attention weight p_i of a slot of age i (1 for the newest) becomes, for a head with the span z,
//   w_i = p_i m_i / sum_k p_k m_k,   m_i = min(1, (ramp + z - i) / ramp) or 0 where that is below 0,   z = S min(1, max(0,
//   length))
// Slots with m = 0 are not looked at. A penalty on the spans (TrainerOptions::span_penalty) shortens those of heads that
// gain nothing from a long memory. A part of Attention, which calls forward and backward head by head.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/layers/key_value_cache.hpp"

#include <algorithm>
#include <cmath>

namespace fbt {

template <class Scalar>
struct AdaptiveSpan {
  Vector<Scalar> length;  ///< (H), as shares of the window; empty: every head sees the whole window
  Index window = 0;       ///< S
  Index ramp = 0;

  struct Trace {
    Vector<Scalar> dlength;  // (H), summed until accumulate()
  };

  AdaptiveSpan() = default;
  /// Heads begin with a span of 0, so that they see what their ramp covers, ramp - 1 slots. Throws std::invalid_argument
  /// when a size is too small.
  AdaptiveSpan(Index heads, Index window_, Index ramp_) : length(Vector<Scalar>::Zero(heads)), window(window_), ramp(ramp_) {
    check(heads >= 1 && window >= 1 && ramp >= 2,
          "span: expected at least 1 head, a window of 1 and a ramp of 2, so that the newest slot is seen, found {}, {} and "
          "{}",
          heads, window, ramp);
  }

  bool adaptive() const { return length.size() > 0; }

  void prepare(Trace& trace) const { trace.dlength.setZero(length.size()); }

  /// How many of the newest slots head j looks at, at most: at least 1.
  Index visible(Index j) const {
    return std::clamp<Index>(static_cast<Index>(std::ceil(static_cast<double>(ramp) + steps(j))) - 1, 1, window);
  }
  /// What head j looks at of a window.
  Window seen(Index j, Window w) const {
    if (!adaptive()) return w;
    return w.newest(visible(j));
  }

  /// From p to w for the count slots that head j looks at, the newest last.
  void forward(Index j, Scalar* weights, Index count) const {
    if (!adaptive()) return;
    const double z = steps(j);
    for (Index i = 0; i < count - within(z); ++i) weights[i] *= mask(z, count - i);
    Eigen::Map<Vector<Scalar>> all(weights, count);
    all *= 1 / all.sum();
  }

  /// Adds to the gradient of the span, given the gradient of the scores times `scale`. w is the softmax of s + log(m), so
  /// that backward of the scores is that of a softmax that gave w.
  void backward(Index j, const Scalar* ds, Index count, Scalar scale, Trace& trace) const {
    if (!adaptive()) return;
    // d log(m_i) = ds_i / scale;  m_i = (ramp + S length - i) / ramp  =>  dlength += S / ramp * sum of d log(m_i) / m_i.
    // At 1 every slot has m = 1: from there only a penalty shortens a span.
    const double z = steps(j);
    Scalar sum = 0;
    for (Index i = 0; i < count - within(z); ++i) sum += ds[i] / mask(z, count - i);
    trace.dlength(j) += sum * static_cast<Scalar>(window) / (static_cast<Scalar>(ramp) * scale);
  }

  /// Brings the lengths back to 0 .. 1: the gradient beyond is that at the border, and would carry them further and further.
  void clamp() { length = length.cwiseMax(Scalar(0)).cwiseMin(Scalar(1)); }

  void accumulate(Trace& trace, AdaptiveSpan& grad) const {
    if (!adaptive()) return;
    grad.length += trace.dlength;
    trace.dlength.setZero();
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    if (((layers.length.size() > 0) && ...)) f("length", layers.length...);
  }

 private:
  double steps(Index j) const {
    const auto share = static_cast<double>(length(j));
    return static_cast<double>(window) * (share > 0 ? std::min(share, 1.0) : 0.0);  // 0 for what is not a number
  }
  /// Slots of ages up to this have a mask of 1.
  static Index within(double z) { return static_cast<Index>(z); }
  /// Of an older one.
  Scalar mask(double z, Index age) const {
    return static_cast<Scalar>((static_cast<double>(ramp - age) + z) / static_cast<double>(ramp));
  }
};

}  // namespace fbt
