// `train`: learns a task, and writes to a folder
//   model.safetensors   the model, with its task and the task's length
//   metrics.jsonl       a line per report, the last one with the results in fresh episodes
#pragma once

#include "agent/evaluate.hpp"
#include "agent/learner.hpp"
#include "agent/rule.hpp"
#include "support/budget.hpp"
#include "support/flags.hpp"
#include "support/interrupt.hpp"
#include "support/stopwatch.hpp"

#include "fbt/io/atomic_file.hpp"
#include "fbt/io/model_file.hpp"
#include "fbt/training/schedule.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

namespace example::agent {

struct TrainFlags {
  Task task = Task::t_maze;
  Rule rule = Rule::feedback;
  fbt::Index length = 0;
  std::string out;
  ModelSizes sizes;
  fbt::Index lanes = 32;
  LearnerOptions learner;
  double learning_rate = 3e-3, entropy = 0.02;
  fbt::Index warmup = 20, episodes = 1000;
  double seconds = 60;
  std::int64_t updates = 0;
  std::uint64_t seed = 1;
};

inline void add_train_flags(CLI::App& command, TrainFlags& flags) {
  add_flag(command, "task", flags.task, "what to learn")->required()->default_str("");
  add_flag(command, "rule", flags.rule, "which model learns it; none: one without a memory");
  add_flag(command, "length", flags.length,
           "cells of the longest corridor of t_maze, 60 by default, and there are all from 2 up; steps of an episode of the "
           "other tasks, 200 by default")
      ->default_str("by task");
  add_flag(command, "out", flags.out, "folder to write to; none: write nothing");
  add_flag(command, "width", flags.sizes.width, "size of a layer's output");
  add_flag(command, "layers", flags.sizes.layers, "number of layers");
  add_flag(command, "heads", flags.sizes.heads, "attention heads per layer");
  add_flag(command, "window", flags.sizes.window, "how many past steps a step sees");
  add_flag(command, "lanes", flags.lanes, "environments that are acted in side by side");
  add_flag(command, "segment", flags.learner.segment, "steps of a lane between two updates");
  add_flag(command, "learning-rate", flags.learning_rate, "peak of the schedule");
  add_flag(command, "warmup", flags.warmup, "updates until the learning rate is at its peak");
  add_flag(command, "entropy", flags.entropy, "weight of the actions' entropy at first; it falls to 0 over the training");
  add_flag(command, "discount", flags.learner.actor_critic.discount, "gamma: what a reward one step later is worth");
  add_flag(command, "trace", flags.learner.actor_critic.trace, "lambda of the generalised advantage estimation");
  add_flag(command, "value", flags.learner.actor_critic.value, "weight of the value's loss");
  add_flag(command, "clip", flags.learner.clip, "largest norm of the gradient; 0: no limit");
  add_flag(command, "episodes", flags.episodes, "fresh episodes for the results");
  add_flag(command, "seconds", flags.seconds, "end after so many seconds, results included; 0: no limit");
  add_flag(command, "updates", flags.updates, "end after so many updates; 0: no limit");
  add_flag(command, "seed", flags.seed, "for the episodes, the actions and the initial parameters");
}

inline void check_flags(const TrainFlags& flags) {
  const auto share = [](const char* name, double value) {
    fbt::check(value >= 0 && value <= 1, "--{} must be from 0 to 1, found {}", name, value);
  };
  const auto weight = [](const char* name, double value) {
    fbt::check(value >= 0 && std::isfinite(value), "--{} must be at least 0 and finite, found {}", name, value);
  };
  share("discount", flags.learner.actor_critic.discount);
  share("trace", flags.learner.actor_critic.trace);
  weight("value", flags.learner.actor_critic.value);
  weight("entropy", flags.entropy);
  weight("clip", flags.learner.clip);
  fbt::check(flags.episodes >= 1 && flags.episodes <= 1'000'000, "--episodes must be from 1 to 1000000, found {}",
             flags.episodes);
  fbt::check(flags.seconds >= 0 && flags.seconds < 1e9, "--seconds must be from 0 to 1e9, found {}", flags.seconds);
  fbt::check(flags.updates >= 0, "--updates must be at least 0, found {}", flags.updates);
  fbt::check(flags.updates > 0 || flags.seconds > 0, "give a limit: --seconds or --updates above 0");
  fbt::check(flags.out.empty() || !std::filesystem::exists(std::filesystem::path(flags.out) / "model.safetensors"),
             "{}: the folder already holds model.safetensors; choose another --out folder", flags.out);
}

/// Trains a model, reports, and evaluates it at the end.
template <class Model>
class Training {
 public:
  /// clock: since the program began.
  Training(const TrainFlags& flags, const EnvironmentMaker& make, Model& model, const Stopwatch& clock)
      : flags_(flags),
        make_(make),
        model_(model),
        lanes_(make, flags.lanes, fbt::mix_seed(flags.seed, 1)),
        learner_(model, lanes_, flags.learner),
        budget_({flags.updates, flags.seconds}, 0, clock, 0),
        schedule_{flags.learning_rate, flags.warmup, 0.05} {
    schedule_.validate();
  }

