// Training: the loop around fbt::Trainer::update() with its reports, evaluations and files, for the `train` of any program.
// What is learned is a Task:
//   Model, Batches, Validation, Flags        types; Flags has out, seconds, evaluate_every, trainer, adam and schedule
//   batches(), loss()                        to learn from, and what is minimised
//   validation()                             what is held out: empty(), size(), shorten(), work(), how(), identity(),
//                                            loss(), and the unit that size() counts
//   tokens_per_update()                      about, at the beginning
//   summary()                                what is learned from, for the reader who watches
//   metadata()                               of the model's files
//   core(model)                              whose memory shows in the reports
//   load(path)                               the model in a file
//   is_sound(model)                          whether it may be saved in the place of another
//   config(limits)                           the flags of the whole training, as a file
//   conclude(model)                          prints what else is to be told at the end
// Several processes may run it together (support/processes.hpp): then all of them run every line, what depends on the clock
// or on the user is decided by the first, and only that one writes.
#pragma once

#include "support/budget.hpp"
#include "support/interrupt.hpp"
#include "support/metrics.hpp"
#include "support/processes.hpp"
#include "support/run.hpp"
#include "support/stopwatch.hpp"
#include "support/stored_flags.hpp"

#include "fbt/io/atomic_file.hpp"
#include "fbt/io/training_file.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/losses.hpp"
#include "fbt/training/trainer.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
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
  std::int64_t validation_tokens = 0;  ///< that an evaluation reads, in the validation's unit; 0: not decided yet
  std::string validation;              ///< what best_loss was measured on: Validation::identity()
  bool evaluation_missing = false;     ///< the one after the last update was interrupted

  bool ended() const { return progress >= 1 && !evaluation_missing; }
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
  f("validation", standing.validation);
  f("evaluation_missing", standing.evaluation_missing);
}

/// One run of a training.
template <class Task>
class Training {
 public:
  using Model = typename Task::Model;
  using Flags = typename Task::Flags;

  /// Task and processes must outlive this.
  Training(const Task& task, const Flags& flags, Model model, const Standing& standing, Processes& processes)
      : processes_(processes),
        task_(task),
        flags_(flags),
        standing_(standing),
        validation_(task.validation()),
        budget_(standing.limits, standing.elapsed, clock_, flags.evaluate_every),
        model_(std::move(model)),
        optimizer_(processes.optimizer(model_, flags.trainer.shards, flags.adam)),
        trainer_(model_, optimizer_, task.batches(), flags.trainer, task.loss(), processes.reduction(optimizer_)) {
    if (standing.validation_tokens > 0) validation_.shorten(standing.validation_tokens);
    budget_.expect_evaluation(validation_.work(), task.tokens_per_update());
  }

  /// Goes on from the files in the folder. Throws when they do not fit, or the limit is reached already.
  void load() {
    processes_.load_training(path("training.safetensors"), trainer_);
    const std::int64_t limit = standing_.limits.updates;
    fbt::check(limit == 0 || updates() < limit || standing_.evaluation_missing,
               "--updates: expected more than the {} that the training in {} has, found {}", updates(), flags_.out, limit);
    reports_ = read_metrics(path("metrics.jsonl"), updates());
  }

  /// Returns the exit code of the program. After an error what was reached is saved, and the error that is thrown on says
  /// what the folder holds.
  int run() {
    const std::int64_t first = updates();
    const bool evaluation_missing = standing_.evaluation_missing;
    clock_ = Stopwatch();
    print_now("{} parameters, {}\n", fbt::count_parameters(model_), task_.summary());
    standing_.progress = processes_.first_says(budget_.progress(updates()));
    save_training();  // an unwritable folder or a full disk shows now rather than at the end
    write("config.toml", task_.config(standing_.limits));
    reported_at_ = budget_.elapsed();
    try {
      if (std::isfinite(standing_.best_loss) && standing_.validation != validation_.identity()) measure_best_again();
      if (evaluation_missing) evaluate_again();
      learn();
      if (!standing_.ended()) {
        fmt::print("interrupted: update {} is saved; go on with --resume\n", updates());
      } else {
        fbt::ensure(updates() > first || evaluation_missing,
                    "--seconds {}: no time was left for an update; give a larger limit", flags_.seconds);
      }
      if (std::isfinite(standing_.best_loss))
        fmt::print("best validation loss {:.4f}, at update {}\n", standing_.best_loss, standing_.best_update);
      task_.conclude(model_);
      print_now("all files are in {}\n", flags_.out);
    } catch (const std::exception& error) {
      if (!processes_.all_are_here()) throw;
      throw std::runtime_error(fmt::format("{}; {}", text_of(error), rescue()));
    }
    return standing_.ended() ? 0 : interrupt_.exit_code();
  }

