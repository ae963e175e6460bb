// Errors at the borders of the library: they name the thing, what was expected and what was found.
#pragma once

#include <fmt/format.h>

#include <bit>
#include <cstdint>
#include <stdexcept>
#include <utility>

static_assert(FMT_VERSION >= 90000, "fbt needs fmt 9 or newer");

namespace fbt {

/// Throws std::invalid_argument with the formatted message unless the condition holds: the caller passed something wrong.
template <class... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) throw std::invalid_argument(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws std::runtime_error with the formatted message unless the condition holds: a file or a computation went wrong.
template <class... Args>
void ensure(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) throw std::runtime_error(fmt::format(format, std::forward<Args>(args)...));
}

/// Whether a number is neither infinite nor not a number: by its bits, which a compiler that takes all numbers for finite
/// (-fno-honor-nans, say) looks at all the same.
inline bool is_finite(double x) {
  constexpr std::uint64_t exponent = 0x7ff0'0000'0000'0000;
  return (std::bit_cast<std::uint64_t>(x) & exponent) != exponent;
}
/// Whether it is not a number, in the same way.
inline bool is_nan(double x) { return !is_finite(x) && (std::bit_cast<std::uint64_t>(x) << 12) != 0; }

}  // namespace fbt