  void run() {
    if (!flags_.out.empty()) std::filesystem::create_directories(flags_.out);
    fmt::print("{} by {}: {} parameters\n", fbt::name_of(flags_.task), fbt::name_of(flags_.rule),
               fbt::count_parameters(model_));
    const fbt::Index frames = lanes_.count() * flags_.learner.segment;
    // what the results cost, acting alone: as if every episode had all its steps
    budget_.expect_evaluation(static_cast<double>(flags_.episodes * flags_.length), static_cast<double>(frames));
    double progress = 0;
    while (progress < 1 && !interrupt_.requested()) {
      const Stopwatch watch;
      const ActorCriticLoss loss =
          learner_.update(schedule_.rate(learner_.updates(), progress), flags_.entropy * (1 - progress));
      budget_.spent_on_update(watch.seconds());
      unreported_.add(loss, frames, watch.seconds());
      for (const Episode& episode : lanes_.take_ended()) ended_.push_back(episode);
      progress = budget_.progress(learner_.updates());
      const double now = budget_.elapsed();
      if (progress >= 1 || now >= reported_at_ + std::clamp(now / 30, 1.0, 30.0)) report();
    }
    finish();
  }

 private:
  std::filesystem::path path(const char* name) const { return std::filesystem::path(flags_.out) / name; }

  void save() const {
    if (!flags_.out.empty())
      fbt::save_model(path("model.safetensors"), model_, write_origin({flags_.task, flags_.rule, flags_.length}),
                      fbt::Probe::store);
  }

  void report() {
    frames_ += unreported_.frames;
    const Results results(ended_);
    const double n = static_cast<double>(unreported_.updates),
                 speed = static_cast<double>(unreported_.frames) / unreported_.seconds;
    nlohmann::ordered_json line{{"update", learner_.updates()}, {"frames", frames_}, {"seconds", budget_.elapsed()}};
    for (const auto& [name, mean] :
         {std::pair{"return", results.reward}, {"success", results.success}, {"places", results.places}})
      line[name] = ended_.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(mean);
    line["entropy"] = unreported_.loss.entropy / n;
    line["value_loss"] = unreported_.loss.value / n;
    line["frames_per_second"] = speed;
    write(line);
    save();
    fmt::print(
        "update {:6}  frames {:9}  return {:7.3f}  success {:6.2f}%  places {:5.2f}  entropy {:.3f}  value loss {:.4f}  "
        "{:6.0f} frames/s  {:4.0f} s\n",
        learner_.updates(), frames_, results.reward, 100 * results.success, results.places, unreported_.loss.entropy / n,
        unreported_.loss.value / n, speed, budget_.elapsed());
    std::fflush(stdout);
    unreported_ = {};
    ended_.clear();
    reported_at_ = budget_.elapsed();
  }

  void finish() {
    save();
    const Results results =
        evaluate(model_, make_, flags_.episodes, fbt::mix_seed(flags_.seed, 2), flags_.learner.remembers, Choice::draw);
    nlohmann::ordered_json last{{"task", fbt::name_of(flags_.task)},
                                {"rule", fbt::name_of(flags_.rule)},
                                {"length", flags_.length},
                                {"seed", flags_.seed},
                                {"parameters", fbt::count_parameters(model_)},
                                {"update", learner_.updates()},
                                {"frames", frames_},
                                {"seconds", budget_.elapsed()}};
    last["evaluation"] = to_json(results);
    if (interrupt_.requested()) {
      last["interrupted"] = true;
      fmt::print("interrupted\n");
    }
    write(last);
    fmt::print("{} by {}: return {:.3f}, success {:.2f}%, places found {:.2f} in {} fresh episodes\n",
               fbt::name_of(flags_.task), fbt::name_of(flags_.rule), results.reward, 100 * results.success, results.places,
               results.episodes);
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
  const EnvironmentMaker& make_;
  Model& model_;
  Lanes lanes_;
  Learner<Model> learner_;
  Budget budget_;
  fbt::Schedule schedule_;
  Interrupt interrupt_;
  std::string metrics_;
  Unreported unreported_;
  std::vector<Episode> ended_;  // since the last report
  fbt::Index frames_ = 0;
  double reported_at_ = 0;
};

/// command: which flags were given. clock: since the program began.
inline void train(TrainFlags flags, const CLI::App& command, const Stopwatch& clock) {
  if (command.count("--length") == 0) flags.length = usual_length(flags.task);
  flags.learner.remembers = flags.rule != Rule::none;
  check_flags(flags);
  const EnvironmentMaker make = environment_maker(flags.task, flags.length, Lengths::mixed);
  with_new_model(flags.rule, flags.sizes, *make(), fbt::mix_seed(flags.seed, 0),
                 [&](auto& model) { Training(flags, make, model, clock).run(); });
}

}  // namespace example::agent
