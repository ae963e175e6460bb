// Names: what the enumerators of an enum are called, in files and messages.
#pragma once

#include "fbt/core/check.hpp"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace fbt {

/// To be specialised for an enum, with a list of pairs of name and enumerator:
///   static constexpr std::array<std::pair<std::string_view, Enum>, 2> list{{{"one", Enum::one}, {"two", Enum::two}}};
template <class Enum>
struct Names;

/// Empty when the list has no such enumerator.
template <class Enum>
std::string_view name_of(Enum value) {
  for (const auto& [name, enumerator] : Names<Enum>::list)
    if (enumerator == value) return name;
  return "";
}

/// A field of a config, for messages.
template <class T>
std::string field_text(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(name_of(value));
  } else {
    return fmt::to_string(value);
  }
}

/// "relu, gelu, geglu", for messages.
template <class Enum>
std::string names_of() {
  std::string names;
  for (const auto& entry : Names<Enum>::list) names += fmt::format("{}{}", names.empty() ? "" : ", ", entry.first);
  return names;
}

/// The enumerator of a name; none when the list has no such name.
template <class Enum>
std::optional<Enum> find_name(std::string_view name) {
  for (const auto& entry : Names<Enum>::list)
    if (entry.first == name) return entry.second;
  return {};
}

/// The enumerator of a name. Throws std::invalid_argument that begins with `what` when there is none.
template <class Enum>
Enum from_name(std::string_view name, std::string_view what) {
  const std::optional<Enum> found = find_name<Enum>(name);
  check(found.has_value(), "{}: expected one of {}, found {:?}", what, names_of<Enum>(), name);
  return *found;
}

}  // namespace fbt
