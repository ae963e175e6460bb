// `train`: learns a task, and writes to a folder
//   model.safetensors   the model, with its task and the task's length
//   metrics.jsonl       a line per report, the last one with the results in fresh episodes
#pragma once

#include "agent/evaluate.hpp"
#include "agent/learner.hpp"
#include "agent/recipe.hpp"
#include "agent/rule.hpp"
#include "support/budget.hpp"
#include "support/flags.hpp"
#include "support/interrupt.hpp"
#include "support/path_flag.hpp"
#include "support/run.hpp"
#include "support/stopwatch.hpp"

#include "fbt/io/atomic_file.hpp"
#include "fbt/io/folder_lock.hpp"
#include "fbt/io/model_file.hpp"
#include "fbt/training/schedule.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace example::agent {

struct TrainFlags {
  Task task = Task::t_maze;
  Rule rule = Rule::feedback;
  std::string out;
  ModelSizes sizes;
  Recipe recipe;  ///< what was given
  double trace = 0.95, value = 0.5, clip = 1;
  fbt::Index warmup = 20, episodes = 1000;
  double seconds = 60;
  std::int64_t updates = 0;
  std::uint64_t seed = 1;
};

inline void add_train_flags(CLI::App& command, TrainFlags& flags) {
  add_flag(command, "task", flags.task, "what to learn")->required()->default_str("");
  add_flag(command, "rule", flags.rule, "which model learns it; none: one without a memory");
  add_path_flag(command, "out", flags.out, "folder to write to; without it nothing is written");
  add_flag(command, "width", flags.sizes.width, "size of a layer's output");
  add_flag(command, "layers", flags.sizes.layers, "number of layers");
  add_flag(command, "heads", flags.sizes.heads, "attention heads per layer");
  add_flag(command, "window", flags.sizes.window, "how many past steps a step sees");
  visit_recipe(
      [&](const char* name, const char* help, auto& value) { add_flag(command, name, value, help)->default_str("by task"); },
      flags.recipe);
  add_flag(command, "warmup", flags.warmup, "updates until the learning rate is at its peak");
  add_flag(command, "trace", flags.trace, "lambda of the generalised advantage estimation");
  add_flag(command, "value", flags.value, "weight of the value's loss");
  add_flag(command, "clip", flags.clip, "largest norm of the gradient; 0: no limit");
  add_flag(command, "episodes", flags.episodes, "fresh episodes for the results");
  add_flag(command, "seconds", flags.seconds, "end after so many seconds, results included; 0: no limit");
  add_flag(command, "updates", flags.updates, "end after so many updates; 0: no limit");
  add_flag(command, "seed", flags.seed, "for the episodes, the actions and the initial parameters");
  std::string table = "Defaults by task:";
  for (const auto& [name, task] : fbt::Names<Task>::list) {
    table += fmt::format("\n  {}:", name);
    const Recipe defaults = recipe(task);
    visit_recipe([&](const char* flag, const char*, const auto& value) { table += fmt::format(" --{} {}", flag, value); },
                 defaults);
  }
  command.footer(table);
}

inline void check_flags(const TrainFlags& flags) {
  const auto share = [](const char* name, double value) {
    fbt::check(value >= 0 && value <= 1, "--{} must be from 0 to 1, found {}", name, value);
  };
  const auto weight = [](const char* name, double value) {
    fbt::check(value >= 0 && std::isfinite(value), "--{} must be at least 0 and finite, found {}", name, value);
  };
  share("discount", flags.recipe.discount);
  share("trace", flags.trace);
  weight("value", flags.value);
  weight("entropy", flags.recipe.entropy);
  weight("clip", flags.clip);
  fbt::check(flags.episodes >= 1 && flags.episodes <= 1'000'000, "--episodes must be from 1 to 1000000, found {}",
             flags.episodes);
  fbt::check(flags.seconds >= 0 && flags.seconds < 1e9, "--seconds must be from 0 to 1e9, found {}", flags.seconds);
  fbt::check(flags.updates >= 0, "--updates must be at least 0, found {}", flags.updates);
  fbt::check(flags.updates > 0 || flags.seconds > 0, "give a limit: --seconds or --updates above 0");
  fbt::check(flags.out.empty() || !std::filesystem::exists(std::filesystem::path(flags.out) / "model.safetensors"),
             "{}: the folder already holds model.safetensors; choose another --out folder", flags.out);
}