 private:
  using Optimizer = Processes::Optimizer<Model>;
  using Trainer = fbt::Trainer<Model, fbt::CrossEntropy, Optimizer, typename Task::Batches>;

  /// What has been trained since the last report.
  struct Unreported {
    std::int64_t updates = 0;
    double loss = 0, tokens = 0, seconds = 0;  // sums
    typename Trainer::Report last;
  };

  std::filesystem::path path(const char* name) const { return std::filesystem::path(flags_.out) / name; }
  std::int64_t updates() const { return optimizer_.updates; }

  /// Up to a limit, or until the user wants to stop.
  void learn() {
    bool stopped = stop_requested();
    while (standing_.progress < 1 && !stopped) {
      update(standing_.progress);
      const Next next = decide();
      standing_.progress = next.progress;
      stopped = next.stop;
      if (next.evaluate || next.report) {
        add_report(next.evaluate ? evaluate() : Report::none);
        print_report();
      }
      if (next.evaluate) stopped = stop_requested();  // it may have been interrupted
      if (next.save) save();
    }
    if (unreported_.updates > 0) {
      add_report();
      print_report();
    }
    if (saved_update_ < updates()) save();
  }

  Next decide() const {
    Next next{std::max(standing_.progress, budget_.progress(updates())), interrupt_.requested()};
    const double now = budget_.elapsed();
    next.evaluate = !validation_.empty() && budget_.evaluation_due(updates(), next.progress);
    next.report = now >= reported_at_ + std::clamp(now / 50, 1.5, 30.0);
    // an error costs a tenth of the training at most, and saving a twentieth
    next.save = next.evaluate || (next.report && now >= saved_at_ + std::min(30.0, std::max(now / 10, 20 * save_seconds_)));
    return processes_.first_decides(next);
  }
  bool stop_requested() const {
    double stop = interrupt_.requested();
    processes_.largest({&stop, 1});
    return stop > 0;
  }

  void update(double progress) {
    const Stopwatch watch;
    unreported_.last = trainer_.update(flags_.schedule.rate(updates(), progress), progress);
    budget_.spent_on_update(watch.seconds());
    unreported_.seconds += watch.seconds();
    unreported_.loss += unreported_.last.loss;
    unreported_.tokens += static_cast<double>(unreported_.last.tokens);
    ++unreported_.updates;
  }

  /// The validation loss; none when the user wants to stop.
  double evaluate() {
    if (standing_.validation_tokens == 0) {
      const fbt::Index all = validation_.size();
      const double share = processes_.first_says(budget_.longest_evaluation() / budget_.evaluation_seconds());
      if (share < 1) validation_.shorten(std::max<fbt::Index>(2, static_cast<fbt::Index>(share * static_cast<double>(all))));
      standing_.validation_tokens = validation_.size();
      print_now("validation: {} of the {} {} held out, {}\n", validation_.size(), all, validation_.unit, validation_.how());
    }
    standing_.evaluation_missing = true;
    const Stopwatch watch;
    double loss = Report::none;
    try {
      loss = validation_.loss(model_, flags_.trainer.threads, interrupt_, processes_);
    } catch (const Interrupted&) {
      return loss;
    }
    budget_.spent_on_evaluation(watch.seconds());
    standing_.evaluation_missing = false;
    standing_.validation = validation_.identity();
    if (loss < standing_.best_loss) {
      standing_.best_loss = loss;
      standing_.best_update = updates();
    }
    return loss;
  }

  /// The evaluation that was interrupted when the run before ended.
  void evaluate_again() {
    const double loss = evaluate();
    if (!reports_.empty() && reports_.back().update == updates()) {
      reports_.back().validation_loss = loss;
      print_report();
    }
    save();
  }

  /// Losses on another held-out text, or when it is read in another way, are not to be compared with the best one so far.
  void measure_best_again() {
    constexpr const char* why = "the held-out text, or the way it is read, is another than before";
    if (processes_.first_says(std::filesystem::exists(path("model.safetensors"))) == 0) {
      print_now("{}: a new best model is looked for\n", why);
      standing_.best_loss = std::numeric_limits<double>::infinity();
      return;
    }
    try {
      std::optional<Model> best;
      processes_.together([&] { best = task_.load(path("model.safetensors")); });
      const double loss = validation_.loss(*best, flags_.trainer.threads, interrupt_, processes_);
      print_now("{}: the best model so far, of update {}, has a validation loss of {:.4f} now\n", why, standing_.best_update,
                loss);
      standing_.best_loss = loss;
      standing_.validation = validation_.identity();
    } catch (const Interrupted&) {
    }
  }

