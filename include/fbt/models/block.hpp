// Block: one layer of the Transformer, attention over the memory and then feed-forward, each with norm and residual.
//   pre-norm    g = x + attention(norm1(x)),   y = g + feed_forward(norm2(g))
//   post-norm   g = norm1(x + attention(x)),   y = norm2(g + feed_forward(g))
// In a decoder g goes through attention to a source before the feed-forward part (cross_attention.hpp).
// A lane whose window is empty leaves the attention out: attention(.) = 0. Norm and feed-forward are template arguments:
// another norm is a word, not a copy. Follows the contract of layer.hpp, with what it reads of the memory as a further
// argument.
#pragma once

#include "fbt/layers/attention.hpp"
#include "fbt/layers/cross_attention.hpp"
#include "fbt/layers/feed_forward.hpp"
#include "fbt/layers/layer_norm.hpp"
#include "fbt/models/config.hpp"

#include <algorithm>
#include <concepts>
#include <optional>
#include <string_view>

namespace fbt {

/// What a block reads besides its input.
template <class Scalar, class Norm = LayerNorm<Scalar>>
struct MemoryView {
  const Norm* norm = nullptr;  ///< in the place of norm1, where the memory shares it (MemoryNorm::block)
  const Position<Scalar>& position;
  const KeyValueCache<Scalar>* cache = nullptr;
  Windows windows = {};  ///< (B): what every lane sees
  SourceView<Scalar> source = {};
};

/// What takes the place of FeedForward: a ColumnLayer of d rows, made from d, hidden units f, an activation and a dropout
/// rate. Where its forward() takes an Epilogue as its last argument, the residual is added on the way out.
template <class F, class Scalar>
concept FeedForwardLayer = ColumnLayer<F, Scalar> && std::constructible_from<F, Index, Index, Activation, double, Random&>;

template <class Scalar_, NormLayer<Scalar_> Norm_ = LayerNorm<Scalar_>,
          FeedForwardLayer<Scalar_> FeedForward_ = FeedForward<Scalar_>>
struct Block {
  using Scalar = Scalar_;
  using Norm = Norm_;
  using View = MemoryView<Scalar, Norm>;

  Norm norm1, norm2;  ///< norm1 is empty if shared with the memory
  Attention<Scalar> attention;
  std::optional<CrossAttention<Scalar, Norm>> cross;  ///< of a decoder
  FeedForward_ feed_forward;
  Dropout<Scalar> dropout;  ///< on both residual branches
  bool pre_norm = true;
  bool shares_norm = false;  ///< norm1 is the memory's (MemoryNorm::block)

  struct Trace {
    typename Norm::Trace norm1, norm2;
    typename Attention<Scalar>::Trace attention;
    typename CrossAttention<Scalar, Norm>::Trace cross;
    typename FeedForward_::Trace feed_forward;
    typename Dropout<Scalar>::Trace attention_dropout, feed_forward_dropout;
    Matrix<Scalar> branch, sum, dsum;  // (d, B)
    Matrix<Scalar> crossed;            // (d, B)
    Matrix<Scalar> hidden_input;       // (d, B): of a feed-forward part whose Trace has no place for it
  };

  Block() = default;
  Block(const Config& c, Random& random)
      : norm1(c.memory_norm == MemoryNorm::block ? 0 : c.width, c.norm_epsilon),
        norm2(c.width, c.norm_epsilon),
        attention(c.width, c.heads, c.head_columns(), c.output_bias, c.dropout, random),
        feed_forward(c.width, c.hidden_units(), c.activation, c.dropout, random),
        dropout{c.width, c.dropout},
        pre_norm(c.pre_norm),
        shares_norm(c.memory_norm == MemoryNorm::block) {
    if (c.cross_attention)
      cross.emplace(c.width, c.heads, c.head_columns(), c.output_bias, c.dropout, c.norm_epsilon, random);
    if (c.span_ramp > 0) attention.span = AdaptiveSpan<Scalar>(c.heads, c.window, c.span_ramp);
  }

