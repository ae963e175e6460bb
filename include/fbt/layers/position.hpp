// Position terms: what is added to the attention scores for the age of a slot (1 for the newest).
//   relative_key  q_j . weight.row(i): one table for all heads (Shaw et al., 2018; the paper's code)
//   per_head      q_j . weight_j.row(i) + bias_j(i): a table per head, and a query bias u_j which attention adds to the
//   query
//                 where it meets keys (after Dai et al., 2019; labml_nn)
//   buckets       sqrt(e) * weight(bucket(age), j), so that the 1/sqrt(e) of attention leaves weight (Raffel et al., 2020)
//   none          0
// Row i of a table counts from the oldest of S slots: the newest is row S - 1. For all lanes, and heads that share a table,
// the scores are one product. Follows the contract of layer.hpp: the input are the queries (e, H*B), head j of lane b in
// column b*H + j, the output the scores (rows, H*B), where rows <= S can be chosen when the Trace is prepared: the newest
// ones.
#pragma once

#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/kernels/packed.hpp"
#include "fbt/layers/weight_probe.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace fbt {

enum class PositionTerm { none, relative_key, per_head, buckets };

/// The bucket of an age: own buckets up to 15, then growing logarithmically to the last at 128.
inline Index age_bucket(Index age) {
  constexpr Index buckets = 32, exact = buckets / 2, furthest = 128;
  if (age < exact) return age;
  const double octaves = std::log(static_cast<double>(age) / exact) / std::log(static_cast<double>(furthest) / exact);
  return std::min(buckets - 1, exact + static_cast<Index>(octaves * (buckets - exact)));
}

template <class Scalar>
struct Position {
  PositionTerm term = PositionTerm::none;
  Index head_size = 0;    ///< e
  Index heads = 0;        ///< H
  Index window = 0;       ///< S
  Matrix<Scalar> weight;  ///< relative_key (S, e); per_head (S, e*H), the table of head j in columns j*e ..; buckets (32, H)
  Vector<Scalar> bias;    ///< per_head (S*H): head j's in entries j*S ..
  Vector<Scalar> query_bias;  ///< per_head: u (e*H)

  struct Trace {
    Matrix<Scalar> x;                                           // queries (e, H*B*T)
    Matrix<Scalar> dy;                                          // deltas of the scores (rows, H*B*T), of all steps, since
                                                                // attention keeps its weights there until then
    std::vector<SharedPack<Packed<Scalar>>> forward, backward;  // one per table
    std::vector<WeightProbe<Scalar>> probes;
    Vector<Scalar> scratch;  // a panel
    Team* team = nullptr;
    Vector<Scalar> dquery_bias;  // (e*H), which attention adds to until accumulate()
    Index lanes = 0, rows = 0;
    bool train = false;

    auto input(Index t) { return step_columns(x, t, lanes); }
    auto delta(Index t) { return step_columns(dy, t, lanes); }
  };

  Position() = default;
  Position(PositionTerm term_, Index head_size_, Index heads_, Index window_, Random& random)
      : term(term_), head_size(head_size_), heads(heads_), window(window_) {
    if (tables() > 0) {
      weight.resize(window, head_size * tables());
      fill_uniform(weight, 1 / std::sqrt(static_cast<double>(head_size)), random);
    }
    if (term == PositionTerm::per_head) {
      bias.setZero(window * heads);
      query_bias.setZero(head_size * heads);
    }
    if (term == PositionTerm::buckets) weight.setZero(32, heads);
  }

  /// segment.lanes is H*B: every head of every lane is a column. rows: how many of the newest slots there will be scores
  /// for; 0: S.
  void prepare(Trace& trace, const Segment& segment, Index rows = 0) const {
    if (segment.again) check_weights(trace);
    trace.lanes = segment.lanes;
    trace.train = segment.train;
    trace.team = segment.team;
    trace.rows = rows > 0 ? rows : window;
    trace.x.resize(head_size, segment.columns());
    trace.dy.resize(trace.rows, segment.columns());
    trace.dquery_bias.setZero(query_bias.size());
    trace.forward.resize(static_cast<std::size_t>(tables()));
    trace.backward.resize(static_cast<std::size_t>(tables()));
    trace.probes.resize(static_cast<std::size_t>(tables()));
    for (Index k = 0; k < tables(); ++k) {
      const auto i = static_cast<std::size_t>(k);
      const auto newest = table(weight, k).bottomRows(trace.rows);
      const bool keep = segment.keep_packed && trace.probes[i].matches(newest);
      trace.probes[i].take(newest);
      if (!keep && !segment.train) trace.backward[i] = {};  // of other weights
      if (!keep || !trace.forward[i].has()) trace.forward[i].own().pack(newest);
      if (segment.train && (!keep || !trace.backward[i].has())) trace.backward[i].own().pack_transposed(newest);
    }
  }

