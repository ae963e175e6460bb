// Linear: y = W x + b. Also the home of the layer contract, which every header in this folder follows.
//
// The contract
//   - A layer is its hyper-parameters and parameters, nothing else. Gradient and optimiser moments are twins: further
//     objects of the same class (core/visit.hpp).
//   - All state of a run is in a Trace, which belongs to the caller: one per thread. A const layer serves many threads.
//   - prepare(trace, shape)      sizes the Trace for a segment of T steps and B lanes and packs the weights: once per segment,
//                                since parameters may have changed. It does not allocate again for the same shape.
//   - forward(x, trace, t, y)    step t, from the segment's first to its last. Overwrites y (rows, B).
//   - backward(dy, trace, t, dx) step t, from the last to the first, of a segment prepared with shape.train. Overwrites dx,
//                                keeps dy. Once for each forward(): a second walk back needs prepare() and forward() again.
//   - accumulate(trace, grad)    ADDS the parameter gradients of the whole segment: one deep product per matrix
//                                instead of T thin ones.
//   - visit(f, layers...)        names the parameters.
// A Trace keeps inputs and output deltas for all T * B columns. A caller may write a layer's input straight into
// trace.input(t), and an output delta into trace.delta(t), and pass that block: then nothing is copied.
// A layer that reads something else besides x (a memory, tokens) takes it as a further argument of the same verbs.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/packed.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/shape.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/vector_products.hpp"
#include "fbt/core/visit.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <vector>

namespace fbt {

/// What every layer has: a Trace, prepare, accumulate and visit. Attention and a whole block are no layers by this: what they
/// are prepared for includes how many slots there will be to look at.
template <class L>
concept Layer = std::copyable<L> && std::default_initializable<typename L::Trace> &&
    requires(const L layer, L grad, typename L::Trace trace, Shape shape) {
  layer.prepare(trace, shape);
  layer.accumulate(trace, grad);
  L::visit([](std::string_view, auto&...) {}, grad, layer);
};

/// A layer that maps columns to columns and nothing else; testing/gradient_check.hpp checks any of them.
template <class L, class Scalar>
concept ColumnLayer = Layer<L> && requires(const L layer, typename L::Trace trace, Matrix<Scalar> m) {
  layer.forward(m, trace, Index{}, m);
  layer.backward(m, trace, Index{}, m);
};

template <class Scalar>
struct Linear {
  Matrix<Scalar> weight;  ///< W (out, in)
  Vector<Scalar> bias;    ///< b (out), or empty

  struct Trace {
    Matrix<Scalar> x;   // (in, T*B)
    Matrix<Scalar> dy;  // (out, T*B)
    Packed<Scalar> forward, backward;
    std::vector<OuterScratch<Scalar>> scratch;  // one per thread
    Matrix<Scalar> parts;                       // (out, pieces()), for a single lane
    Index lanes = 0;
    bool train = false;
    Team* team = nullptr;

    auto input(Index t) { return block(x, t, lanes); }
    auto delta(Index t) { return block(dy, t, lanes); }
  };

  Linear() = default;
  /// W uniform in +-1/sqrt(in), which keeps a third of the variance; b = 0.
  Linear(Index in, Index out, Random& random, bool with_bias = true) : weight(out, in) {
    fill_uniform(weight, 1 / std::sqrt(static_cast<double>(in)), random);
    if (with_bias) bias.setZero(out);
  }

  Index inputs() const { return weight.cols(); }
  Index outputs() const { return weight.rows(); }

  void prepare(Trace& trace, const Shape& shape) const {
    trace.lanes = shape.lanes;
    trace.train = shape.train;
    trace.team = shape.team;
    trace.x.resize(inputs(), shape.columns());
    trace.dy.resize(outputs(), shape.columns());
    trace.scratch.resize(static_cast<std::size_t>(parts_of(shape.team)));
    if (shape.lanes == 1) {  // a single column streams the weights once: there is nothing to gain from packing
      trace.parts.resize(outputs(), pieces());
      return;
    }
    trace.forward.pack(weight, shape.team);
    if (shape.train) trace.backward.pack_transposed(weight, shape.team);
  }

