// What a call throws.
#pragma once

#include <exception>
#include <string>

namespace fbt {

/// The message of the Error that f throws; says so when it throws another class, or nothing.
template <class Error, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("[wrong class of exception] ") + error.what();
  }
  return "[nothing was thrown]";
}

}  // namespace fbt