  /// As that of Linear.
  void check_weights(const Trace& trace) const {
    for (Index k = 0; k < tables(); ++k)
      trace.probes[static_cast<std::size_t>(k)].check_same(table(weight, k).bottomRows(trace.rows), "positions");
  }

  /// queries (e, H*B), scores (rows, H*B). Throws std::invalid_argument at step 0 when a table is not the one that was
  /// packed.
  void forward(const In<Scalar>& queries, Trace& trace, Index t, Out<Scalar> scores) const {
    if (auto own = trace.input(t); own.data() != queries.data()) own = queries;
    if (t == 0) check_weights(trace);
    if (tables() == 0) scores.setZero();
    for (Index k = 0; k < tables(); ++k) {
      const Scalar* const newest = bias.size() > 0 ? bias.data() + (k + 1) * window - trace.rows : nullptr;
      multiply(*trace.forward[static_cast<std::size_t>(k)], columns(queries, k), columns(scores, k), trace.team, newest);
    }
    if (term == PositionTerm::buckets) {
      for (Index c = 0; c < scores.cols(); ++c)
        for (Index i = 0; i < trace.rows; ++i) scores(i, c) = root() * weight(age_bucket(trace.rows - i), c % heads);
    }
  }

  /// Throws std::invalid_argument when the Trace was not prepared with segment.train.
  void backward(const In<Scalar>& dscores, Trace& trace, Index t, Out<Scalar> dqueries) const {
    check(trace.train, "backward() of a position term needs a Trace prepared with segment.train");
    if (auto own = trace.delta(t); own.data() != dscores.data()) own = dscores;
    // score = table q + bias  =>  dq = table^T dscore
    if (tables() == 0) dqueries.setZero();
    for (Index k = 0; k < tables(); ++k)
      multiply(*trace.backward[static_cast<std::size_t>(k)], columns(dscores, k), columns(dqueries, k), trace.team);
  }

  void accumulate(Trace& trace, Index first, Index count, Position& grad) const {
    // score = table q + bias  =>  dtable = sum of dscore q^T,  dbias = sum of dscore
    const In<Scalar> queries = step_columns(trace.x, first, trace.lanes, count);
    const In<Scalar> dscores_of_all = step_columns(trace.dy, first, trace.lanes, count);
    for (Index k = 0; k < tables(); ++k) {
      const auto dscores = columns(dscores_of_all, k);
      add_outer<Scalar>(dscores, columns(queries, k), table(grad.weight, k).bottomRows(trace.rows), trace.scratch);
      if (bias.size() > 0) grad.bias.segment((k + 1) * window - trace.rows, trace.rows) += dscores.rowwise().sum();
    }
    if (term == PositionTerm::buckets) {
      for (Index c = 0; c < dscores_of_all.cols(); ++c)
        for (Index i = 0; i < trace.rows; ++i)
          grad.weight(age_bucket(trace.rows - i), c % heads) += root() * dscores_of_all(i, c);
    }
    grad.query_bias += trace.dquery_bias;
    trace.dquery_bias.setZero();
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    if (((layers.weight.size() > 0) && ...)) f("weight", layers.weight...);
    if (((layers.bias.size() > 0) && ...)) f("bias", layers.bias...);
    if (((layers.query_bias.size() > 0) && ...)) f("query_bias", layers.query_bias...);
  }

 private:
  Index tables() const { return term == PositionTerm::relative_key ? 1 : term == PositionTerm::per_head ? heads : 0; }
  /// A table has few rows: columns are shared.
  static void multiply(const Packed<Scalar>& table, const In<Scalar>& x, Out<Scalar> y, Team* team,
                       const Scalar* bias = nullptr) {
    constexpr Index unit = 8;
    split_work(team, x.cols(), unit, x.size() * y.rows(), [&](Index first, Index count) {
      table.multiply(x.middleCols(first, count), y.middleCols(first, count), {.bias = bias});
    });
  }
  Scalar root() const { return std::sqrt(static_cast<Scalar>(head_size)); }

  template <class Derived>
  auto table(Eigen::MatrixBase<Derived>& m, Index k) const {
    return m.middleCols(k * head_size, head_size);
  }
  template <class Derived>
  auto table(const Eigen::MatrixBase<Derived>& m, Index k) const {
    return m.middleCols(k * head_size, head_size);
  }
  /// The columns of m that table k serves: every one, or those of head k.
  auto columns(const In<Scalar>& m, Index k) const {
    return Eigen::Map<const Matrix<Scalar>, 0, Eigen::OuterStride<>>(m.data() + k * m.outerStride(), m.rows(),
                                                                     m.cols() / tables(), {m.outerStride() * tables()});
  }
  auto columns(Out<Scalar> m, Index k) const {
    return Eigen::Map<Matrix<Scalar>, 0, Eigen::OuterStride<>>(m.data() + k * m.outerStride(), m.rows(), m.cols() / tables(),
                                                               {m.outerStride() * tables()});
  }
};

}  // namespace fbt