  void add_report(double validation_loss = Report::none) {
    const auto count = static_cast<double>(unreported_.updates);
    const auto& core = task_.core(model_);
    const auto layer_weights =
        core.config().remembers_per_layer() ? fbt::Vector<float>() : core.aggregator.mix.mix_weights();
    reports_.push_back({updates(),
                        budget_.elapsed(),
                        unreported_.loss / count,
                        validation_loss,
                        unreported_.tokens / unreported_.seconds,
                        unreported_.last.learning_rate,
                        unreported_.last.gradient_norm,
                        {layer_weights.begin(), layer_weights.end()}});
    unreported_ = {};
    reported_at_ = budget_.elapsed();
  }
  void print_report() const {
    print_now("{}  left {}\n", progress_line(reports_.back()), clock_text(budget_.seconds_left(updates())));
  }

  /// Writes all files. training.safetensors comes last: what the others hold beyond it is made again when it is resumed.
  void save() {
    const Stopwatch watch;
    fbt::ensure(can_go_on(),
                "update {}: expected a model of finite numbers, found others; try a smaller learning rate, a "
                "longer warm-up or a smaller clip",
                updates());
    if (!std::isfinite(standing_.best_loss) || standing_.best_update == updates())
      processes_.first_does(
          [&] { fbt::save_model(path("model.safetensors"), model_, task_.metadata(), fbt::Probe::store); });
    write("metrics.jsonl", write_metrics(reports_));
    write("loss.svg", loss_plot(reports_).svg());
    write("layer_weights.svg", layer_weights_plot(reports_).svg());
    save_training();
    save_seconds_ = watch.seconds();
    budget_.spent_on_save(save_seconds_);
  }

  void save_training() {
    standing_.elapsed = saved_at_ = budget_.elapsed();
    nlohmann::ordered_json standing;
    visit_standing([&](const char* name, const auto& value) { standing[name] = value; }, standing_);
    fbt::Metadata metadata = task_.metadata();
    metadata["flags"] = dump_flags(training_flags(flags_));
    metadata["standing"] = standing.dump();
    processes_.save_training(path("training.safetensors"), trainer_, metadata);
    saved_update_ = updates();
  }

  /// Whether a training can go on from here.
  bool can_go_on() const {
    double sum = 0;
    processes_.visit_moments(optimizer_, [&](std::string_view, const auto& moment) { sum += fbt::squared_norm(moment); });
    double harmed = !std::isfinite(sum) || !task_.is_sound(model_);
    processes_.largest({&harmed, 1});
    return harmed == 0;
  }

  void write(const char* name, const std::string& text) const {
    processes_.first_does([&] { fbt::write_atomically(path(name), {text}); });
  }

  /// After an error: saves what was reached, unless that would replace something better. Returns what the folder holds.
  std::string rescue() {
    std::string more;
    try {
      if (saved_update_ < updates()) {
        if (can_go_on()) {
          const Standing reached = standing_;
          if (reached.best_update == updates()) {  // if its model cannot be written, it is measured again
            standing_.best_loss = std::numeric_limits<double>::infinity();
            standing_.evaluation_missing = true;
          }
          save_training();
          standing_ = reached;
          if (unreported_.updates > 0) add_report();
          save();
        } else {
          more = ", as the parameters have been harmed since";
        }
      }
    } catch (const std::exception& error) {
      more = fmt::format(" ({})", text_of(error));
    }
    return fmt::format("{} holds update {}{}; go on with --resume", flags_.out, saved_update_, more);
  }

  Processes& processes_;
  const Task& task_;
  Flags flags_;
  Standing standing_;
  typename Task::Validation validation_;
  Stopwatch clock_;  // of this run
  Budget budget_;
  Interrupt interrupt_{processes_.is_first() ? "stopping after this update; what is learned is saved\n" : nullptr};
  Model model_;
  Optimizer optimizer_;
  Trainer trainer_;
  std::vector<Report> reports_;
  Unreported unreported_;
  double saved_at_ = 0, reported_at_ = 0, save_seconds_ = 0;
  std::int64_t saved_update_ = 0;
};

}  // namespace example
