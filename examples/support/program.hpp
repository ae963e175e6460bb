// What all example programs with commands and flags have in common.
#pragma once

#include "fbt/version.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <new>

namespace example {

/// An app whose flags may be given again: the last one counts.
inline void prepare(CLI::App& app) {
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", fmt::format("fbt {}.{}.{}", FBT_VERSION_MAJOR, FBT_VERSION_MINOR, FBT_VERSION_PATCH));
}

/// Reads the flags, calls f, and returns the exit code: f's, 0 after --help, or 1 after an error, which is printed.
template <class F>
int run(CLI::App& app, int argc, char** argv, F&& f) {
  try {
    app.parse(argc, argv);
    return f();
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "error: {}\nsee {} --help\n", error.what(), argv[0]);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "error: not enough memory\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "error: {}\n", error.what());
  }
  return 1;
}

}  // namespace example
