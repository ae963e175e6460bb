// Training: the loop around fbt::Trainer::update() with its reports, evaluations and files, which `train` makes of its flags.
#pragma once

#include "language_model/metrics.hpp"
#include "language_model/model_file.hpp"
#include "language_model/train_flags.hpp"
#include "support/budget.hpp"
#include "support/interrupt.hpp"
#include "support/stopwatch.hpp"

#include "fbt/io/training_file.hpp"
#include "fbt/text/vocabulary.hpp"
#include "fbt/training/evaluate.hpp"
#include "fbt/training/trainer.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace example {

/// Where a training stands, besides what fbt::save_training() keeps.
struct Standing {
  Limits limits;
  double elapsed = 0;                                          ///< seconds, pauses left out
  double progress = 0;                                         ///< share of the training that is done
  double best_loss = std::numeric_limits<double>::infinity();  ///< smallest validation loss so far
  std::int64_t best_update = 0;
  std::int64_t validation_tokens = 0;  ///< that an evaluation reads; 0: not decided yet
};

template <class F, class Same>
void visit_standing(F&& f, Same& standing) {
  f("updates", standing.limits.updates);
  f("seconds", standing.limits.seconds);
  f("elapsed", standing.elapsed);
  f("progress", standing.progress);
  f("best_loss", standing.best_loss);
  f("best_update", standing.best_update);
  f("validation_tokens", standing.validation_tokens);
}

/// One run of a training: the loop around fbt::Trainer::update() with its reports, evaluations and files.
class Training {
 public:
  /// The tokens are those to learn from, then as many held out as given. clock: since the program began.
  Training(const TrainFlags& flags, Model model, const Standing& standing, const fbt::Vocabulary& vocabulary,
           fbt::Tokens tokens, std::size_t held_out, const Stopwatch& clock)
      : flags_(flags),
        standing_(standing),
        vocabulary_(vocabulary),
        validation_(tokens.last(held_out)),
        budget_(standing.limits, standing.elapsed, clock, flags.evaluate_every),
        model_(std::move(model)),
        adam_(model_, flags.adam),
        trainer_(model_, adam_, fbt::Batches(tokens.first(tokens.size() - held_out), flags.batches), flags.trainer) {
    if (standing.validation_tokens > 0)
      validation_ = validation_.first(std::min(validation_.size(), static_cast<std::size_t>(standing.validation_tokens)));
    const fbt::BatchOptions& batches = flags_.batches;
    budget_.expect_evaluation(static_cast<double>(validation_.size()),
                              static_cast<double>(batches.lanes * flags.trainer.segment_at(0, batches.segment)));
  }

  /// Goes on from the files in the folder. Throws when they do not fit, or the limit is reached already.
  void load() {
    fbt::load_training(path("training.safetensors"), trainer_);
    const std::int64_t limit = standing_.limits.updates;
    fbt::check(limit == 0 || updates() < limit, "--updates: expected more than the {} that the training in {} has, found {}",
               updates(), flags_.out, limit);
    reports_ = read_metrics(path("metrics.jsonl"), updates());
  }

  void run() {
    const Interrupt interrupt;
    const std::int64_t first = updates();
    fmt::print("{} parameters, {} tokens to learn from, {} held out, a vocabulary of {}\n", fbt::count_parameters(model_),
               trainer_.batches().data().size(), validation_.size(), vocabulary_.size());
    std::filesystem::create_directories(flags_.out);
    double progress = standing_.progress = budget_.progress(updates());
    save_training();  // an unwritable folder or a full disk shows now rather than at the end
    reported_at_ = budget_.elapsed();
    while (progress < 1 && !interrupt.requested()) {
      update(progress);
      progress = standing_.progress = std::max(progress, budget_.progress(updates()));
      const double now = budget_.elapsed();
      if (!validation_.empty() && budget_.evaluation_due(updates(), progress)) {
        report(evaluate());
        save();
      } else if (now >= reported_at_ + std::clamp(now / 50, 1.5, 30.0)) {
        report();
        if (now >= saved_at_ + 30) save();
      }
    }
    if (unreported_.updates > 0) report();
    if (saved_update_ < updates()) save();
    if (interrupt.requested()) {
      fmt::print("interrupted: update {} is saved; go on with --resume\n", updates());
    } else {
      fbt::ensure(updates() > first, "--seconds {}: no time was left for an update; give a larger limit", flags_.seconds);
    }
    if (std::isfinite(standing_.best_loss))
      fmt::print("best validation loss {:.4f}, at update {}\n", standing_.best_loss, standing_.best_update);
    if (flags_.config.span_ramp > 0)
      fmt::print("the heads look back at most {} of {} tokens\n", model_.core.longest_span(), flags_.config.window);
    fmt::print("all files are in {}\n", flags_.out);
  }

