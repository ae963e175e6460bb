// Encoder: reads a whole source at once: an input, then ordinary Transformer blocks, in each of which every position sees
// all positions of its own source:
//   g = x + dropout(self_attention(norm1(x))),   y = g + dropout(feed_forward(norm2(g)))
// Sources of different lengths stand side by side in lanes; what is beyond a length is padding, which nothing sees.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/layers/feed_forward.hpp"
#include "fbt/layers/layer_norm.hpp"
#include "fbt/layers/self_attention.hpp"
#include "fbt/models/config.hpp"
#include "fbt/models/input.hpp"

#include <string_view>
#include <vector>

namespace fbt {

template <class Scalar>
struct EncoderBlock {
  LayerNorm<Scalar> norm1, norm2;
  SelfAttention<Scalar> attention;
  FeedForward<Scalar> feed_forward;
  Dropout<Scalar> dropout;  ///< on both residual branches

  struct Trace {
    typename LayerNorm<Scalar>::Trace norm1, norm2;
    typename SelfAttention<Scalar>::Trace attention;
    typename FeedForward<Scalar>::Trace feed_forward;
    typename Dropout<Scalar>::Trace attention_dropout, feed_forward_dropout;
    Matrix<Scalar> sum, branch;  // (d, T*B)
  };

  EncoderBlock() = default;
  /// reach: how many positions to either side are told apart.
  EncoderBlock(const Config& c, Index reach, Random& random)
      : norm1(c.width, c.norm_epsilon),
        norm2(c.width, c.norm_epsilon),
        attention(c.width, c.heads, c.head_columns(), reach, c.dropout, random),
        feed_forward(c.width, c.hidden_units(), c.activation, c.dropout, random),
        dropout{c.width, c.dropout} {}

  void prepare(Trace& trace, const Segment& segment) const {
    Segment all = segment;
    all.steps = 1;
    all.lanes = segment.columns();
    norm1.prepare(trace.norm1, all);
    norm2.prepare(trace.norm2, all);
    attention.prepare(trace.attention, segment.child(0));
    feed_forward.prepare(trace.feed_forward, all.child(1));
    dropout.prepare(trace.attention_dropout, all.child(2));
    dropout.prepare(trace.feed_forward_dropout, all.child(3));
    trace.sum.resize(dropout.rows, all.lanes);
    trace.branch.resize(dropout.rows, all.lanes);
  }

  /// x, y (d, T*B); lengths (B).
  void forward(const In<Scalar>& x, Lengths lengths, Trace& trace, Out<Scalar> y) const {
    auto& branch = trace.branch;
    norm1.forward(x, trace.norm1, 0, trace.sum);
    attention.forward(trace.sum, lengths, trace.attention, branch);
    dropout.forward(branch, trace.attention_dropout, 0, branch);
    trace.sum = x + branch;
    auto hidden_input = trace.feed_forward.input(0);
    norm2.forward(trace.sum, trace.norm2, 0, hidden_input);
    feed_forward.forward(hidden_input, trace.feed_forward, 0, branch);
    dropout.forward(branch, trace.feed_forward_dropout, 0, branch);
    y = trace.sum + branch;
  }

  /// dy, dx (d, T*B); of the padding dy has to be zero, and dx is.
  void backward(const In<Scalar>& dy, Lengths lengths, Trace& trace, Out<Scalar> dx) const {
    auto& branch = trace.branch;
    auto& dg = trace.sum;
    // y = g + dropout(feed_forward(norm2(g)))  =>  dg = dy + the way back through all three
    auto dhidden = trace.feed_forward.delta(0);
    dropout.backward(dy, trace.feed_forward_dropout, 0, dhidden);
    feed_forward.backward(dhidden, trace.feed_forward, 0, branch);
    norm2.backward(branch, trace.norm2, 0, dg);
    dg += dy;
    // g = x + dropout(self_attention(norm1(x)))
    dropout.backward(dg, trace.attention_dropout, 0, branch);
    attention.backward(branch, lengths, trace.attention, dx);
    norm1.backward(dx, trace.norm1, 0, branch);
    dx = dg + branch;
  }