inline LearnerOptions learner_options(const TrainFlags& flags) {
  return {flags.recipe.segment, flags.rule != Rule::none, flags.clip, {flags.recipe.discount, flags.trace, flags.value}};
}

/// Trains a model, reports, and evaluates it at the end.
template <class Model>
class Training {
 public:
  /// clock: since the program began.
  Training(const TrainFlags& flags, Model& model, const Stopwatch& clock)
      : flags_(flags),
        model_(model),
        lanes_(environment_maker(flags.task, flags.recipe.length, Lengths::training), flags.recipe.lanes,
               fbt::mix_seed(flags.seed, 1)),
        learner_(model, lanes_, learner_options(flags)),
        budget_({flags.updates, flags.seconds}, 0, clock, 0),
        schedule_{flags.recipe.learning_rate, flags.warmup, 0.05} {
    schedule_.validate();
  }

  /// Returns the exit code of the program.
  int run() {
    print_now("{} by {}: {} parameters\n", fbt::name_of(flags_.task), fbt::name_of(flags_.rule),
              fbt::count_parameters(model_));
    const fbt::Index frames = lanes_.count() * flags_.recipe.segment;
    // what the results cost, acting alone: as if every episode had all its steps
    budget_.expect_evaluation(static_cast<double>(flags_.episodes * flags_.recipe.length), static_cast<double>(frames));
    double progress = 0;
    while (progress < 1 && !interrupt_.requested()) {
      const Stopwatch watch;
      const ActorCriticLoss loss =
          learner_.update(schedule_.rate(learner_.updates(), progress), flags_.recipe.entropy * (1 - progress));
      budget_.spent_on_update(watch.seconds());
      unreported_.add(loss, frames, watch.seconds());
      for (const Episode& episode : lanes_.take_ended()) ended_.push_back(episode);
      progress = budget_.progress(learner_.updates());
      const double now = budget_.elapsed();
      if (progress >= 1 || now >= reported_at_ + std::clamp(now / 30, 1.0, 30.0)) report();
    }
    return finish(progress < 1) ? 0 : interrupt_.exit_code();
  }

 private:
  std::filesystem::path path(const char* name) const { return std::filesystem::path(flags_.out) / name; }

  void save() const {
    if (!flags_.out.empty())
      fbt::save_model(path("model.safetensors"), model_, write_origin({flags_.task, flags_.rule, flags_.recipe.length}),
                      fbt::Probe::store);
  }

  void report() {
    frames_ += unreported_.frames;
    if (!ended_.empty()) recent_ = Results(ended_);
    const double n = static_cast<double>(unreported_.updates);
    const double entropy = unreported_.loss.entropy / n, value_loss = unreported_.loss.value / n;
    const double speed = static_cast<double>(unreported_.frames) / unreported_.seconds;
    // a number that is not finite becomes null: there are no means before an episode has ended
    write({{"update", learner_.updates()},
           {"frames", frames_},
           {"seconds", budget_.elapsed()},
           {"return", recent_.reward},
           {"success", recent_.success},
           {"places", recent_.places},
           {"entropy", entropy},
           {"value_loss", value_loss},
           {"frames_per_second", speed}});
    save();
    const std::string means = recent_.episodes == 0 ? "no episode has ended"
                                                    : fmt::format("return {:6.3f}  success {:6.2f}%  places {:5.2f}",
                                                                  recent_.reward, 100 * recent_.success, recent_.places);
    print_now("update {:6}  frames {:9}  {}  entropy {:.3f}  value loss {:.4f}  {:6.0f} frames/s  {:4.0f} s\n",
              learner_.updates(), frames_, means, entropy, value_loss, speed, budget_.elapsed());
    unreported_ = {};
    ended_.clear();
    reported_at_ = budget_.elapsed();
  }

