// Attention over a memory: for each head j, with q = W_q x,
//   s_i = ((q_j + u_j) . k_ij + position_i(q_j)) / sqrt(e),   p = softmax(s),   o_j = sum_i dropout(p)_i v_ij,
//   y = W_o [o_1 .. o_H] + b_o
// over the slots i of a window, which is every lane's own (section 3 of the paper); u is the query bias of the position
// term, mostly absent. Keys and values are the cache's: this layer only reads them. Where spans are learned, p is narrowed
// before it is used (adaptive_span.hpp). Follows the contract of layer.hpp with the cache, the windows and the position term
// as further arguments.
#pragma once

#include "fbt/kernels/attention_products.hpp"
#include "fbt/layers/adaptive_span.hpp"
#include "fbt/layers/dropout.hpp"
#include "fbt/layers/key_value_cache.hpp"
#include "fbt/layers/linear.hpp"
#include "fbt/layers/position.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace fbt {

template <class Scalar>
struct Attention {
  Index heads = 0, head_size = 0;  ///< H, e
  Linear<Scalar> query;            ///< W_q (H*e, d)
  Linear<Scalar> output;           ///< W_o (d, H*e), b_o (d) or nothing
  double dropout_rate = 0;         ///< of the attention weights
  AdaptiveSpan<Scalar> span;       ///< how far back each head looks; by default the whole window

  struct Trace {
    typename Linear<Scalar>::Trace query, output;
    // position.x holds the queries (e, H*B*T); position.dy the attention weights p (rows, H*B*T), newest slot last, until
    // backward puts ds there. Rows of slots that are not in the window are zero.
    typename Position<Scalar>::Trace position;
    typename Dropout<Scalar>::Trace dropout;
    typename AdaptiveSpan<Scalar>::Trace span;
    Matrix<Scalar> dheads;    // (H*e, B)
    Matrix<Scalar> content;   // q + u (e, H*B), if there is a u
    Matrix<Scalar> kept;      // dropout(p) (rows, H*B)
    Matrix<Scalar> dkept;     // (rows), a column per thread
    Matrix<Scalar> dcontent;  // (e), a column per thread
  };

  Attention() = default;
  Attention(Index width, Index heads_, Index head_size_, bool output_bias, double dropout_rate_, Random& random)
      : heads(heads_),
        head_size(head_size_),
        query(width, heads * head_size, random, false),
        output(heads * head_size, width, random, output_bias),
        dropout_rate(dropout_rate_) {}

  /// rows: the most slots that a window of the segment will hold.
  void prepare(const Position<Scalar>& position, Index rows, Trace& trace, const Segment& segment) const {
    Segment per_head = segment;
    per_head.lanes = heads * segment.lanes;
    query.prepare(trace.query, segment);
    output.prepare(trace.output, segment);
    span.prepare(trace.span);
    trace.dheads.resize(output.inputs(), segment.lanes);
    trace.content.resize(head_size, position.query_bias.size() > 0 ? per_head.lanes : 0);
    trace.dcontent.resize(head_size, parts_of(segment.team));
    prepare_rows(position, rows, trace, segment);
  }
  /// Only what depends on the number of rows.
  void prepare_rows(const Position<Scalar>& position, Index rows, Trace& trace, const Segment& segment) const {
    Segment per_head = segment;
    per_head.lanes = heads * segment.lanes;
    position.prepare(trace.position, per_head, rows);
    Dropout<Scalar>{rows, dropout_rate}.prepare(trace.dropout, per_head);
    trace.kept.resize(rows, per_head.lanes);
    trace.dkept.resize(rows, parts_of(segment.team));
  }

  /// As that of Linear.
  void check_weights(const Trace& trace) const {
    query.check_weights(trace.query);
    output.check_weights(trace.output);
  }

