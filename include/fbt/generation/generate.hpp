// Generation: a prompt is read step by step, then tokens are drawn one at a time. The memory is the model's window, so a text
// of any length takes the same room.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/generation/sampling.hpp"

#include <algorithm>
#include <vector>

namespace fbt {

struct GenerationOptions {
  Index length = 500;                    ///< the most tokens to draw
  std::vector<std::vector<Token>> stop;  ///< sequences that end the text; they are not part of it
  SamplingOptions sampling;
  Index threads = 1;  ///< most threads that share a step; the text does not depend on it

  void validate() const {
    check(length >= 0, "length must be at least 0 tokens, found {}", length);
    for (const auto& sequence : stop) check(!sequence.empty(), "a stop sequence must hold at least 1 token, found none");
    check(threads >= 1 && threads <= 1024, "threads must be between 1 and 1024, found {}", threads);
    sampling.validate();
  }
};

/// Continues a prompt of at least one token. emit(token) is called for every token of the continuation as soon as it is known
/// not to belong to a stop sequence; it returns false to end the text. Returns the number of tokens emitted.
/// Throws std::invalid_argument for an option out of range, an empty prompt, or a token outside the vocabulary, and
/// std::runtime_error when the model's logits are not finite.
template <class Model, class Emit>
Index generate(const Model& model, Tokens prompt, const GenerationOptions& options, Emit&& emit) {
  options.validate();
  check(!prompt.empty(), "the prompt must hold at least 1 token, found none");
  Sampler sampler(options.sampling);
  auto stepper = model.start(1, options.threads);
  for (const Token token : prompt) {
    model.step({&token, 1}, stepper);
    sampler.accept(token);
  }

  // The last tokens are held back for as long as they may turn out to be the beginning of a stop sequence.
  std::vector<Token> held;
  Index emitted = 0;
  const auto release = [&](std::size_t keep) {
    const std::size_t count = held.size() - keep;
    for (std::size_t i = 0; i < count; ++i) {
      ++emitted;
      if (!emit(held[i])) return false;
    }
    held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(count));
    return true;
  };
  for (Index n = 0; n < options.length; ++n) {
    const Token token = sampler.sample(stepper.trace.outputs.col(0));
    held.push_back(token);
    std::size_t keep = 0, cut = 0;  // the longest beginning of a stop sequence at the end, and the longest whole one
    for (const auto& stop : options.stop) {
      for (std::size_t size = std::min(stop.size(), held.size()); size > 0; --size) {
        if (!std::equal(stop.begin(), stop.begin() + static_cast<std::ptrdiff_t>(size),
                        held.end() - static_cast<std::ptrdiff_t>(size)))
          continue;
        keep = std::max(keep, size);
        if (size == stop.size()) cut = std::max(cut, size);
        break;
      }
    }
    if (cut > 0) {
      held.resize(held.size() - cut);
      release(0);
      return emitted;
    }
    if (!release(keep)) return emitted;
    if (n + 1 == options.length) break;
    sampler.accept(token);
    model.step({&token, 1}, stepper);
  }
  release(0);
  return emitted;
}

}  // namespace fbt
