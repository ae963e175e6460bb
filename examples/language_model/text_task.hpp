// What a training of a language model learns: a text.
#pragma once

#include "language_model/model_file.hpp"
#include "language_model/train_flags.hpp"
#include "language_model/validation.hpp"
#include "support/budget.hpp"
#include "support/config_file.hpp"
#include "support/sound.hpp"
#include "support/stored_flags.hpp"

#include "fbt/text/vocabulary.hpp"
#include "fbt/training/batches.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <string>

namespace example {

/// For Training.
class TextTask {
 public:
  using Model = example::Model;
  using Batches = fbt::Batches<>;
  using Validation = example::Validation;
  using Flags = TrainFlags;

  /// The tokens are those to learn from, then as many held out as given. All must outlive this.
  TextTask(const TrainFlags& flags, const fbt::Vocabulary& vocabulary, fbt::Tokens tokens, std::size_t held_out)
      : flags_(flags),
        vocabulary_(vocabulary),
        text_(tokens.first(tokens.size() - held_out)),
        held_out_(tokens.last(held_out)) {}

  Batches batches() const { return {text_, flags_.batches}; }
  fbt::CrossEntropy loss() const { return {}; }
  Validation validation() const { return {held_out_, flags_.config.window}; }
  double tokens_per_update() const {
    return static_cast<double>(flags_.batches.lanes * flags_.trainer.segment_at(0, flags_.batches.segment));
  }
  std::string summary() const {
    return fmt::format("{} tokens to learn from, {} held out, a vocabulary of {}", text_.size(), held_out_.size(),
                       vocabulary_.size());
  }
  fbt::Metadata metadata() const { return vocabulary_.metadata(); }
  static const auto& core(const Model& model) { return model.core; }
  static Model load(const std::filesystem::path& path) { return load_text_model(path).model; }
  bool is_sound(const Model& model) const {
    const auto some = static_cast<std::size_t>(flags_.batches.segment) + 1;
    return example::is_sound(model, text_.first(std::min(text_.size(), some)));
  }
  std::string config(const Limits& limits) const {
    nlohmann::ordered_json flags{{"data", flags_.data}};
    flags["updates"] = limits.updates;
    flags["seconds"] = limits.seconds;
    flags.update(write_flags(training_flags(flags_)));
    for (const VainFlag& vain : vain_flags(flags_)) flags.erase(vain.name);
    if (flags_.start_from.empty()) flags.erase("start-from");
    return "# the same training again: language_model train --config THIS_FILE --out FOLDER\n" + write_config_lines(flags);
  }
  void conclude(const Model& model) const {
    if (flags_.config.span_ramp > 0)
      fmt::print("the heads look back at most {} of {} tokens\n", model.core.longest_span(), flags_.config.window);
  }

 private:
  const TrainFlags& flags_;
  const fbt::Vocabulary& vocabulary_;
  fbt::Tokens text_, held_out_;
};

}  // namespace example
