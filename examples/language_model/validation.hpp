// Validation: the loss on the held-out end of a text, while a model learns the rest. That end is read in parts side by side,
// each after some context: nearly what one long run gives, as `evaluate` reads it, and many times as fast.
#pragma once

#include "language_model/model_file.hpp"
#include "support/interrupt.hpp"
#include "support/processes.hpp"

#include "fbt/io/training_file.hpp"
#include "fbt/training/evaluate.hpp"
#include "fbt/training/losses.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <type_traits>

namespace example {

namespace detail {

/// Throws Interrupted as soon as it is requested.
struct InterruptibleLoss : fbt::CrossEntropy {
  const Interrupt& interrupt;

  template <class Scalar>
  fbt::LossSum operator()(const std::type_identity_t<fbt::In<Scalar>>& logits, fbt::Tokens labels, Scalar scale,
                          std::type_identity_t<fbt::Out<Scalar>> dlogits) const {
    interrupt.check();
    return fbt::CrossEntropy::operator()<Scalar>(logits, labels, scale, dlogits);
  }
};

}  // namespace detail

class Validation {
 public:
  static constexpr const char* unit = "tokens";  // that size() counts

  /// text: what is held out, of a model that sees so many past tokens. It must outlive this.
  Validation(fbt::Tokens text, fbt::Index window) : text_(text), context_(4 * window) {}

  bool empty() const { return text_.empty(); }
  fbt::Index size() const { return static_cast<fbt::Index>(text_.size()); }
  /// Leaves out all but the first tokens.
  void shorten(fbt::Index count) { text_ = text_.first(static_cast<std::size_t>(std::min(count, size()))); }

  /// What a loss costs, in tokens that are read side by side with many others.
  double work() const {
    constexpr fbt::Index few = 8;  // parts that take hardly longer than fewer
    const fbt::Index steps = size() / parts() + (parts() > 1 ? context_ : 0);
    return static_cast<double>(steps) * static_cast<double>(std::max(parts(), few));
  }
  std::string how() const {
    return parts() == 1 ? "in one run"
                        : fmt::format("in {} parts side by side, each after {} tokens of context", parts(), context_);
  }
  /// Names what is measured: of other tokens, or when they are read in another way, a loss is another.
  std::string identity() const { return fmt::format("{}, {}", fbt::fingerprint(text_), how()); }

  /// In nats per token. Throws Interrupted when the user wants to stop.
  double loss(const Model& model, fbt::Index threads, const Interrupt& interrupt, const Processes& processes) const {
    return processes.evaluate<fbt::Evaluation>([&](const auto& share) {
      return fbt::evaluate(model, text_.first(text_.size() - 1), text_.subspan(1),
                           {.lanes = parts(),
                            .context = context_,
                            .threads = threads,
                            .own_part = [&](fbt::Index groups) { return processes.own_part(groups); },
                            .share = share},
                           detail::InterruptibleLoss{{}, interrupt})
          .mean();
    });
  }

 private:
  /// A part is several times as long as its context, and the short text of a small training is not cut.
  fbt::Index parts() const { return std::clamp<fbt::Index>(size() / std::max<fbt::Index>(4 * context_, 1000), 1, 64); }

  fbt::Tokens text_;
  fbt::Index context_;
};

}  // namespace example
