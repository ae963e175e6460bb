// The names of enumerators, for command lines and checkpoints. An enum lists them in a specialisation of fbt::Names.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/models/config.hpp"

#include <string>
#include <string_view>

namespace example {

template <class Enum>
std::string_view name_of(Enum value) {
  for (const auto& [name, enumerator] : fbt::Names<Enum>::list)
    if (enumerator == value) return name;
  return "";
}

/// "relu, gelu, geglu"
template <class Enum>
std::string names_of() {
  std::string names;
  for (const auto& entry : fbt::Names<Enum>::list) names += fmt::format("{}{}", names.empty() ? "" : ", ", entry.first);
  return names;
}

/// Throws std::invalid_argument when there is no enumerator of the name; what is for the message.
template <class Enum>
Enum from_name(std::string_view name, std::string_view what) {
  for (const auto& entry : fbt::Names<Enum>::list)
    if (entry.first == name) return entry.second;
  fbt::check(false, "{}: expected one of {}, found {:?}", what, names_of<Enum>(), name);
  return {};
}

}  // namespace example
