// Flags that are stored with a training, and compared when it goes on. A list of flags is a function visit(f) that calls
// f(name, field, on_resume, ...) for each.
#pragma once

#include "support/flags.hpp"

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"
#include "fbt/models/config.hpp"

#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <type_traits>

namespace example {

/// Whether a flag may have another value when a training goes on.
enum class OnResume { keep, may_change };

/// A flag's value as JSON.
template <class T>
auto stored_value(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(fbt::name_of(value));
  } else if constexpr (requires { value.text(); }) {
    return value.text();
  } else {
    return value;
  }
}

namespace detail {

/// stored_value(), backwards. Throws std::invalid_argument that begins with `what`.
template <class T, class Plain>
T from_plain(const Plain& value, std::string_view what) {
  if constexpr (std::is_enum_v<T>) {
    return fbt::from_name<T>(value, what);
  } else if constexpr (requires { T::read(value, what); }) {
    return T::read(value, what);
  } else {
    return value;
  }
}

}  // namespace detail

/// The list of flags that visit_flags(f, flags) goes through.
template <class Flags>
auto training_flags(Flags& flags) {
  return [&flags](const auto& f) { visit_flags(f, flags); };
}

/// A flag that has no effect, the flag whose value makes it vain, and when that is, for messages.
struct VainFlag {
  const char *name, *cause, *where;
};

/// Whether the flag is of a --config file, and what makes it vain was given beside that.
template <class Flags>
bool is_overruled(const VainFlag& flag, const Flags& flags, const CLI::App& command) {
  return flags.from_file.contains(flag.name) && !flags.from_file.contains(flag.cause) &&
         command.count(fmt::format("--{}", flag.cause)) > 0;
}

/// Throws std::invalid_argument when a flag was given that has no effect by vain_flags(flags), and is not overruled.
template <class Flags>
void refuse_vain_flags(const Flags& flags, const CLI::App& command) {
  for (const VainFlag& flag : vain_flags(flags))
    if (!is_overruled(flag, flags, command)) refuse_flags(command, {flag.name}, flag.where);
}

/// The only flag that another one makes wrong, not only vain: the layer that is remembered under another rule.
template <class Flags>
void drop_overruled_layer(const Flags& flags, fbt::Config& config, const CLI::App& command) {
  for (const VainFlag& flag : vain_flags(flags))
    if (flag.name == std::string_view("memory-layer") && is_overruled(flag, flags, command)) config.memory_layer = 0;
}

template <class Visit>
nlohmann::ordered_json write_flags(const Visit& visit) {
  nlohmann::ordered_json json;
  visit([&](const char* name, const auto& value, const auto&...) { json[name] = stored_value(value); });
  return json;
}

/// The same as a text. What is not UTF-8, such as a path may have, is replaced.
template <class Visit>
std::string dump_flags(const Visit& visit) {
  return write_flags(visit).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

/// Sets the flags that were not given to stored ones. Throws std::invalid_argument when one that was given contradicts them
/// and may not; origin names them, for messages such as "--width: ORIGIN 8, found 16; leave the flag out, or OTHERWISE".
template <class Visit>
void merge_flags(const Visit& visit, const nlohmann::ordered_json& stored, const CLI::App& command, std::string_view origin,
                 std::string_view otherwise) {
  visit([&]<class T>(const char* name, T& value, OnResume on_resume, const auto&...) {
    if (!stored.contains(name)) return;  // newer than the file
    const std::string flag = fmt::format("--{}", name);
    const auto old =
        detail::from_plain<T>(stored.at(name).get<decltype(stored_value(value))>(), fmt::format("{} {}", origin, flag));
    if (command.count(flag) == 0) {
      value = old;
    } else if (on_resume == OnResume::keep) {
      const auto shown = [](const auto& any) {
        const std::string text = fmt::format("{}", stored_value(any));
        return text.empty() ? "none" : text;
      };
      fbt::check(value == old, "{}: {} {}, found {}; leave the flag out, or {}", flag, origin, shown(old), shown(value),
                 otherwise);
    }
  });
}

/// A part of where a stored training stands. Throws std::runtime_error for a number that is negative or beyond reason; file is
/// for the message.
template <class T>
T read_stored(const nlohmann::json& standing, const char* name, std::string_view file) {
  const T value = standing.at(name).get<T>();
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
    fbt::ensure(value >= T{0} && static_cast<double>(value) <= 1e15, "{}: {}: expected a number from 0 to 1e15, found {}",
                file, name, value);
  return value;
}

}  // namespace example
