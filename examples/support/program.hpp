// What all example programs with commands and flags have in common.
#pragma once

#include "support/messages.hpp"
#include "support/run.hpp"

#include "fbt/version.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <stdexcept>
#include <utility>

namespace example {

/// An app whose flags may be given again: the last one counts.
inline void prepare(CLI::App& app) {
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", fmt::format("fbt {}.{}.{}", FBT_VERSION_MAJOR, FBT_VERSION_MINOR, FBT_VERSION_PATCH));
}

/// Reads the flags, calls f, and returns the exit code: f's, 0 after --help, or 1 after an error, which is printed.
/// run_all(g): calls g so, in the place of run().
template <class F, class Run>
int run(CLI::App& app, int argc, char** argv, F&& f, Run&& run_all) {
  return run_all([&] {
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& help) {
      return app.exit(help);
    } catch (const CLI::ParseError& error) {
      throw std::runtime_error(fmt::format("{}\nsee {} --help", describe(app, error), argv[0]));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(with_flags(app, error.what()));
    }
    return f();
  });
}
template <class F>
int run(CLI::App& app, int argc, char** argv, F&& f) {
  return run(app, argc, argv, std::forward<F>(f), [](auto&& all) { return run(all); });
}

}  // namespace example
