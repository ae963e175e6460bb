// A FeedbackTransformer with a norm of one's own. MISSING: it has no backward().
#include "fbt/models/sequence_model.hpp"

using namespace fbt;

struct OwnNorm {
  Vector<float> weight;

  struct Trace {};

  OwnNorm() = default;
  OwnNorm(Index width, double) : weight(Vector<float>::Ones(width)) {}
  void prepare(Trace&, const Segment&) const {}
  void forward(const In<float>& x, Trace&, Index, Out<float> y) const { y = weight.asDiagonal() * x; }
#ifndef MISSING
  void backward(const In<float>& dy, Trace&, Index, Out<float> dx) const { dx = weight.asDiagonal() * dy; }
#endif
  void accumulate(Trace&, Index, Index, OwnNorm&) const {}
  template <class F, class... Same>
  static void visit(F&& f, Same&... norms) {
    f("weight", norms.weight...);
  }
};

FeedbackTransformer<float, Block<float, OwnNorm>> model_with_norm;
