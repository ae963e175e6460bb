// The folder of a training: what its files hold when it goes on, and that there are none when it begins.
#pragma once

#include "support/budget.hpp"
#include "support/stored_flags.hpp"
#include "support/training_run.hpp"

#include "fbt/core/check.hpp"
#include "fbt/io/safetensors.hpp"

#include <CLI/CLI.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace example {

/// What a training file holds beside what fbt::load_training() reads.
struct StoredTraining {
  fbt::Metadata metadata;
  nlohmann::ordered_json flags;
  Standing standing;
};

namespace detail {

/// Throws when the file is none, or not one of this program.
inline StoredTraining read_stored_training(const std::filesystem::path& path) {
  StoredTraining stored{fbt::TensorFile::read(path).metadata(), {}, {}};
  const fbt::Metadata& metadata = stored.metadata;
  fbt::ensure(metadata.contains("flags") && metadata.contains("standing") && metadata.contains("fbt.training.config"),
              "{}: expected a training of this program, found another file", path.string());
  stored.flags = nlohmann::ordered_json::parse(metadata.at("flags"));
  const auto standing = nlohmann::json::parse(metadata.at("standing"));
  visit_standing(
      [&]<class T>(const char* name, T& value) {
        if (standing.contains(name) && !standing.at(name).is_null())  // else older
          value = read_stored<T>(standing, name, path.string());
      },
      stored.standing);
  return stored;
}

}  // namespace detail

/// With flags.resume what the folder flags.out holds: flags that were not given are then as they were, and flags.config is
/// what read(metadata, file name) returns. Otherwise nothing. Throws when the folder is not as it has to be.
template <class Flags, class Read>
std::optional<StoredTraining> open_training(Flags& flags, const CLI::App& command, const Read& read) {
  const std::filesystem::path folder = flags.out;
  if (!flags.resume) {
    for (const char* name : {"model.safetensors", "training.safetensors"})
      fbt::check(!std::filesystem::exists(folder / name),
                 "{}: the folder already holds {}; add --resume to go on with it, "
                 "or choose another --out folder",
                 flags.out, name);
    return std::nullopt;
  }
  const std::filesystem::path file = folder / "training.safetensors";
  try {
    StoredTraining stored = detail::read_stored_training(file);
    auto config = read(stored.metadata, file.string());
    Flags begun = flags;  // what is newer than the file is as its config has it
    begun.config = config;
    nlohmann::ordered_json all = write_flags(training_flags(begun));
    all.update(stored.flags);
    merge_flags(training_flags(flags), all, command, file.string() + " was begun with", "choose another --out folder");
    flags.config = std::move(config);
    return stored;
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(fmt::format("{}: expected a training of this program: {}", file.string(), error.what()));
  }
}

/// Where the training begins or goes on, under the limits of this run. Throws std::invalid_argument when there is nothing to
/// do.
template <class Flags>
Standing choose_standing(const Flags& flags, const std::optional<StoredTraining>& stored, const CLI::App& command) {
  fbt::check(flags.seconds >= 0 && flags.seconds < 1e9, "--seconds must be from 0 to 1e9, found {}", flags.seconds);
  const Limits given{flags.updates, flags.seconds};
  const bool limited = given.updates > 0 || given.seconds > 0;
  fbt::check(limited || command.count("--seconds") == 0, "give a limit: --seconds or --updates above 0");
  Standing standing = stored ? stored->standing : Standing{};
  if (stored) {
    standing.limits = go_on(given, standing.limits, standing.elapsed, standing.ended(), flags.out);
  } else {
    standing.limits = limited ? given : Limits{0, 60};
  }
  return standing;
}

}  // namespace example
