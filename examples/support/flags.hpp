// Command-line flags, as text and as numbers.
#pragma once

#include "fbt/models/config.hpp"

#include <CLI/CLI.hpp>

#include <string>
#include <type_traits>

namespace example {

/// Adds the flag "--name" for a variable; its present value is the default that --help shows.
template <class T>
CLI::Option* add_flag(CLI::App& command, const std::string& name, T& value, const std::string& help) {
  const std::string flag = "--" + name;
  if constexpr (std::is_enum_v<T>) {
    const auto read = [&value, flag](const std::string& text) { value = fbt::from_name<T>(text, flag); };
    return command.add_option_function<std::string>(flag, read, fmt::format("{}: {}", help, fbt::names_of<T>()))
        ->type_name("NAME")
        ->default_str(std::string(fbt::name_of(value)));
  } else {
    return command.add_option(flag, value, help)->capture_default_str();
  }
}

}  // namespace example
