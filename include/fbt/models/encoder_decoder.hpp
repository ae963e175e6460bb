// EncoderDecoder: from one sequence of tokens to another (translation, summaries): an Encoder reads the source, and a
// feedback decoder, whose blocks also attend to the source, writes the target token by token (section 3 of the paper).
//   source --Encoder--> h (d, T_s*B) --key, value--> Source;   target --decoder, which reads the Source--> logits
// Keys and values of the source are projected once, for all blocks of the decoder or for each; the decoder may follow any
// memory rule.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/core/names.hpp"
#include "fbt/layers/key_value.hpp"
#include "fbt/layers/source.hpp"
#include "fbt/models/encoder.hpp"
#include "fbt/models/sequence_model.hpp"

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace fbt {

struct EncoderDecoderConfig {
  Config decoder = {.cross_attention = true};  ///< also width, heads and so on of the encoder
  Index source_vocabulary = 0;                 ///< 0: as large as the decoder's
  Index encoder_layers = 2;
  Index reach = 32;                    ///< how many positions to either side the encoder tells apart
  bool share_source_key_value = true;  ///< one projection of the source for all blocks of the decoder; else one per block

  bool operator==(const EncoderDecoderConfig&) const = default;

  Index source_tokens() const { return source_vocabulary > 0 ? source_vocabulary : decoder.vocabulary; }
  Index depth() const { return encoder_layers + decoder.layers; }
  Index source_key_values() const { return share_source_key_value ? 1 : decoder.layers; }

  /// Throws std::invalid_argument naming the first field that is out of range or does not fit another.
  void validate() const {
    check(decoder.cross_attention, "config: the decoder needs cross_attention");
    check(decoder.inputs == 0, "config: the decoder reads tokens, found {} inputs", decoder.inputs);
    check(decoder.outputs == 0 || decoder.outputs == decoder.vocabulary,
          "config: the decoder writes tokens of its vocabulary of {}, found {} outputs", decoder.vocabulary,
          decoder.outputs);
    check(decoder.span_ramp == 0, "config: the decoder of a source learns no spans, found span_ramp {}", decoder.span_ramp);
    decoder.validate();
    check(source_vocabulary >= 0 && source_vocabulary <= largest_dimension,
          "config: source_vocabulary must be between 0 and {}, found {}", largest_dimension, source_vocabulary);
    check(encoder_layers >= 1 && encoder_layers <= 4096, "config: encoder_layers must be between 1 and 4096, found {}",
          encoder_layers);
    check(reach >= 1 && reach <= 1 << 16, "config: reach must be between 1 and {}, found {}", 1 << 16, reach);
  }

  /// The number of parameters of the model, without building it.
  double parameters() const {
    const auto d = static_cast<double>(decoder.width), f = static_cast<double>(decoder.hidden_units());
    const auto He = static_cast<double>(decoder.heads * decoder.head_columns());
    const double rows = decoder.activation == Activation::geglu ? 2 * f : f;
    const double block = 4 * d * He + d +
                         (2 * static_cast<double>(reach) + 1) * static_cast<double>(decoder.head_columns()) +
                         rows * (d + 1) + d * (f + 1) + 4 * d;
    return decoder.parameters() + static_cast<double>(source_tokens()) * d + static_cast<double>(encoder_layers) * block +
           static_cast<double>(source_key_values()) * (2 * d * He + 2 * d);
  }
};

/// Calls f(name, field) for every field of one or more configs, with the names they have in files.
template <class F, class First, class... Rest>
requires std::same_as<std::remove_const_t<First>, EncoderDecoderConfig>
void visit_config(F&& f, First& first, Rest&... rest) {
  f("source_vocabulary", first.source_vocabulary, rest.source_vocabulary...);
  f("encoder_layers", first.encoder_layers, rest.encoder_layers...);
  f("reach", first.reach, rest.reach...);
  f("share_source_key_value", first.share_source_key_value, rest.share_source_key_value...);
  visit_config(f, first.decoder, rest.decoder...);
}

/// Sources side by side (T*B, position 0 of all lanes first), and how many tokens each has (B): what is beyond is padding.
struct SourceTokens {
  Tokens tokens;
  Lengths lengths;
};

/// Sources and targets. A target begins with a token that stands for its beginning; its labels end with one for its end.
struct SourceAndTarget {
  SourceTokens source;
  Tokens target;  ///< (T*B)
};

template <class Scalar_>
class EncoderDecoder {
 public:
  using Scalar = Scalar_;
  using Decoder = FeedbackTransformer<Scalar>;
  using Config = EncoderDecoderConfig;
  using Memory = typename Decoder::Memory;
  using Stepper = typename Decoder::Stepper;
  using Values = SourceAndTarget;
  static constexpr const char* config_key = "fbt.encoder_decoder";

  struct Trace {
    typename Encoder<Scalar>::Trace encoder;
    std::vector<typename KeyValue<Scalar>::Trace> key_values;
    typename Decoder::Trace decoder;
  };

  EncoderDecoder() = default;
  /// Random parameters. Throws std::invalid_argument when the config does not hold.
  EncoderDecoder(const Config& config, Random& random)
      : encoder((config.validate(), config.decoder), config.source_tokens(), config.encoder_layers, config.reach, random),
        decoder(config.decoder, random),
        source_vocabulary_(config.source_vocabulary),
        reach_(config.reach),
        share_source_key_value_(config.share_source_key_value) {
    const fbt::Config& c = config.decoder;
    for (Index i = 0; i < config.source_key_values(); ++i)
      source_key_values.emplace_back(c.width, c.heads, c.head_columns(), true, false, c.norm_epsilon, random);
  }

  Encoder<Scalar> encoder;
  std::vector<KeyValue<Scalar>> source_key_values;  ///< their norm is the encoder's last
  Decoder decoder;

  Config config() const {  // with the memory rule that the decoder has now
    return {.decoder = decoder.config(),
            .source_vocabulary = source_vocabulary_,
            .encoder_layers = static_cast<Index>(encoder.blocks.size()),
            .reach = reach_,
            .share_source_key_value = share_source_key_value_};
  }

  /// Nothing is written yet in the given number of lanes, and none has a source.
  Memory make_memory(Index lanes) const {
    Memory memory = decoder.make_memory(lanes);
    memory.source = decoder.core.make_source(banks(), lanes);
    return memory;
  }

  /// What the decoder reads of one source of at least one token: stepper.memory.source.put(lane, encode(source)) gives it to
  /// a lane, whose next target may then begin (memory.clear(lane)). Packs the encoder's weights. Throws as start().
  Source<Scalar> encode(const std::vector<Token>& source, const Execution& execution = {}) const {
    check(!source.empty(), "encode: expected a source of at least 1 token, found an empty one");
    Team team(useful_threads(execution.threads));
    Trace trace;
    Source<Scalar> result = decoder.core.make_source(banks(), 1);
    const Index length = static_cast<Index>(source.size());
    std::vector<Token> tokens = source;
    if (length == 1) tokens.push_back(0);  // padding: a single column would be computed in another order than many
    encode({tokens, {&length, 1}}, {.team = &team, .weights = execution.weights}, result, trace);
    return result;
  }

  /// For writing the targets of sources of at least one token, step by step: step() is the decoder's. Each source has so
  /// many neighbouring lanes (the beams of a search). Throws std::invalid_argument for an empty source, and a token outside
  /// the vocabulary.
  Stepper start(std::span<const std::vector<Token>> sources, Index copies = 1, const Execution& execution = {}) const {
    return with_sources(sources, copies, [&](Index lanes) { return decoder.start(lanes, execution); });
  }
  /// Further sources beside those of another stepper of this model, on its packed weights of the decoder and its team.
  /// Throws as start() above, and for a stepper of another config.
  Stepper start(std::span<const std::vector<Token>> sources, Index copies, const Stepper& other) const {
    return with_sources(sources, copies, [&](Index lanes) { return decoder.start(lanes, other); });
  }
  /// As that of SequenceModel; a lane's source comes along.
  void select_lanes(std::span<const Index> from, Stepper& stepper) const { decoder.select_lanes(from, stepper); }
  /// Reads one token of the target per lane (B). Returns the logits (V, B) of the next.
  const Matrix<Scalar>& step(Tokens tokens, Stepper& stepper) const { return decoder.step(tokens, stepper); }

  /// What a block (0 .. L-1) of the decoder looked at of the sources in the last step: attention weights (positions of what
  /// was the longest source, H*B), head j of lane b in column b*H + j; those of a shorter source stand in the last rows.
  /// Throws std::invalid_argument for a block that there is not, and before the first step.
  Matrix<Scalar> source_attention(Index block, const Stepper& stepper) const {
    const auto& blocks = stepper.trace.core.blocks;
    const Index layers = decoder.config().layers;
    check(block >= 0 && block < layers, "source_attention: expected a block below {}, found {}", layers, block);
    check(stepper.trace.config == decoder.config() && stepper.trace.core.order.steps_read() > 0,
          "source_attention: expected a stepper of this model that has read a token");
    return blocks[static_cast<std::size_t>(block)].cross.attention.position.dy;
  }

  /// Reads sources, and T steps of targets from their beginning. Returns the logits (V, T*B), which the trace keeps; with
  /// segment.train, backward() may follow. What the memory held is forgotten. Throws as FeedbackTransformer::forward().
  const Matrix<Scalar>& forward(const Values& values, const Segment& segment, Memory& memory, Trace& trace) const {
    check(static_cast<Index>(values.source.lengths.size()) == segment.lanes, "expected the lengths of {} sources, found {}",
          segment.lanes, values.source.lengths.size());
    memory.clear();
    encode(values.source, segment, memory.source, trace);
    return decoder.forward(values.target, segment, memory, trace.decoder);
  }

  /// As FeedbackTransformer::backward(), through the decoder and the encoder.
  void backward(const In<Scalar>& doutputs, const Memory& memory, Trace& trace, EncoderDecoder& grad) const {
    check(grad.config() == config(), "backward: expected a gradient made by zeros_like(model), found one of another config");
    decoder.backward(doutputs, memory, trace.decoder, grad.decoder);
    const Index lanes = memory.lanes(), seen = memory.source.longest();  // beyond is padding in all lanes
    auto& dh = trace.encoder.h;
    for (std::size_t i = 0; i < source_key_values.size(); ++i) {
      auto& kv = trace.key_values[i];
      auto dk = kv.k(0), dv = kv.v(0);
      const KeyValueCache<Scalar>& dbank = trace.decoder.core.dsource.banks[i];
      for (Index t = 0; t < seen; ++t) dbank.read(t, step_columns(dk, t, lanes), step_columns(dv, t, lanes));
      for (auto* deltas : {&dk, &dv}) deltas->rightCols(deltas->cols() - seen * lanes).setZero();
      source_key_values[i].backward(kv, 0, i == 0 ? dh : trace.encoder.other);
      if (i > 0) dh += trace.encoder.other;
      source_key_values[i].accumulate(kv, 0, 1, grad.source_key_values[i]);
    }
    encoder.backward(trace.encoder);
    encoder.accumulate(trace.encoder, grad.encoder);
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... models) {
    visit_child("encoder", f, models.encoder...);
    visit_children("source_key_values", f, models.source_key_values...);
    visit_child("decoder", f, models.decoder...);
  }

 private:
  Index banks() const { return static_cast<Index>(source_key_values.size()); }

  /// decoder_of(lanes) starts the decoder.
  template <class DecoderOf>
  Stepper with_sources(std::span<const std::vector<Token>> sources, Index copies, DecoderOf&& decoder_of) const {
    check(!sources.empty() && copies >= 1, "start: expected at least 1 source and 1 lane of each, found {} and {}",
          sources.size(), copies);
    for (const auto& source : sources)
      check(!source.empty(), "start: expected sources of at least 1 token, found an empty one");
    const auto longest = [](std::span<const std::vector<Token>> some) {
      return std::max_element(some.begin(), some.end(), [](auto& a, auto& b) { return a.size() < b.size(); })->size();
    };
    Stepper stepper = decoder_of(static_cast<Index>(sources.size()) * copies);
    Source<Scalar>& all = stepper.memory.source = decoder.core.make_source(banks(), stepper.memory.lanes());
    all.reserve(static_cast<Index>(longest(sources)));
    Trace trace;
    Segment segment{.team = stepper.team.get(), .weights = stepper.trace.core.segment.weights};
    Index lane = 0;
    while (!sources.empty()) {
      // side by side are so many positions that what they become stays in the cache
      constexpr std::size_t most = 256;
      std::size_t count = 1;
      while (count < sources.size() && (count + 1) * longest(sources.first(count + 1)) <= most) ++count;
      // as encode(): a single column would be computed in another order than many
      const std::size_t length = std::max<std::size_t>(longest(sources.first(count)), count == 1 ? 2 : 1);
      std::vector<Index> lengths;
      std::vector<Token> tokens(count * length, 0);
      for (std::size_t b = 0; b < count; ++b) {
        lengths.push_back(static_cast<Index>(sources[b].size()));
        for (std::size_t t = 0; t < sources[b].size(); ++t) tokens[t * count + b] = sources[b][t];
      }
      segment.lanes = static_cast<Index>(count);
      Source<Scalar> encoded = decoder.core.make_source(banks(), segment.lanes);
      encode({tokens, lengths}, segment, encoded, trace);
      for (Index b = 0; b < segment.lanes; ++b) {
        const Source<Scalar> one = encoded.take(b);
        for (Index copy = 0; copy < copies; ++copy) all.put(lane++, one);
      }
      segment.keep_packed = true;
      sources = sources.subspan(count);
    }
    return stepper;
  }

  /// Writes the keys and values of sources; segment gives lanes, seed, team, and whether to train.
  void encode(const SourceTokens& source, Segment segment, Source<Scalar>& result, Trace& trace) const {
    const Lengths lengths = source.lengths;
    check(!lengths.empty() && !source.tokens.empty() && source.tokens.size() % lengths.size() == 0,
          "expected sources side by side in {} lanes, found {} tokens", lengths.size(), source.tokens.size());
    segment.steps = static_cast<Index>(source.tokens.size() / lengths.size());
    segment.seed = mix_seed(segment.seed, ~std::uint64_t{0});  // which no part of the decoder has
    segment.starts = {};
    for (const Index length : lengths)
      check(length >= 0 && length <= segment.steps, "expected lengths of sources from 0 to {}, found {}", segment.steps,
            length);
    check(result.lanes() == segment.lanes, "the memory has sources for {} lanes, expected {}; use make_memory()",
          result.lanes(), segment.lanes);
    encoder.prepare(trace.encoder, segment);
    encoder.forward(source.tokens, lengths, trace.encoder);
    Segment all = segment;
    all.steps = 1;
    all.lanes = segment.columns();
    trace.key_values.resize(source_key_values.size());
    result.reserve(segment.steps);
    for (std::size_t i = 0; i < source_key_values.size(); ++i) {
      auto& kv = trace.key_values[i];
      source_key_values[i].prepare(kv, all);
      source_key_values[i].forward(trace.encoder.h, kv, 0);
      for (Index t = 0; t < segment.steps; ++t)
        result.banks[i].write(t, step_columns(kv.k(0), t, segment.lanes), step_columns(kv.v(0), t, segment.lanes));
    }
    for (std::size_t b = 0; b < lengths.size(); ++b) result.windows[b] = {0, lengths[b]};
  }

  Index source_vocabulary_ = 0, reach_ = 0;
  bool share_source_key_value_ = true;
};

}  // namespace fbt