  /// Returns whether the results are there, too.
  bool finish(bool interrupted) {
    save();
    nlohmann::ordered_json last{{"task", fbt::name_of(flags_.task)},
                                {"rule", fbt::name_of(flags_.rule)},
                                {"length", flags_.recipe.length},
                                {"seed", flags_.seed},
                                {"parameters", fbt::count_parameters(model_)},
                                {"update", learner_.updates()},
                                {"frames", frames_ + unreported_.frames},
                                {"seconds", budget_.elapsed()}};
    std::optional<Results> found;
    try {
      if (!interrupted)
        found = evaluate(model_, environment_maker(flags_.task, flags_.recipe.length, Lengths::even), flags_.episodes,
                         fbt::mix_seed(flags_.seed, 2), flags_.rule != Rule::none, Choice::draw, &interrupt_);
    } catch (const Interrupted&) {
    }
    if (!found) {
      last["interrupted"] = true;
      write(last);
      print_now("interrupted at update {}\n", learner_.updates());
      return false;
    }
    const Results& results = *found;
    last["evaluation"] = to_json(results);
    write(last);
    print_now("{} by {}: return {:.3f}, success {:.2f}%, places found {:.2f} in {} fresh episodes\n",
              fbt::name_of(flags_.task), fbt::name_of(flags_.rule), results.reward, 100 * results.success, results.places,
              results.episodes);
    return true;
  }

  void write(const nlohmann::ordered_json& line) {
    metrics_ += line.dump() + '\n';
    if (!flags_.out.empty()) fbt::write_atomically(path("metrics.jsonl"), {metrics_});
  }

  /// Sums since the last report.
  struct Unreported {
    fbt::Index updates = 0, frames = 0;
    double seconds = 0;
    ActorCriticLoss loss;

    void add(const ActorCriticLoss& one, fbt::Index more, double spent) {
      ++updates;
      frames += more;
      seconds += spent;
      loss.entropy += one.entropy;
      loss.value += one.value;
    }
  };

  const TrainFlags& flags_;
  Model& model_;
  Lanes lanes_;
  Learner<Model> learner_;
  Budget budget_;
  fbt::Schedule schedule_;
  Interrupt interrupt_{"stopping after this update; what is learned is saved, if there is an --out\n"};
  std::string metrics_;
  Unreported unreported_;
  std::vector<Episode> ended_;  // since the last report
  Results recent_{{}};          // of the last report in which one had ended
  fbt::Index frames_ = 0;
  double reported_at_ = 0;
};

/// command: which flags were given. clock: since the program began. Returns the exit code of the program.
inline int train(TrainFlags flags, const CLI::App& command, const Stopwatch& clock) {
  const Recipe defaults = recipe(flags.task);
  visit_recipe(
      [&](const char* name, const char*, auto& value, const auto& by_task) {
        if (command.count(fmt::format("--{}", name)) == 0) value = by_task;
      },
      flags.recipe, defaults);
  if (flags.rule == Rule::lstm) refuse_flags(command, {"heads", "window"}, "with --rule lstm, which has no attention");
  if (flags.rule == Rule::none) {
    refuse_flags(command, {"heads", "window"}, "with --rule none, whose memory is always empty");
    flags.sizes.heads = flags.sizes.window = 1;
  }
  std::optional<fbt::FolderLock> lock;
  if (!flags.out.empty()) lock.emplace(flags.out);
  check_flags(flags);
  const auto environment = environment_maker(flags.task, flags.recipe.length, Lengths::training)();
  int code = 0;
  with_new_model(flags.rule, flags.sizes, *environment, fbt::mix_seed(flags.seed, 0),
                 [&](auto& model) { code = Training(flags, model, clock).run(); });
  return code;
}

}  // namespace example::agent