  /// rows: the most slots that a window of the segment will hold.
  void prepare(const View& view, Index rows, Trace& trace, const Segment& segment) const {
    first_norm(view).prepare(trace.norm1, segment);
    norm2.prepare(trace.norm2, segment);
    attention.prepare(view.position, rows, trace.attention, segment.child(0));
    feed_forward.prepare(trace.feed_forward, segment.child(1));
    dropout.prepare(trace.attention_dropout, segment.child(2));
    dropout.prepare(trace.feed_forward_dropout, segment.child(3));
    for (auto* m : {&trace.branch, &trace.sum, &trace.dsum, &trace.hidden_input}) m->resize(dropout.rows, segment.lanes);
    if (!cross) return;
    cross->prepare(trace.cross, segment.child(4));
    trace.crossed.resize(dropout.rows, segment.lanes);
  }

  /// x, y (d, B).
  void forward(const In<Scalar>& x, const View& view, Trace& trace, Index t, Out<Scalar> y) const {
    auto& g = trace.sum;
    auto query_input = trace.attention.query.input(t);
    Out<Scalar> hidden_input = input_place(trace.feed_forward, t, trace.hidden_input);
    if (any_slot(view.windows)) {
      if (pre_norm) {
        first_norm(view).forward(x, trace.norm1, t, query_input);
      } else {
        query_input = x;
      }
      add_branch(x, trace.attention_dropout, trace, t, g, [&](Out<Scalar> out, const Epilogue<Scalar>& epilogue = {}) {
        attention.forward(query_input, *view.cache, view.windows, view.position, trace.attention, t, out, epilogue);
      });
      for_each_empty(view.windows, [&](Index b) { g.col(b) = x.col(b); });
    } else {
      if (pre_norm) first_norm(view).forward(x, trace.norm1, t, query_input);  // its gradient is to be that of this step
      attention.skip(trace.attention, t);
      g = x;
    }
    const auto add_feed_forward = [&](const In<Scalar>& to, Out<Scalar> sum) {
      add_branch(
          to, trace.feed_forward_dropout, trace, t,
          sum, [&]<class... E>(Out<Scalar> out, const E&... epilogue) requires takes_epilogue<FeedForward_, E...> {
            feed_forward.forward(hidden_input, trace.feed_forward, t, out, epilogue...);
          });
    };
    if (pre_norm) {
      if (cross) cross->forward(g, view.source, trace.cross, t, trace.crossed);
      const Matrix<Scalar>& sum = cross ? trace.crossed : g;
      norm2.forward(sum, trace.norm2, t, hidden_input);
      add_feed_forward(sum, y);
    } else {
      first_norm(view).forward(g, trace.norm1, t, hidden_input);
      add_feed_forward(hidden_input, g);
      norm2.forward(g, trace.norm2, t, y);
    }
  }

  /// dy, dx (d, B). Overwrites dx. The gradient of the memory's slots is left for Attention::add_to_cache().
  void backward(const In<Scalar>& dy, const View& view, Trace& trace, Index t, Out<Scalar> dx) const {
    auto& dg = trace.dsum;
    auto& branch = trace.branch;
    // y = g + branch (pre-norm) or norm2(g + branch): dg starts as the gradient of the sum
    if (pre_norm) {
      dg = dy;
    } else {
      norm2.backward(dy, trace.norm2, t, dg);
    }
    Out<Scalar> dhidden = delta_place(trace.feed_forward, t, trace.branch);
    dropout.backward(dg, trace.feed_forward_dropout, t, dhidden);
    feed_forward.backward(dhidden, trace.feed_forward, t, trace.sum);
    if (pre_norm) {  // branch = feed_forward(norm2(g))
      norm2.backward(trace.sum, trace.norm2, t, branch);
      dg += branch;
      if (cross) {  // what the feed-forward part reads is cross(g)
        branch = dg;
        cross->backward(branch, view.source, trace.cross, t, dg);
      }
    } else {  // branch = feed_forward(g),  g = norm1(x + attention)
      branch = dg + trace.sum;
      first_norm(view).backward(branch, trace.norm1, t, dg);
    }
    if (!any_slot(view.windows)) {  // g = x
      attention.skip(trace.attention, t);
      if (pre_norm) {
        trace.sum.setZero();
        first_norm(view).backward(trace.sum, trace.norm1, t, dx);
      }
      dx = dg;
      return;
    }
    auto dattended = trace.attention.output.delta(t);
    dropout.backward(dg, trace.attention_dropout, t, dattended);
    for_each_empty(view.windows, [&](Index b) { dattended.col(b).setZero(); });
    attention.backward(dattended, *view.cache, view.windows, view.position, trace.attention, t, trace.sum);
    if (pre_norm) {  // g = x + attention(norm1(x))
      first_norm(view).backward(trace.sum, trace.norm1, t, dx);
      dx += dg;
    } else {
      dx = dg + trace.sum;
    }
  }