  /// x (in, B), y (out, B). The finish, without its bias, is what a composite wants done to y on the way out. Throws
  /// std::invalid_argument at step 0 when the weights are not those that were packed.
  void forward(const In<Scalar>& x, Trace& trace, Index t, Out<Scalar> y, Finish<Scalar> finish = {}) const {
    eigen_assert(x.rows() == inputs() && y.rows() == outputs() && x.cols() == trace.lanes && y.cols() == trace.lanes);
    if (auto own = trace.input(t); own.data() != x.data()) own = x;
    // y = W x + b
    if (bias.size() > 0) finish.bias = bias.data();
    if (trace.lanes == 1) return stream(x.data(), trace, y.data(), finish);
    check(t > 0 || trace.forward.matches(weight),
          "the weights ({}, {}) have changed since they were packed: call prepare() again, or a model's start()", outputs(),
          inputs());
    share(trace.team, outputs(), detail::panel_rows<Scalar>, weight.size() * trace.lanes,
          [&](Index first, Index count) { trace.forward.multiply_rows(first, count, x, y, finish); });
  }

  /// Throws std::invalid_argument when the Trace was not prepared with shape.train.
  void backward(const In<Scalar>& dy, Trace& trace, Index t, Out<Scalar> dx) const {
    eigen_assert(dy.rows() == outputs() && dx.rows() == inputs() && dy.cols() == trace.lanes && dx.cols() == trace.lanes);
    check(trace.train, "backward() of weights ({}, {}) needs a Trace prepared with shape.train", outputs(), inputs());
    if (auto own = trace.delta(t); own.data() != dy.data()) own = dy;
    // y = W x + b  =>  dx = W^T dy
    if (trace.lanes > 1) {
      share(trace.team, inputs(), detail::panel_rows<Scalar>, weight.size() * trace.lanes,
            [&](Index first, Index count) { trace.backward.multiply_rows(first, count, dy, dx, {}); });
    } else {
      dx.col(0).noalias() = weight.transpose() * dy.col(0);
    }
  }

  void accumulate(Trace& trace, Linear& grad) const {
    // y = W x + b  =>  dW = sum over columns of dy x^T,  db = sum of dy
    share(trace.team, outputs(), detail::panel_rows<Scalar>, weight.size() * trace.x.cols(),
          [&](Index first, Index count, Index part) {
            const auto dy = trace.dy.middleRows(first, count);
            add_outer<Scalar>(dy, trace.x, grad.weight.middleRows(first, count),
                              trace.scratch[static_cast<std::size_t>(part)]);
            if (bias.size() > 0) add_columns<Scalar>(dy, grad.bias.data() + first);
          });
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
    if (((layers.bias.size() > 0) && ...)) f("bias", layers.bias...);
  }

 private:
  /// The product with a single column is the sum over pieces of neighbouring columns of W: so many, whatever the number of threads,
  /// each large enough for a thread of its own, and all of it together in memory.
  Index pieces() const {
    constexpr Index least = 1 << 16, most = 8;
    return std::clamp<Index>(weight.size() / least, 1, most);
  }
  void stream(const Scalar* x, Trace& trace, Scalar* y, const Finish<Scalar>& finish) const {
    const Index count = pieces();
    if (count == 1) return multiply_vector<Scalar>(weight, x, y, finish);
    share(trace.team, count, 1, weight.size(), [&](Index first, Index some) {
      for (Index i = first; i < first + some; ++i) {
        const Index begin = inputs() * i / count, end = inputs() * (i + 1) / count;
        multiply_vector<Scalar>(weight.middleCols(begin, end - begin), x + begin, trace.parts.col(i).data(), {});
      }
    });
    add_parts<Scalar>(trace.parts, y, finish);
  }
};

}  // namespace fbt
