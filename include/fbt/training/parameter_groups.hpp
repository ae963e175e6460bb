// Parameter groups: rate, decay and freezing of the parameters whose names fit a pattern, as in "blocks.*.norm*" (the
// param_groups of a PyTorch optimiser, found by name).
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/visit.hpp"

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fbt {

struct ParameterGroup {
  std::string pattern = {};                 ///< of dotted names; * stands for any characters, dots among them
  double rate = 1;                          ///< factor of the learning rate
  std::optional<double> weight_decay = {};  ///< in the place of the optimiser's; applies to vectors, too
  bool frozen = false;                      ///< these parameters are not updated
};

/// Whether a name fits a pattern.
inline bool fits(std::string_view name, std::string_view pattern) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() == '*') return fits(name, pattern.substr(1)) || (!name.empty() && fits(name.substr(1), pattern));
  return !name.empty() && name.front() == pattern.front() && fits(name.substr(1), pattern.substr(1));
}

/// For every parameter, in the order of visit(), the first group that its name fits; null where there is none. Throws
/// std::invalid_argument for a number out of range, and for a group that no parameter is in, which lists the names.
template <class Model>
std::vector<const ParameterGroup*> assign_groups(const Model& model, const std::vector<ParameterGroup>& groups) {
  std::vector<const ParameterGroup*> assigned;
  std::vector<bool> used(groups.size(), false);
  std::string names;
  visit(
      [&](std::string_view name, const auto&) {
        names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
        assigned.push_back(nullptr);
        for (std::size_t g = 0; g < groups.size(); ++g) {
          if (!fits(name, groups[g].pattern)) continue;
          used[g] = true;
          if (!assigned.back()) assigned.back() = &groups[g];
        }
      },
      model);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const ParameterGroup& group = groups[g];
    check(group.rate >= 0 && is_finite(group.rate),
          "parameter group {:?}: the factor of the rate must be at least 0, found {}", group.pattern, group.rate);
    check(!group.weight_decay || (*group.weight_decay >= 0 && is_finite(*group.weight_decay)),
          "parameter group {:?}: weight decay must be at least 0, found {}", group.pattern, group.weight_decay.value_or(0));
    check(used[g], "parameter group {:?}: expected a pattern that a parameter's name fits, found none among {}",
          group.pattern, names);
  }
  return assigned;
}

}  // namespace fbt