 private:
  /// What has been trained since the last report.
  struct Unreported {
    std::int64_t updates = 0;
    double loss = 0, tokens = 0, seconds = 0;  // sums
    fbt::Trainer<Model>::Report last;
  };

  std::filesystem::path path(const char* name) const { return std::filesystem::path(flags_.out) / name; }
  std::int64_t updates() const { return adam_.updates; }

  void update(double progress) {
    const Stopwatch watch;
    unreported_.last = trainer_.update(flags_.schedule.rate(updates(), progress), progress);
    budget_.spent_on_update(watch.seconds());
    unreported_.seconds += watch.seconds();
    unreported_.loss += unreported_.last.loss;
    unreported_.tokens += static_cast<double>(unreported_.last.tokens);
    ++unreported_.updates;
  }

  /// The validation loss.
  double evaluate() {
    if (standing_.validation_tokens == 0) {
      if (const double share = budget_.longest_evaluation() / budget_.evaluation_seconds(); share < 1) {
        const double count = std::max(2.0, share * static_cast<double>(validation_.size()));
        validation_ = validation_.first(static_cast<std::size_t>(count));
        fmt::print("evaluating on the first {} tokens held out, to keep within the time\n", validation_.size());
      }
      standing_.validation_tokens = static_cast<std::int64_t>(validation_.size());
    }
    const fbt::EvaluationOptions options{.lanes = 64, .context = flags_.config.window, .threads = flags_.trainer.threads};
    const Stopwatch watch;
    const double loss = fbt::evaluate(model_, validation_, options).mean();
    budget_.spent_on_evaluation(watch.seconds());
    return loss;
  }

  void report(double validation_loss = Report::none) {
    const auto count = static_cast<double>(unreported_.updates);
    const auto layer_weights =
        model_.config().remembers_per_layer() ? fbt::Vector<float>() : model_.core.aggregator.mix.mix_weights();
    reports_.push_back({updates(),
                        budget_.elapsed(),
                        unreported_.loss / count,
                        validation_loss,
                        unreported_.tokens / unreported_.seconds,
                        unreported_.last.learning_rate,
                        unreported_.last.gradient_norm,
                        {layer_weights.begin(), layer_weights.end()}});
    fmt::print("{}  left {}\n", progress_line(reports_.back()), clock_text(budget_.seconds_left(updates())));
    std::fflush(stdout);
    unreported_ = {};
    reported_at_ = budget_.elapsed();
  }

  /// Writes all files. training.safetensors comes last: what the others hold beyond it is made again when it is resumed.
  void save() {
    const Stopwatch watch;
    if (const double loss = reports_.back().validation_loss; loss < standing_.best_loss) {
      standing_.best_loss = loss;
      standing_.best_update = updates();
    }
    if (!std::isfinite(standing_.best_loss) || standing_.best_update == updates())
      fbt::save_model(path("model.safetensors"), model_, vocabulary_.metadata(), fbt::Probe::store);
    fbt::write_atomically(path("metrics.jsonl"), {write_metrics(reports_)});
    fbt::write_atomically(path("loss.svg"), {loss_plot(reports_).svg()});
    fbt::write_atomically(path("layer_weights.svg"), {layer_weights_plot(reports_).svg()});
    save_training();
    budget_.spent_on_save(watch.seconds());
  }

  void save_training() {
    standing_.elapsed = saved_at_ = budget_.elapsed();
    saved_update_ = updates();
    nlohmann::ordered_json standing;
    visit_standing([&](const char* name, const auto& value) { standing[name] = value; }, standing_);
    fbt::Metadata metadata = vocabulary_.metadata();
    metadata["flags"] = write_flags(flags_).dump();
    metadata["standing"] = standing.dump();
    fbt::save_training(path("training.safetensors"), trainer_, metadata);
  }

  TrainFlags flags_;
  Standing standing_;
  const fbt::Vocabulary& vocabulary_;
  fbt::Tokens validation_;
  Budget budget_;
  Model model_;
  fbt::Adam<Model> adam_;
  fbt::Trainer<Model> trainer_;
  std::vector<Report> reports_;
  Unreported unreported_;
  double saved_at_ = 0, reported_at_ = 0;
  std::int64_t saved_update_ = 0;
};

}  // namespace example
