// `evaluate`: what an agent reaches in fresh episodes.
#pragma once

#include "agent/actor_critic.hpp"
#include "agent/lanes.hpp"
#include "agent/learner.hpp"
#include "agent/rule.hpp"
#include "support/flags.hpp"
#include "support/interrupt.hpp"
#include "support/path_flag.hpp"
#include "support/stopwatch.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace example::agent {

/// Means over episodes.
struct Results {
  fbt::Index episodes = 0, frames = 0;
  double reward = 0, success = 0, places = 0;

  /// Means of no episodes are not numbers.
  explicit Results(std::span<const Episode> all) : episodes(static_cast<fbt::Index>(all.size())) {
    for (const Episode& episode : all) {
      frames += episode.steps;
      reward += episode.reward;
      success += episode.succeeded;
      places += static_cast<double>(episode.places);
    }
    for (double* const sum : {&reward, &success, &places}) *sum /= static_cast<double>(episodes);
  }
};

inline nlohmann::ordered_json to_json(const Results& r) {
  return {
      {"episodes", r.episodes}, {"return", r.reward}, {"success", r.success}, {"places", r.places}, {"frames", r.frames}};
}

/// How an action is chosen.
enum class Choice { draw, best };

/// Acts in so many episodes with random numbers from the seed. They do not depend on how many are acted in side by side.
/// Throws Interrupted when interrupt is not null and the user wants to stop.
template <class Model>
Results evaluate(const Model& model, const EnvironmentMaker& make, fbt::Index episodes, std::uint64_t seed, bool remembers,
                 Choice choice, const Interrupt* interrupt = nullptr) {
  Lanes lanes(make, std::min<fbt::Index>(episodes, 64), seed);
  auto stepper = model.start(lanes.count());
  const std::vector<std::uint8_t> all(static_cast<std::size_t>(lanes.count()), 1);
  std::vector<Episode> ended;
  while (static_cast<fbt::Index>(ended.size()) < episodes) {
    if (interrupt) interrupt->check();
    forget(stepper, remembers ? lanes.starts() : all);
    const auto& outputs = model.step(lanes.seen(), stepper);
    for (fbt::Index b = 0; b < lanes.count(); ++b) {
      const auto logits = outputs.col(b).head(outputs.rows() - 1);
      lanes.act(b, choice == Choice::best ? best_action(logits) : draw_action(logits, lanes.random(b)));
    }
    for (const Episode& episode : lanes.take_ended())
      if (episode.number < episodes) ended.push_back(episode);  // not those that are short and so come early
  }
  std::ranges::sort(ended, {}, &Episode::number);
  return Results(ended);
}

struct EvaluateFlags {
  std::string model;
  fbt::Index episodes = 1000, length = 0;
  std::uint64_t seed = 7;
  bool best = false, json = false;
};

inline void add_evaluate_flags(CLI::App& command, EvaluateFlags& flags) {
  add_path_flag(command, "model", flags.model, "model file that train wrote")->required()->default_str("");
  add_flag(command, "episodes", flags.episodes, "number of fresh episodes");
  add_flag(command, "length", flags.length, "cells of every corridor, steps of an episode")
      ->default_str("as in training: corridors of all lengths up to that of training");
  add_flag(command, "seed", flags.seed, "for the episodes and the actions");
  add_flag(command, "best", flags.best, "always the most probable action; else actions are drawn, as in training");
  add_flag(command, "json", flags.json, "a line of JSON");
}

/// The environments that the flag --length of a command asks for, of a model.
inline EnvironmentMaker chosen_environment(const CLI::App& command, fbt::Index length, const Origin& origin) {
  if (command.count("--length") > 0) return environment_maker(origin.task, length, Lengths::longest);
  return environment_maker(origin.task, origin.length, Lengths::even);
}

inline void evaluate(const EvaluateFlags& flags, const CLI::App& command) {
  fbt::check(flags.episodes >= 1 && flags.episodes <= 1'000'000, "--episodes must be from 1 to 1000000, found {}",
             flags.episodes);
  with_model_file(flags.model, [&](const auto& model, const Origin& origin) {
    const Stopwatch watch;
    const Results results = evaluate(model, chosen_environment(command, flags.length, origin), flags.episodes, flags.seed,
                                     origin.rule != Rule::none, flags.best ? Choice::best : Choice::draw);
    if (flags.json) {
      nlohmann::ordered_json line{{"task", fbt::name_of(origin.task)}, {"rule", fbt::name_of(origin.rule)}};
      line.update(to_json(results));
      line["seconds"] = watch.seconds();
      fmt::print("{}\n", line.dump());
    } else {
      fmt::print("{} by {}, {} episodes: return {:.3f}, success {:.2f}%, places found {:.2f}, {:.1f} steps\n",
                 fbt::name_of(origin.task), fbt::name_of(origin.rule), results.episodes, results.reward,
                 100 * results.success, results.places,
                 static_cast<double>(results.frames) / static_cast<double>(results.episodes));
    }
  });
}

}  // namespace example::agent
