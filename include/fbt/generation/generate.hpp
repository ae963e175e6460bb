// Generation: a prompt is read step by step, then tokens are drawn one at a time. The memory is the model's window, so a
// text of any length takes the same room. One prompt, or many side by side in the lanes of one state.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/generation/sampling.hpp"
#include "fbt/layers/embedding.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace fbt {

struct GenerationOptions {
  Index length = 500;                         ///< the most tokens to draw
  std::vector<std::vector<Token>> stop = {};  ///< sequences that end the text; they are not part of it
  SamplingOptions sampling = {};

  void validate() const {
    check(length >= 0, "length must be at least 0 tokens, found {}", length);
    for (const auto& sequence : stop) check(!sequence.empty(), "a stop sequence must hold at least 1 token, found none");
    sampling.validate();
  }
};

/// A prompt of at least one token, and how it is to be continued.
struct GenerationRequest {
  std::vector<Token> prompt = {};
  GenerationOptions options = {};
};

/// A token of a continuation. Where a token is expected it is one.
struct Drawn {
  Token token = 0;
  double log_probability = 0;  ///< in nats, by the model alone: softmax of its logits, before anything of SamplingOptions

  operator Token() const { return token; }
};

/// One text in the making: which token is to be read next, and what follows from the logits after it.
class Continuation {
 public:
  /// Throws std::invalid_argument for an option out of range, and an empty prompt. Prompt and options have to outlive it.
  Continuation(Tokens prompt, const GenerationOptions& options)
      : prompt_(prompt), options_((options.validate(), &options)), sampler_(options.sampling) {
    check(!prompt.empty(), "the prompt must hold at least 1 token, found none");
  }

  /// The token to read next.
  Token next() const { return read_ < prompt_.size() ? prompt_[read_] : last_; }

  /// Goes on from the logits (V) after next(); emit(drawn) as in generate(). False when the text has ended.
  template <class Derived, class Emit>
  bool read(const Eigen::DenseBase<Derived>& logits, Emit&& emit) {
    sampler_.accept(next());
    if (read_ < prompt_.size() && ++read_ < prompt_.size()) return true;
    return draw(logits, emit);
  }

  /// Goes on from the logits (V) after a prompt that has been read already; else as read().
  template <class Derived, class Emit>
  bool skip_prompt(const Eigen::DenseBase<Derived>& logits, Emit&& emit) {
    while (read_ < prompt_.size()) sampler_.accept(prompt_[read_++]);
    return draw(logits, emit);
  }

  /// How many tokens of the continuation have been emitted.
  Index emitted() const { return emitted_; }

 private:
  template <class Derived, class Emit>
  bool draw(const Eigen::DenseBase<Derived>& logits, Emit&& emit) {
    if (drawn_ == options_->length) return false;  // nothing was wanted
    last_ = sampler_.sample(logits);
    ++drawn_;
    held_.push_back({last_, log_probability(logits, last_)});
    std::size_t keep = 0, cut = 0;  // the longest beginning of a stop sequence at the end, and the longest whole one
    for (const auto& stop : options_->stop) {
      for (std::size_t size = std::min(stop.size(), held_.size()); size > 0; --size) {
        if (!std::equal(stop.begin(), stop.begin() + static_cast<std::ptrdiff_t>(size),
                        held_.end() - static_cast<std::ptrdiff_t>(size)))
          continue;
        keep = std::max(keep, size);
        if (size == stop.size()) cut = std::max(cut, size);
        break;
      }
    }
    if (cut > 0) {
      held_.resize(held_.size() - cut);
      release(0, emit);
      return false;
    }
    if (drawn_ == options_->length) {
      release(0, emit);
      return false;
    }
    return release(keep, emit);
  }

  /// Emits what is held back but for the last tokens. False when emit() wants no more.
  template <class Emit>
  bool release(std::size_t keep, Emit&& emit) {
    const std::size_t count = held_.size() - keep;
    for (std::size_t i = 0; i < count; ++i) {
      ++emitted_;
      if (!emit(held_[i])) return false;
    }
    held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(count));
    return true;
  }

  Tokens prompt_;
  const GenerationOptions* options_;
  Sampler sampler_;
  std::size_t read_ = 0;  // of the prompt
  Token last_ = 0;
  Index drawn_ = 0, emitted_ = 0;
  std::vector<Drawn> held_;  // for as long as they may turn out to be the beginning of a stop sequence
};

