// Command-line flags for the paths of files and folders.
#pragma once

#include "support/flags.hpp"

#include <CLI/CLI.hpp>

#include <string>

namespace example {

/// Of CLI11: what is wrong with a path.
inline std::string refuse_empty_path(const std::string& text) {
  return text.empty() ? "expected a path, found an empty one" : "";
}

/// Adds the flag "--name" for a path, or for several. An empty one is refused, which a file or folder cannot have: a variable
/// of a script that was not set, say.
template <class Path>
CLI::Option* add_path_flag(CLI::App& command, const std::string& name, Path& path, const std::string& help) {
  return add_flag(command, name, path, help)->check(refuse_empty_path, "");
}

}  // namespace example