  /// Without norm1 where the memory shares it: whoever owns that norm accumulates trace.norm1.
  void accumulate(Trace& trace, Index first, Index count, Block& grad) const {
    if (!shares_norm) norm1.accumulate(trace.norm1, first, count, grad.norm1);
    norm2.accumulate(trace.norm2, first, count, grad.norm2);
    attention.accumulate(trace.attention, first, count, grad.attention);
    if (cross) cross->accumulate(trace.cross, first, count, *grad.cross);
    feed_forward.accumulate(trace.feed_forward, first, count, grad.feed_forward);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    if ((!layers.shares_norm && ...)) visit_child("norm1", f, layers.norm1...);
    visit_child("attention", f, layers.attention...);
    if ((layers.cross.has_value() && ...)) visit_child("cross", f, *layers.cross...);
    visit_child("norm2", f, layers.norm2...);
    visit_child("feed_forward", f, layers.feed_forward...);
  }

 private:
  const Norm& first_norm(const View& view) const { return view.norm ? *view.norm : norm1; }

  template <class Layer, class... E>
  static constexpr bool takes_epilogue = requires(const Layer layer, typename Layer::Trace trace, Matrix<Scalar> m, E... e) {
    layer.forward(m, trace, Index{}, m, e...);
  };

  /// sum = x + dropout(branch), where run(out) writes the branch. If nothing is dropped and it can, run(out, epilogue)
  /// writes the sum.
  template <class Run>
  void add_branch(const In<Scalar>& x, typename Dropout<Scalar>::Trace& dropped, Trace& trace, Index t, Out<Scalar> sum,
                  Run&& run) const {
    if constexpr (std::invocable<Run, Out<Scalar>, Epilogue<Scalar>>)
      if (!dropped.active()) return run(sum, Epilogue<Scalar>{.add = x.data(), .add_stride = x.outerStride()});
    run(trace.branch);
    dropout.forward(trace.branch, dropped, t, trace.branch);
    sum = x + trace.branch;
  }
};

/// What takes the place of Block in a FeedbackCore. Its Trace has `attention`, from which the core takes the gradient of the
/// slots that the block has read, and `norm1`, whose gradient the core accumulates where the memory shares that norm.
template <class B>
concept BlockLayer = std::copyable<B> && std::constructible_from<B, const Config&, Random&> &&
    std::same_as<typename B::View, MemoryView<typename B::Scalar, typename B::Norm>> &&
    requires(const B block, B grad, typename B::Trace trace, const typename B::View& view, In<typename B::Scalar> x,
             Out<typename B::Scalar> y, Segment segment) {
  block.prepare(view, Index{}, trace, segment);
  block.forward(x, view, trace, Index{}, y);
  block.backward(x, view, trace, Index{}, y);
  block.accumulate(trace, Index{}, Index{}, grad);
  B::visit([](std::string_view, auto&...) {}, grad, block);
  { grad.attention } -> std::same_as<Attention<typename B::Scalar>&>;
  { trace.attention } -> std::same_as<typename Attention<typename B::Scalar>::Trace&>;
  { trace.norm1 } -> std::same_as<typename B::Norm::Trace&>;
};

}  // namespace fbt
