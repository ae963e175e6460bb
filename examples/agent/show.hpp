// `show`: what an agent does, step by step: frames for people to look at, or a line per step, and a picture of its paths.
#pragma once

#include "agent/actor_critic.hpp"
#include "agent/evaluate.hpp"
#include "agent/paths.hpp"
#include "agent/rule.hpp"
#include "support/flags.hpp"
#include "support/path_flag.hpp"
#include "support/run.hpp"

#include "fbt/io/atomic_file.hpp"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace example::agent {

struct ShowFlags {
  std::string model, task, out;
  fbt::Index count = 3, length = 0;
  std::uint64_t seed = 7;
  double delay = 0.1;
  bool plain = false, best = false;
};

inline void add_show_flags(CLI::App& command, ShowFlags& flags) {
  add_path_flag(command, "model", flags.model, "model file that train wrote")->required()->default_str("");
  add_flag(command, "task", flags.task, "the task that the model has learned, if it is to be checked");
  add_flag(command, "count", flags.count, "number of episodes: the first that evaluate has with this seed");
  add_flag(command, "length", flags.length, "cells of every corridor, steps of an episode")
      ->default_str("as in training: corridors of all lengths up to that of training");
  add_flag(command, "seed", flags.seed, "for the episodes and the actions");
  add_path_flag(command, "out", flags.out, "picture of the paths to write");
  add_flag(command, "delay", flags.delay, "seconds for every frame, in a terminal");
  add_flag(command, "plain", flags.plain, "a line per step in place of frames");
  add_flag(command, "best", flags.best, "always the most probable action; else actions are drawn, as in training");
}

/// What an agent did in one step, and why.
struct Moment {
  fbt::Index step = 0, action = 0;
  double probability = 0;  ///< that it did so
  double value = 0;        ///< what it expected before
  Outcome outcome;
};

/// Acts in the first episode of an environment, and calls f(moment) after every action. Returns what became of it.
template <class Model, class F>
Episode play(const Model& model, Environment& environment, fbt::Random random, bool remembers, Choice choice, F&& f) {
  auto stepper = model.start(1);
  fbt::Matrix<float> seen(environment.inputs(), 1);
  Episode episode;
  Moment moment;
  do {
    seen.setZero();
    environment.observe(seen.col(0));
    if (!remembers) stepper.memory.clear();
    const auto& outputs = model.step(seen, stepper);
    const fbt::Index actions = outputs.rows() - 1;
    const auto logits = outputs.col(0).head(actions).array();
    moment.action = choice == Choice::best ? best_action(outputs.col(0).head(actions))
                                           : draw_action(outputs.col(0).head(actions), random);
    moment.probability = 1 / static_cast<double>((logits - logits(moment.action)).exp().sum());
    moment.value = static_cast<double>(outputs(actions, 0));
    moment.outcome = environment.act(moment.action, random);
    ++moment.step;
    episode.reward += moment.outcome.reward;
    f(moment);
  } while (!moment.outcome.ended);
  episode.steps = moment.step;
  episode.succeeded = environment.succeeded();
  episode.places = environment.places();
  return episode;
}

/// A frame for a terminal: of a wide map the part around the agent.
inline std::string frame(const std::vector<std::string>& map) {
  constexpr fbt::Index widest = 78;
  const auto first = static_cast<std::size_t>(std::max<fbt::Index>(0, find_agent(map).column - widest / 2));
  std::string text;
  for (const std::string& row : map) text += row.substr(std::min(first, row.size()), widest) + '\n';
  return text;
}

inline void show(const ShowFlags& flags, const CLI::App& command) {
  fbt::check(flags.count >= 1 && flags.count <= 1000, "--count must be from 1 to 1000, found {}", flags.count);
  fbt::check(flags.delay >= 0 && flags.delay <= 60, "--delay must be from 0 to 60, found {}", flags.delay);
  if (flags.plain) refuse_flags(command, {"delay"}, "with --plain, which has no frames");
  const bool has_task = command.count("--task") > 0;
  if (has_task) fbt::from_name<Task>(flags.task, "--task");
  with_model_file(flags.model, [&](const auto& model, const Origin& origin) {
    fbt::ensure(!has_task || flags.task == fbt::name_of(origin.task), "{}: expected a model of the task {}, found one of {}",
                flags.model, flags.task, fbt::name_of(origin.task));
    const auto environment = chosen_environment(command, flags.length, origin)();
    const std::vector<std::string> names = environment->actions();
    const bool terminal = !flags.plain && isatty(STDOUT_FILENO) == 1;
    Paths paths;
    for (fbt::Index number = 0; number < flags.count; ++number) {
      fbt::Random random = episode_random(flags.seed, number);
      environment->begin(random);
      if (!flags.out.empty()) paths.begin(environment->map());
      const auto describe = [&](const Moment& moment) {
        if (!flags.out.empty()) paths.add(environment->map());
        if (terminal) fmt::print("\x1b[H\x1b[J");
        fmt::print("episode {}  step {:3}  {:7}  probability {:.3f}  value {:6.3f}  reward {:4.1f}  places {}\n", number + 1,
                   moment.step, names[static_cast<std::size_t>(moment.action)], moment.probability, moment.value,
                   moment.outcome.reward, environment->places());
        if (!flags.plain) fmt::print("{}\n", frame(environment->map()));
        flush_output();
        if (terminal) std::this_thread::sleep_for(std::chrono::duration<double>(flags.delay));
      };
      const Episode episode =
          play(model, *environment, random, origin.rule != Rule::none, flags.best ? Choice::best : Choice::draw, describe);
      const std::string result =
          fmt::format("episode {}: {}, return {:.2f}, {} places, {} steps", number + 1,
                      episode.succeeded ? "success" : "no success", episode.reward, episode.places, episode.steps);
      fmt::print("{}\n", result);
      if (!flags.out.empty()) paths.end(result);
    }
    if (flags.out.empty()) return;
    fbt::write_atomically(flags.out, {paths.svg()});
    fmt::print("the paths are in {}\n", flags.out);
  });
}

}  // namespace example::agent
