// Block: one layer of the Transformer, attention over the memory and then feed-forward, each with norm and residual.
//   pre-norm    g = x + attention(norm1(x)),   y = g + feed_forward(norm2(g))
//   post-norm   g = norm1(x + attention(x)),   y = norm2(g + feed_forward(g))
// With an empty window the attention is left out: attention(.) = 0. Follows the contract of layer.hpp, with the memory as a
// further argument.
#pragma once

#include "fbt/layers/attention.hpp"
#include "fbt/layers/feed_forward.hpp"
#include "fbt/layers/layer_norm.hpp"
#include "fbt/models/config.hpp"

namespace fbt {

/// What a block reads besides its input.
template <class Scalar>
struct Surroundings {
  const LayerNorm<Scalar>& norm1;  ///< the block's own, or the one that it shares with the memory (MemoryNorm::block)
  const Position<Scalar>& position;
  const Slots<Scalar>& memory;
  Window window;
};

template <class Scalar>
struct Block {
  LayerNorm<Scalar> norm1, norm2;  ///< norm1 is empty if shared with the memory
  Attention<Scalar> attention;
  FeedForward<Scalar> feed_forward;
  Dropout<Scalar> dropout;  ///< on both residual branches
  bool pre_norm = true;

  struct Trace {
    typename LayerNorm<Scalar>::Trace norm1, norm2;
    typename Attention<Scalar>::Trace attention;
    typename FeedForward<Scalar>::Trace feed_forward;
    typename Dropout<Scalar>::Trace attention_dropout, feed_forward_dropout;
    Matrix<Scalar> branch, sum, dsum;  // (d, B)
  };

  Block() = default;
  Block(const Config& c, Random& random)
      : norm1(c.memory_norm == MemoryNorm::block ? 0 : c.width, c.norm_epsilon),
        norm2(c.width, c.norm_epsilon),
        attention(c.width, c.heads, c.head_columns(), c.output_bias, c.dropout, random),
        feed_forward(c.width, c.hidden_units(), c.activation, c.dropout, random),
        dropout{c.width, c.dropout},
        pre_norm(c.pre_norm) {
    if (c.span_ramp > 0) attention.span = AdaptiveSpan<Scalar>(c.heads, c.window, c.span_ramp);
  }

  /// rows: the most slots that a window of the segment will hold.
  void prepare(const LayerNorm<Scalar>& norm1_, const Position<Scalar>& position, Index rows, Trace& trace,
               const Segment& segment) const {
    norm1_.prepare(trace.norm1, segment);
    norm2.prepare(trace.norm2, segment);
    attention.prepare(position, rows, trace.attention, segment.child(0));
    feed_forward.prepare(trace.feed_forward, segment.child(1));
    dropout.prepare(trace.attention_dropout, segment.child(2));
    dropout.prepare(trace.feed_forward_dropout, segment.child(3));
    for (auto* m : {&trace.branch, &trace.sum, &trace.dsum}) m->resize(dropout.rows, segment.lanes);
  }

  /// x, y (d, B).
  void forward(const In<Scalar>& x, const Surroundings<Scalar>& around, Trace& trace, Index t, Out<Scalar> y) const {
    auto& g = trace.sum;
    auto query_input = trace.attention.query.input(t);
    auto hidden_input = trace.feed_forward.first.input(t);
    if (around.window.count > 0) {
      if (pre_norm) {
        around.norm1.forward(x, trace.norm1, t, query_input);
      } else {
        query_input = x;
      }
      add_branch(x, trace.attention_dropout, trace, t, g, [&](Out<Scalar> out, const Epilogue<Scalar>& epilogue) {
        attention.forward(query_input, around.memory, around.window, around.position, trace.attention, t, out, epilogue);
      });
    } else {
      attention.skip(trace.attention, t);
      g = x;
    }
    const auto add_feed_forward = [&](const In<Scalar>& to, Out<Scalar> sum) {
      add_branch(to, trace.feed_forward_dropout, trace, t, sum, [&](Out<Scalar> out, const Epilogue<Scalar>& epilogue) {
        feed_forward.forward(hidden_input, trace.feed_forward, t, out, epilogue);
      });
    };
    if (pre_norm) {
      norm2.forward(g, trace.norm2, t, hidden_input);
      add_feed_forward(g, y);
    } else {
      around.norm1.forward(g, trace.norm1, t, hidden_input);
      add_feed_forward(hidden_input, g);
      norm2.forward(g, trace.norm2, t, y);
    }
  }

  /// dy, dx (d, B). Overwrites dx. The gradient of the memory's slots is left for Attention::add_to_slots().
  void backward(const In<Scalar>& dy, const Surroundings<Scalar>& around, Trace& trace, Index t, Out<Scalar> dx) const {
    auto& dg = trace.dsum;
    auto& branch = trace.branch;
    // y = g + branch (pre-norm) or norm2(g + branch): dg starts as the gradient of the sum
    if (pre_norm) {
      dg = dy;
    } else {
      norm2.backward(dy, trace.norm2, t, dg);
    }
    auto dhidden = trace.feed_forward.second.delta(t);
    dropout.backward(dg, trace.feed_forward_dropout, t, dhidden);
    feed_forward.backward(dhidden, trace.feed_forward, t, trace.sum);
    if (pre_norm) {  // branch = feed_forward(norm2(g))
      norm2.backward(trace.sum, trace.norm2, t, branch);
      dg += branch;
    } else {  // branch = feed_forward(g),  g = norm1(x + attention)
      branch = dg + trace.sum;
      around.norm1.backward(branch, trace.norm1, t, dg);
    }
    if (around.window.count == 0) {  // g = x
      dx = dg;
      return;
    }
    auto dattended = trace.attention.output.delta(t);
    dropout.backward(dg, trace.attention_dropout, t, dattended);
    attention.backward(dattended, around.memory, around.window, around.position, trace.attention, t, trace.sum);
    if (pre_norm) {  // g = x + attention(norm1(x))
      around.norm1.backward(trace.sum, trace.norm1, t, dx);
      dx += dg;
    } else {
      dx = dg + trace.sum;
    }
  }

  void accumulate(Trace& trace, Block& grad) const {
    if (norm1.weight.size() > 0) norm1.accumulate(trace.norm1, grad.norm1);
    norm2.accumulate(trace.norm2, grad.norm2);
    attention.accumulate(trace.attention, grad.attention);
    feed_forward.accumulate(trace.feed_forward, grad.feed_forward);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    if (((layers.norm1.weight.size() > 0) && ...)) visit_child("norm1", f, layers.norm1...);
    visit_child("attention", f, layers.attention...);
    visit_child("norm2", f, layers.norm2...);
    visit_child("feed_forward", f, layers.feed_forward...);
  }

 private:
  /// sum = x + dropout(branch), where run(out, epilogue) writes the epilogue of the branch: straight into the sum if nothing is dropped.
  template <class Run>
  void add_branch(const In<Scalar>& x, typename Dropout<Scalar>::Trace& dropped, Trace& trace, Index t, Out<Scalar> sum,
                  Run&& run) const {
    if (!dropped.active()) return run(sum, {.add = x.data(), .add_stride = x.outerStride()});
    run(trace.branch, {});
    dropout.forward(trace.branch, dropped, t, trace.branch);
    sum = x + trace.branch;
  }
};

}  // namespace fbt