  /// x, y (d, B); windows (B). A lane whose window is empty gets y = b_o. epilogue: as in Linear.
  void forward(const In<Scalar>& x, const KeyValueCache<Scalar>& cache, Windows windows, const Position<Scalar>& position,
               Trace& trace, Index t, Out<Scalar> y, const Epilogue<Scalar>& epilogue = {}) const {
    attend(x, cache, windows, position, trace, t);
    output.forward(trace.output.input(t), trace.output, t, y, epilogue);
  }
  /// forward() up to its last product, W_o: fills all that backward() needs of step t. Arguments as there.
  void attend(const In<Scalar>& x, const KeyValueCache<Scalar>& cache, Windows windows, const Position<Scalar>& position,
              Trace& trace, Index t) const {
    auto q = trace.position.input(t);
    auto p = trace.position.delta(t);
    auto out = trace.output.input(t);
    query.forward(x, trace.query, t, merge_heads(q));
    position.forward(q, trace.position, t, p);
    add_query_bias(position, q, trace);
    const Index work = 2 * slots_of(windows) * head_size * heads;
    split_work(trace.query.team, heads * cache.lanes, 1, work, [&](Index first, Index count) {
      for (Index column = first; column < first + count; ++column) {
        const Index b = column / heads, j = column % heads;
        const Window seen = span.seen(j, windows[static_cast<std::size_t>(b)]);
        Scalar* const s = newest(p, column, seen);
        std::fill(p.col(column).data(), s, Scalar(0));
        Scalar* const o = out.col(b).data() + j * head_size;
        std::fill_n(o, head_size, Scalar(0));
        if (seen.count == 0) continue;
        add_product<Scalar>(cache.key(b, j, seen), content(trace, q, column), s);
        scaled_softmax(s, seen.count, scale());
        span.forward(j, s, seen.count);
        add_product<Scalar>(cache.value(b, j, seen), keep(trace, t, column, seen, s), o);
      }
    });
  }

  /// dy, dx (d, B). Overwrites dx. The gradient of the cache's slots is left for add_to_cache().
  void backward(const In<Scalar>& dy, const KeyValueCache<Scalar>& cache, Windows windows, const Position<Scalar>& position,
                Trace& trace, Index t, Out<Scalar> dx) const {
    auto q = trace.position.input(t);
    auto ds = trace.position.delta(t);  // p, to be replaced by ds
    auto dq = trace.query.delta(t);
    output.backward(dy, trace.output, t, trace.dheads);
    const Index work = slots_of(windows) * head_size * heads;
    for_each_head(trace.query.team, cache, 2 * work, [&](Index b, Index j, Index part) {
      Scalar* const dp = trace.dkept.col(part).data();
      const Index column = b * heads + j;
      const Window window = windows[static_cast<std::size_t>(b)], seen = span.seen(j, window);
      if (seen.count == 0) return;
      Scalar* const p = newest(ds, column, seen);
      // o = sum_i kept_i v_i  =>  dkept_i = v_i . do;  kept = p * mask  =>  dp = dkept * mask
      keep(trace, t, column, seen, p);
      std::fill(newest(trace.kept, column, window), newest(trace.kept, column, seen), Scalar(0));
      std::fill_n(dp, seen.count, Scalar(0));
      add_transposed_product<Scalar>(cache.value(b, j, seen), trace.dheads.col(b).data() + j * head_size, dp);
      if (trace.dropout.active()) trace.dkept.col(part).head(seen.count).array() *= mask(trace, t, column, seen).array();
      scaled_softmax_backward(p, dp, seen.count, scale());
      span.backward(j, p, seen.count, scale(), trace.span);
    });
    // s_i = (q + u) . k_i + position_i(q)  =>  dq = position's share + sum_i ds_i k_i,  du += sum_i ds_i k_i
    add_query_bias(position, q, trace);
    position.backward(ds, trace.position, t, split_heads(dq));
    for_each_head(trace.query.team, cache, work, [&](Index b, Index j, Index part) {
      const Window seen = span.seen(j, windows[static_cast<std::size_t>(b)]);
      if (seen.count == 0) return;
      auto dcontent = trace.dcontent.col(part);
      dcontent.setZero();
      add_transposed_product<Scalar>(cache.key(b, j, seen), newest(ds, b * heads + j, seen), dcontent.data());
      dq.col(b).segment(j * head_size, head_size) += dcontent;
      if (trace.content.size() > 0) trace.position.dquery_bias.segment(j * head_size, head_size) += dcontent;
    });
    query.backward(dq, trace.query, t, dx);
  }

