// A FeedbackTransformer with a feed-forward part of one's own. MISSING: it has no accumulate().
#include "fbt/models/sequence_model.hpp"

using namespace fbt;

struct OwnFeedForward {
  Vector<float> weight;

  struct Trace {};

  OwnFeedForward() = default;
  OwnFeedForward(Index width, Index, Activation, double, Random&) : weight(Vector<float>::Ones(width)) {}
  void prepare(Trace&, const Segment&) const {}
  void forward(const In<float>& x, Trace&, Index, Out<float> y) const { y = weight.asDiagonal() * x; }
  void backward(const In<float>& dy, Trace&, Index, Out<float> dx) const { dx = weight.asDiagonal() * dy; }
#ifndef MISSING
  void accumulate(Trace&, Index, Index, OwnFeedForward&) const {}
#endif
  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
  }
};

FeedbackTransformer<float, Block<float, LayerNorm<float>, OwnFeedForward>> model_with_feed_forward;