  void accumulate(Trace& trace, EncoderBlock& grad) const {
    norm1.accumulate(trace.norm1, 0, 1, grad.norm1);
    norm2.accumulate(trace.norm2, 0, 1, grad.norm2);
    attention.accumulate(trace.attention, grad.attention);
    feed_forward.accumulate(trace.feed_forward, 0, 1, grad.feed_forward);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... blocks) {
    visit_child("norm1", f, blocks.norm1...);
    visit_child("attention", f, blocks.attention...);
    visit_child("norm2", f, blocks.norm2...);
    visit_child("feed_forward", f, blocks.feed_forward...);
  }
};

template <class Scalar>
struct Encoder {
  TokenInput<Scalar> input;
  std::vector<EncoderBlock<Scalar>> blocks;

  struct Trace {
    typename TokenInput<Scalar>::Trace input;
    std::vector<typename EncoderBlock<Scalar>::Trace> blocks;
    std::vector<Index> lengths;  // (B)
    std::vector<Token> tokens;   // (T*B), padding replaced by token 0
    Matrix<Scalar> h, other;     // (d, T*B): the outputs, or their deltas
  };

  Encoder() = default;
  /// Of the width, heads and so on of a config; vocabulary: of the source.
  Encoder(const Config& config, Index vocabulary, Index layers, Index reach, Random& random)
      : input(with_vocabulary(config, vocabulary), random) {
    for (Index l = 0; l < layers; ++l) blocks.emplace_back(config, reach, random);
  }

  /// Sizes the Trace for sources of up to T positions in B lanes, and packs the weights.
  void prepare(Trace& trace, const Segment& segment) const {
    Segment all = segment;
    all.steps = 1;
    all.lanes = segment.columns();
    input.prepare(trace.input, all.child(0));
    trace.blocks.resize(blocks.size());
    for (std::size_t l = 0; l < blocks.size(); ++l) blocks[l].prepare(trace.blocks[l], segment.child(l + 1));
    trace.h.resize(input.dropout.rows, all.lanes);
    trace.other.resize(input.dropout.rows, all.lanes);
  }

  /// tokens (T*B): position 0 of all lanes first; lengths (B), each at most T: what is beyond may be any number. Leaves the
  /// outputs (d, T*B) in trace.h. Throws std::invalid_argument for a token outside the vocabulary.
  void forward(Tokens tokens, Lengths lengths, Trace& trace) const {
    const auto lanes = static_cast<Index>(lengths.size());
    trace.lengths.assign(lengths.begin(), lengths.end());
    trace.tokens.assign(tokens.begin(), tokens.end());
    for (std::size_t i = 0; i < trace.tokens.size(); ++i)
      if (static_cast<Index>(i) / lanes >= lengths[i % lengths.size()]) trace.tokens[i] = 0;
    const Tokens padded(trace.tokens);
    check_tokens(padded, {1, trace.h.cols()}, input.embedding.vocabulary());
    input.forward(padded, trace.input, 0, trace.h);
    for (std::size_t l = 0; l < blocks.size(); ++l) {
      blocks[l].forward(trace.h, lengths, trace.blocks[l], trace.other);
      trace.h.swap(trace.other);
    }
  }

  /// From the deltas of the outputs (d, T*B), zero where there is padding, which the caller has put into trace.h.
  void backward(Trace& trace) const {
    for (std::size_t l = blocks.size(); l-- > 0;) {
      blocks[l].backward(trace.h, trace.lengths, trace.blocks[l], trace.other);
      trace.h.swap(trace.other);
    }
    input.backward(trace.h, trace.input, 0);
  }

  void accumulate(Trace& trace, Encoder& grad) const {
    input.accumulate(trace.input, 0, 1, grad.input);
    for (std::size_t l = 0; l < blocks.size(); ++l) blocks[l].accumulate(trace.blocks[l], grad.blocks[l]);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... encoders) {
    TokenInput<Scalar>::visit(f, encoders.input...);
    visit_children("blocks", f, encoders.blocks...);
  }

 private:
  static Config with_vocabulary(Config config, Index vocabulary) {
    config.vocabulary = vocabulary;
    config.inputs = 0;
    return config;
  }
};

}  // namespace fbt
