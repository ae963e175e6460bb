// A FeedbackTransformer with a block of one's own, which has attention only. MISSING: its Trace has no attention.
#include "fbt/models/sequence_model.hpp"

using namespace fbt;

struct OwnBlock {
  using Scalar = float;
  using Norm = LayerNorm<float>;
  using View = MemoryView<float, Norm>;

  Attention<float> attention;

  struct Trace {
    Norm::Trace norm1;
#ifdef MISSING
    Attention<float>::Trace attended;
#else
    Attention<float>::Trace attention;
#endif
  };

  OwnBlock() = default;
  OwnBlock(const Config& c, Random& random)
      : attention(c.width, c.heads, c.head_columns(), c.output_bias, c.dropout, random) {}
  static auto& attention_of(Trace& trace) {
#ifdef MISSING
    return trace.attended;
#else
    return trace.attention;
#endif
  }
  void prepare(const View& view, Index rows, Trace& trace, const Segment& segment) const {
    attention.prepare(view.position, rows, attention_of(trace), segment);
  }
  void forward(const In<float>& x, const View& view, Trace& trace, Index t, Out<float> y) const {
    attention.forward(x, *view.cache, view.windows, view.position, attention_of(trace), t, y);
  }
  void backward(const In<float>& dy, const View& view, Trace& trace, Index t, Out<float> dx) const {
    attention.backward(dy, *view.cache, view.windows, view.position, attention_of(trace), t, dx);
  }
  void accumulate(Trace& trace, Index first, Index count, OwnBlock& grad) const {
    attention.accumulate(attention_of(trace), first, count, grad.attention);
  }
  template <class F, class... Same>
  static void visit(F&& f, Same&... blocks) {
    visit_child("attention", f, blocks.attention...);
  }
};

FeedbackTransformer<float, OwnBlock> model_with_block;