/// Continues a prompt of at least one token. emit(token), or emit(drawn), is called for every token of the continuation as
/// soon as it is known not to belong to a stop sequence; it returns false to end the text. Returns the number of tokens
/// emitted. The text does not depend on the number of threads. Throws std::invalid_argument for an option
/// out of range, an empty prompt, or a token outside the vocabulary, and std::runtime_error when one of the logits to draw
/// from is NaN or +infinity.
template <class Model, class Emit>
Index generate(const Model& model, Tokens prompt, const GenerationOptions& options, Emit&& emit,
               const Execution& execution = {}) {
  Continuation text(prompt, options);
  auto stepper = model.start(1, execution);
  for (bool more = true; more;) {
    const Token token = text.next();
    more = text.read(model.step({&token, 1}, stepper).col(0), emit);
  }
  return text.emitted();
}

namespace detail {

struct Nothing {
  void operator()(std::size_t) const {}
};

}  // namespace detail

/// Continues many prompts side by side, in at most so many lanes: a text takes the lane of one that has ended. emit(i,
/// token) is called for every token of text i as in generate(), and returns false to end that text; end(i) when a text has
/// ended. Returns the number of tokens emitted for each. A text depends on its request alone, not on what runs beside it,
/// nor on the number of lanes or threads. (A single lane is computed in another order than many, so that the last bits of
/// logits, and once in a while a token, differ from those of generate() for one prompt.) Throws as that does, for any of the
/// requests, before anything is emitted; logits that are not finite end all texts.
template <class Model, class Emit, class End = detail::Nothing>
std::vector<Index> generate(const Model& model, std::span<const GenerationRequest> requests, Index lanes, Emit&& emit,
                            const Execution& execution = {}, End&& end = {}) {
  check(lanes >= 1, "generate: lanes must be at least 1, found {}", lanes);
  check(model.core.lanes_begin_alone(), "generate: a model with empty_memory zero_slots continues one prompt at a time");
  std::vector<Continuation> texts;
  for (const GenerationRequest& request : requests) {
    texts.emplace_back(request.prompt, request.options);
    check_tokens(request.prompt, {static_cast<Index>(request.prompt.size()), 1}, model.config().vocabulary);
  }
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  constexpr Index fewest = 2;  // see above
  std::size_t waiting = 0;     // the next request
  std::vector<std::size_t> running(static_cast<std::size_t>(
      std::max(fewest, std::min(lanes, static_cast<Index>(requests.size())))));  // which text is in each lane, or none
  for (std::size_t& text : running) text = waiting < texts.size() ? waiting++ : none;
  auto stepper = model.start(static_cast<Index>(running.size()), execution);
  std::vector<Token> tokens(running.size());
  for (std::size_t busy = waiting; busy > 0;) {
    for (std::size_t b = 0; b < running.size(); ++b) tokens[b] = running[b] == none ? 0 : texts[running[b]].next();
    const auto& logits = model.step(tokens, stepper);
    for (std::size_t b = 0; b < running.size(); ++b) {
      const std::size_t text = running[b];
      const auto emit_of_text = [&](const Drawn& drawn) { return emit(text, drawn); };
      if (text == none || texts[text].read(logits.col(static_cast<Index>(b)), emit_of_text)) continue;
      end(text);
      running[b] = waiting < texts.size() ? waiting++ : none;
      if (running[b] == none) --busy;
      stepper.memory.clear(static_cast<Index>(b));
    }
    // lanes without a text cost as much as others, so those that go on move together
    if (busy > 0 && std::max<std::size_t>(busy, fewest) < running.size()) {
      std::vector<Index> kept;
      std::vector<std::size_t> moved;
      for (std::size_t b = 0; b < running.size(); ++b) {
        if (running[b] == none) continue;
        kept.push_back(static_cast<Index>(b));
        moved.push_back(running[b]);
      }
      while (kept.size() < fewest) {
        kept.push_back(kept.front());
        moved.push_back(none);
      }
      model.select_lanes(kept, stepper);
      running = std::move(moved);
      tokens.resize(running.size());
    }
  }
  std::vector<Index> emitted;
  for (const Continuation& text : texts) emitted.push_back(text.emitted());
  return emitted;
}

}  // namespace fbt