  /// ADDS the gradient of the slots that step t has read, once for all the layers that read them: trace_of(l) is the Trace
  /// of layer l < count, in which backward() has just dealt with step t.
  template <class TraceOf>
  static void add_to_cache(Index count, TraceOf&& trace_of, Windows windows, Index t, KeyValueCache<Scalar>& dcache) {
    constexpr Index most = 8;  // layers at a time
    for (Index first = 0; first < count; first += most) {
      const auto some = static_cast<std::size_t>(std::min(most, count - first));
      const Index work = 2 * static_cast<Index>(some) * slots_of(windows) * dcache.head_size * dcache.heads;
      for_each_head(trace_of(0).query.team, dcache, work, [&](Index b, Index j, Index) {
        const Window window = windows[static_cast<std::size_t>(b)];
        if (window.count == 0) return;
        std::array<const Scalar*, most> dout, kept, ds, content_of;
        const Index column = b * dcache.heads + j;
        for (std::size_t l = 0; l < some; ++l) {
          Trace& trace = trace_of(first + static_cast<Index>(l));
          dout[l] = trace.dheads.col(b).data() + j * dcache.head_size;
          kept[l] = newest(trace.kept, column, window);
          ds[l] = newest(trace.position.delta(t), column, window);
          content_of[l] = content(trace, trace.position.input(t), column);
        }
        // o = sum_i kept_i v_i  =>  dv_i += kept_i do;   s_i = (q + u) . k_i + ...  =>  dk_i += ds_i (q + u)
        add_outer_products<Scalar>(dcache.value(b, j, window), {dout.data(), some}, {kept.data(), some});
        add_outer_products<Scalar>(dcache.key(b, j, window), {ds.data(), some}, {content_of.data(), some});
      });
    }
  }

  /// In place of forward() or backward() of step t: records in the Trace that it did not attend, so that it adds nothing to
  /// any gradient.
  void skip(Trace& trace, Index t) const {
    const auto clear = [t](auto&... layers) { ((layers.input(t).setZero(), layers.delta(t).setZero()), ...); };
    clear(trace.query, trace.output, trace.position);
  }

  void accumulate(Trace& trace, Index first, Index count, Attention& grad) const {
    query.accumulate(trace.query, first, count, grad.query);
    output.accumulate(trace.output, first, count, grad.output);
    span.accumulate(trace.span, grad.span);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    visit_child("query", f, layers.query...);
    visit_child("output", f, layers.output...);
    visit_child("span", f, layers.span...);
  }

 private:
  /// Calls f(b, j, part) for every lane and head. Threads take whole heads, lane after lane, so that what is summed over the
  /// lanes does not depend on them.
  template <class F>
  static void for_each_head(Team* team, const KeyValueCache<Scalar>& cache, Index work, F&& f) {
    split_work(team, cache.heads, 1, work, [&](Index first, Index count, Index part) {
      for (Index b = 0; b < cache.lanes; ++b)
        for (Index j = first; j < first + count; ++j) f(b, j, part);
    });
  }

  /// Of all lanes together.
  static Index slots_of(Windows windows) {
    Index count = 0;
    for (const Window& w : windows) count += w.count;
    return count;
  }
  Scalar scale() const { return Scalar(1) / std::sqrt(static_cast<Scalar>(head_size)); }

  /// The scores or weights of the window's slots: the last rows of a column.
  static Scalar* newest(Out<Scalar> m, Index column, Window window) {
    return m.col(column).data() + m.rows() - window.count;
  }
  void add_query_bias(const Position<Scalar>& position, Out<Scalar> q, Trace& trace) const {
    if (trace.content.size() > 0) merge_heads(trace.content) = merge_heads(q).colwise() + position.query_bias;
  }
  /// What meets the keys: q + u, or q where there is no u.
  static const Scalar* content(const Trace& trace, const In<Scalar>& q, Index column) {
    return trace.content.size() > 0 ? trace.content.col(column).data() : q.col(column).data();
  }

  /// The attention weights after dropout, which the Trace keeps for the step at hand.
  static const Scalar* keep(Trace& trace, Index t, Index column, Window window, const Scalar* weights) {
    Scalar* const kept = newest(trace.kept, column, window);
    if (trace.dropout.active()) {
      Eigen::Map<Vector<Scalar>>(kept, window.count) =
          Eigen::Map<const Vector<Scalar>>(weights, window.count).cwiseProduct(mask(trace, t, column, window));
    } else {
      std::copy_n(weights, window.count, kept);
    }
    return kept;
  }
  static auto mask(const Trace& trace, Index t, Index column, Window window) {
    return step_columns(trace.dropout.mask, t, trace.dropout.lanes).col(column).tail(window.count);
  }
  // (e, H*B) and (H*e, B) are the same numbers in the same order.
  auto merge_heads(Out<Scalar> m) const { return Eigen::Map<Matrix<Scalar>>(m.data(), heads * head_size, m.cols() / heads); }
  auto split_heads(Out<Scalar> m) const { return Eigen::Map<Matrix<Scalar>>(m.data(), head_size, m.cols() * heads); }
};

}  // namespace fbt
