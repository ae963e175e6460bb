// Session: one text that is read and continued piece by piece, with what is remembered of it kept in between: a dialogue, or
// many continuations of a long text that is read once. io/session_file.hpp keeps one in a file.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/generation/generate.hpp"
#include "fbt/layers/embedding.hpp"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace fbt {

template <class Model>
class Session {
 public:
  using Scalar = typename Model::Scalar;
  using Memory = typename Model::Memory;

  /// Nothing has been read. The model has to outlive it.
  explicit Session(const Model& model, const Execution& execution = {})
      : model_(&model), stepper_(model.start(1, execution)) {}

  /// Goes on where another session of the model was, given what that returns. Throws std::invalid_argument unless they fit.
  Session(const Model& model, std::vector<Token> text, Memory memory, const Vector<Scalar>& logits,
          const Execution& execution = {})
      : Session(model, execution) {
    check_text(text);
    check(logits.size() == stepper_.trace.outputs.rows(), "session: expected {} logits, found {}",
          stepper_.trace.outputs.rows(), logits.size());
    model.core.check_memory(memory, 1);
    text_ = std::move(text);
    stepper_.memory = std::move(memory);
    stepper_.trace.outputs.col(0) = logits;
  }

  const Model& model() const { return *model_; }
  /// All that has been read and written.
  const std::vector<Token>& text() const { return text_; }
  /// What is remembered of it.
  const Memory& memory() const { return stepper_.memory; }
  /// The logits (V) of the token after it. Only of a text of at least one token.
  auto logits() const { return stepper_.trace.outputs.col(0); }

  /// Whether what is remembered is the text: not after an exception in write(), such as one of emit().
  bool can_go_on() const { return whole_; }

  /// Reads on. Throws std::invalid_argument, and reads nothing, when a token is outside the vocabulary or the session cannot
  /// go on.
  void read(Tokens tokens) {
    check_whole();
    check_text(tokens);
    const std::vector<Token> own(tokens.begin(), tokens.end());  // they may be the session's
    for (const Token token : own) {
      step(token);
      text_.push_back(token);
    }
  }

  /// Continues the text; options, emit, result and errors are those of generate(). What is emitted belongs to the text from
  /// then on; a stop sequence does not. The same is written as after reading the whole text anew. Throws
  /// std::invalid_argument when nothing has been read, or the session cannot go on.
  template <class Emit>
  Index write(const GenerationOptions& options, Emit&& emit) {
    check_whole();
    Continuation continuation(text_, options);
    whole_ = false;
    // the tokens of a stop sequence are read, all but its last, before it is known to be one
    const bool may_read_too_far =
        std::any_of(options.stop.begin(), options.stop.end(), [](const auto& sequence) { return sequence.size() > 1; });
    std::optional<std::pair<Memory, Vector<Scalar>>> before;
    if (may_read_too_far) before.emplace(memory(), logits());
    std::vector<Token> written;
    const auto keep = [&](const Drawn& drawn) {
      written.push_back(drawn);
      return emit(drawn);
    };
    std::size_t count = 0;  // tokens read
    for (bool more = continuation.skip_prompt(logits(), keep); more; ++count)
      more = continuation.read(step(continuation.next()), keep);
    if (count > written.size()) {
      stepper_.memory = std::move(before->first);
      stepper_.trace.outputs.col(0) = before->second;
      count = 0;
    }
    for (; count < written.size(); ++count) step(written[count]);
    text_.insert(text_.end(), written.begin(), written.end());
    whole_ = true;
    return continuation.emitted();
  }

 private:
  void check_text(Tokens tokens) const {
    check_tokens(tokens, {static_cast<Index>(tokens.size()), 1}, model_->config().vocabulary);
  }
  void check_whole() const {
    check(whole_, "session: what is remembered is not its text, as an exception ended write(); begin another");
  }
  auto step(Token token) { return model_->step({&token, 1}, stepper_).col(0); }

  const Model* model_;
  typename Model::Stepper stepper_;
  std::vector<Token> text_;
  bool whole_ = true;
};

}  // namespace fbt
