// Command-line flags, as text and as numbers.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/core/names.hpp"

#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace example {

/// The number that a text is, in decimal: a whole one from 0 up, or any that a double holds. Throws std::invalid_argument
/// otherwise; flag is for the message.
template <class T>
T read_number(const std::string& text, const std::string& flag) {
  if constexpr (std::is_integral_v<T>) {
    T value{};
    const char* const end = text.data() + text.size();
    const auto [last, error] = std::from_chars(text.data(), end, value);
    fbt::check(error == std::errc{} && last == end && value >= T{0}, "{}: expected a whole number from 0 to {}, found {:?}",
               flag, std::numeric_limits<T>::max(), text);
    return value;
  } else {
    static_assert(std::is_same_v<T, double>);
    const bool decimal = text.find_first_not_of("0123456789.eE+-") == text.npos;  // strtod reads more than that
    char* last = nullptr;
    errno = 0;
    const double value = std::strtod(text.c_str(), &last);
    const bool whole = !text.empty() && last == text.c_str() + text.size();
    const bool in_range = std::isfinite(value) && !(value == 0 && errno == ERANGE);
    fbt::check(decimal && whole && in_range, "{}: expected a decimal number, found {:?}", flag, text);
    return value;
  }
}

/// Adds the flag "--name" for a variable; its present value is the default that --help shows. Of a list every value is given
/// with the flag before it.
template <class T>
CLI::Option* add_flag(CLI::App& command, const std::string& name, T& value, const std::string& help) {
  const std::string flag = "--" + name;
  if constexpr (std::is_same_v<T, bool>) {
    return command.add_flag(flag, value, help)->disable_flag_override();  // --flag=3
  } else if constexpr (std::is_enum_v<T>) {
    std::vector<std::string_view> names;
    for (const auto& entry : fbt::Names<T>::list) names.push_back(entry.first);
    const auto read = [&value, flag](const std::string& text) { value = fbt::from_name<T>(text, flag); };
    return command.add_option_function<std::string>(flag, read, help)
        ->type_name(fmt::format("{}", fmt::join(names, "|")))
        ->default_str(std::string(fbt::name_of(value)));
  } else if constexpr (std::is_arithmetic_v<T>) {
    const auto read = [&value, flag](const std::string& text) { value = read_number<T>(text, flag); };
    return command.add_option_function<std::string>(flag, read, help)
        ->type_name(std::is_integral_v<T> ? "INT" : "FLOAT")
        ->default_str(fmt::format("{}", value));
  } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
    return command.add_option(flag, value, help)->allow_extra_args(false);
  } else {
    return command.add_option(flag, value, help)->capture_default_str();
  }
}

/// Of programs that read a model's steps without training it.
inline void add_execution_flags(CLI::App& command, fbt::Execution& execution) {
  add_flag(command, "threads", execution.threads, "most threads to work on; what is found does not depend on it");
  add_flag(command, "weights", execution.weights,
           "full: as in the model; else rounded to 16, 8 or 4 bits, which a step of few sequences reads in less time");
}

/// For the reader of a loss by rounded weights: what it is without rounding.
inline void print_full_loss(double full_nats, double nats, fbt::WeightFormat weights) {
  fmt::print("{:.4f} nats per token by the full weights: weights of {} cost {:+.4f}\n", full_nats, fbt::name_of(weights),
             nats - full_nats);
}

/// Throws std::invalid_argument when one of the flags was given, saying where it has no effect.
inline void refuse_flags(const CLI::App& command, std::initializer_list<std::string_view> names, std::string_view where) {
  for (const std::string_view name : names) {
    const std::string flag = fmt::format("--{}", name);
    fbt::check(command.count(flag) == 0, "{} has no effect {}; leave it out", flag, where);
  }
}

}  // namespace example
