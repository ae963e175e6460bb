// Linear: y = W x + b. Follows the contract of layer.hpp.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/kernels/columns.hpp"
#include "fbt/kernels/compact.hpp"
#include "fbt/kernels/packed.hpp"
#include "fbt/kernels/streamed.hpp"
#include "fbt/layers/layer.hpp"
#include "fbt/layers/weight_probe.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

namespace fbt {

template <class Scalar>
struct Linear {
  Matrix<Scalar> weight;  ///< W (out, in)
  Vector<Scalar> bias;    ///< b (out), or empty
  /// In place of weight, which is then empty: W rounded (compact_weights.hpp). Copies share it; it cannot be trained.
  std::shared_ptr<const CompactMatrix> compact;

  struct Trace {
    Matrix<Scalar> x;   // (in, T*B)
    Matrix<Scalar> dy;  // (out, delta_columns())
    SharedPack<Packed<Scalar>> forward, backward;
    SharedPack<CompactMatrix> compact;          // instead of these
    std::shared_ptr<const CompactMatrix> kept;  // instead of all: the layer's own
    CompactColumns columns;
    WeightProbe<Scalar> probe;
    std::vector<Vector<Scalar>> scratch;  // one per thread: a panel
    Matrix<Scalar> parts;                 // (out, pieces()), for a single lane
    Index lanes = 0;
    bool train = false;
    WeightFormat format = WeightFormat::full;
    Team* team = nullptr;

    auto input(Index t) { return step_columns(x, t, lanes); }
    auto delta(Index t) { return step_columns(dy, delta_index(t), lanes); }
  };

  Linear() = default;
  /// W uniform in +-1/sqrt(in), which keeps a third of the variance; b = 0.
  Linear(Index in, Index out, Random& random, bool with_bias = true) : weight(out, in) {
    fill_uniform(weight, 1 / std::sqrt(static_cast<double>(in)), random);
    if (with_bias) bias.setZero(out);
  }

  Index inputs() const { return compact ? compact->depth() : weight.cols(); }
  Index outputs() const { return compact ? compact->rows() : weight.rows(); }

  /// Throws std::invalid_argument for weights of another format than full in a segment that is to be differentiated, or of
  /// another scalar than float, or than those that the layer has, and for changed ones with segment.again.
  void prepare(Trace& trace, const Segment& segment) const {
    check_format(segment);
    if (segment.again) check_weights(trace);
    trace.lanes = segment.lanes;
    trace.train = segment.train;
    trace.team = segment.team;
    trace.x.resize(inputs(), segment.columns());
    trace.dy.resize(outputs(), segment.delta_columns());
    trace.scratch.resize(static_cast<std::size_t>(parts_of(segment.team)));
    const bool keep = segment.keep_packed && trace.kept == compact && trace.probe.matches(weight);
    trace.kept = compact;
    trace.format = compact ? compact->format() : segment.weights;
    if constexpr (std::is_same_v<Scalar, float>)
      if (trace.format != WeightFormat::full) return prepare_compact(trace, segment, keep);
    trace.compact = {};
    if (segment.lanes == 1) {  // a single column streams the weights once: there is nothing to gain from packing
      if (!trace.probe.matches(weight)) trace.forward = trace.backward = {};  // what was packed for more lanes
      trace.probe.take(weight);
      trace.parts.resize(outputs(), pieces());
      return;
    }
    if (!keep) {
      trace.probe = {};
      if (!segment.train) trace.backward = {};  // of other weights
    }
    if (!keep || !trace.forward.has()) trace.forward.own().pack(weight, segment.team);
    if (segment.train && (!keep || !trace.backward.has())) trace.backward.own().pack_transposed(weight, segment.team);
    trace.probe.take(weight);
  }

  /// x (in, B), y (out, B). The epilogue, without its bias, is what a composite wants done to y on the way out. Throws
  /// std::invalid_argument at step 0 when the weights are not those that were packed.
  void forward(const In<Scalar>& x, Trace& trace, Index t, Out<Scalar> y, Epilogue<Scalar> epilogue = {}) const {
    eigen_assert(x.rows() == inputs() && y.rows() == outputs() && x.cols() == trace.lanes && y.cols() == trace.lanes);
    if (auto own = trace.input(t); own.data() != x.data()) own = x;
    // y = W x + b
    if (bias.size() > 0) epilogue.bias = bias.data();
    if (t == 0) check_weights(trace);
    if constexpr (std::is_same_v<Scalar, float>)
      if (trace.format != WeightFormat::full) return multiply_compact(x, trace, y, epilogue);
    if (trace.lanes == 1) return stream(x.data(), trace, y.data(), epilogue);
    split_work(trace.team, outputs(), detail::panel_rows<Scalar>, weight.size() * trace.lanes,
               [&](Index first, Index count) { trace.forward->multiply_rows(first, count, x, y, epilogue); });
  }

  /// Throws std::invalid_argument when the weights are not those that the Trace was prepared with.
  void check_weights(const Trace& trace) const {
    trace.probe.check_same(weight, "weights");
    check(trace.kept == compact,
          "the weights ({}, {}) of {} are not those that the Trace was prepared with: call prepare() again, or a model's "
          "start()",
          outputs(), inputs(), name_of(trace.format));
  }

  /// Throws std::invalid_argument when the Trace was not prepared with segment.train, or the weights have changed since.
  void backward(const In<Scalar>& dy, Trace& trace, Index t, Out<Scalar> dx) const {
    eigen_assert(dy.rows() == outputs() && dx.rows() == inputs() && dy.cols() == trace.lanes && dx.cols() == trace.lanes);
    check(trace.train, "backward() of weights ({}, {}) needs a Trace prepared with segment.train", outputs(), inputs());
    if ((t + 1) * trace.lanes == trace.x.cols()) check_weights(trace);  // the walk back begins
    if (auto own = trace.delta(t); own.data() != dy.data()) own = dy;
    // y = W x + b  =>  dx = W^T dy
    if (trace.lanes > 1) {
      split_work(trace.team, inputs(), detail::panel_rows<Scalar>, weight.size() * trace.lanes,
                 [&](Index first, Index count) { trace.backward->multiply_rows(first, count, dy, dx, {}); });
    } else {
      dx.col(0).noalias() = weight.transpose() * dy.col(0);
    }
  }

  void accumulate(Trace& trace, Index first, Index count, Linear& grad) const {
    const auto x = step_columns(trace.x, first, trace.lanes, count);
    const auto dy = step_columns(trace.dy, delta_index(first), trace.lanes, count);
    // y = W x + b  =>  dW = sum over columns of dy x^T,  db = sum of dy
    split_work(
        trace.team, outputs(), detail::panel_rows<Scalar>, weight.size() * x.cols(), [&](Index row, Index rows, Index part) {
          const auto dy_part = dy.middleRows(row, rows);
          add_outer<Scalar>(dy_part, x, grad.weight.middleRows(row, rows), trace.scratch[static_cast<std::size_t>(part)]);
          if (bias.size() > 0) add_columns<Scalar>(dy_part, grad.bias.data() + row);
        });
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    eigen_assert((!layers.compact && ...) || (layers.compact && ...));
    if ((!layers.compact && ...)) f("weight", layers.weight...);
    if (((layers.bias.size() > 0) && ...)) f("bias", layers.bias...);
  }

 private:
  /// The product with a single column is the sum over pieces of neighbouring columns of W: so many, whatever the number of
  /// threads, each large enough for a thread of its own, and all of it together in memory.
  Index pieces() const {
    constexpr Index least = 1 << 16, most = 8;
    return std::clamp<Index>(weight.size() / least, 1, most);
  }
  void check_format(const Segment& segment) const {
    const WeightFormat format = compact ? compact->format() : segment.weights;
    if (format == WeightFormat::full) return;
    check(!segment.train, "weights of {} cannot be trained: expected a segment to evaluate", name_of(format));
    check(std::is_same_v<Scalar, float>, "weights of {} need a model of float", name_of(format));
    check(segment.weights == format || segment.weights == WeightFormat::full,
          "the model has weights of {}: expected these, or full for what it has, found {}", name_of(format),
          name_of(segment.weights));
  }
  void prepare_compact(Trace& trace, const Segment& segment, bool keep) const
    requires std::is_same_v<Scalar, float>
  {
    trace.forward = trace.backward = {};
    trace.columns.resize(inputs(), segment.lanes, trace.format);
    if (compact) {
      trace.compact = {};
      trace.probe.take(weight);
      return;
    }
    if (keep && trace.compact.has() && trace.compact->format() == segment.weights) return;
    trace.probe = {};
    trace.compact.own().pack(weight, segment.weights, segment.team);
    trace.probe.take(weight);
  }
  void multiply_compact(const In<float>& x, Trace& trace, Out<float> y, const Epilogue<float>& epilogue) const
    requires std::is_same_v<Scalar, float>
  {
    trace.columns.take(x);
    constexpr Index quicker = 4;  // than a full multiply-add, about
    const CompactMatrix& matrix = trace.kept ? *trace.kept : *trace.compact;
    split_work(trace.team, outputs(), detail::compact_rows, outputs() * inputs() * trace.lanes / quicker,
               [&](Index first, Index count) { matrix.multiply_rows(first, count, trace.columns, y, epilogue); });
  }
  void stream(const Scalar* x, Trace& trace, Scalar* y, const Epilogue<Scalar>& epilogue) const {
    const Index count = pieces();
    if (count == 1) return multiply_vector<Scalar>(weight, x, y, epilogue);
    split_work(trace.team, count, 1, weight.size(), [&](Index first, Index some) {
      for (Index i = first; i < first + some; ++i) {
        const Index begin = inputs() * i / count, end = inputs() * (i + 1) / count;
        multiply_vector<Scalar>(weight.middleCols(begin, end - begin), x + begin, trace.parts.col(i).data(), {});
      }
    });
    add_parts<Scalar>(trace.parts, y, epilogue);
  }
};

}  // namespace fbt
