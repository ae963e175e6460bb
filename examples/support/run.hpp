// run: what every program does around its own work, so that it ends with an exit code other than 0 and a line that says why
// when its work, or the writing of what it printed, has failed.
#pragma once

#include "fbt/core/check.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include <fcntl.h>

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

namespace example {

/// Throws std::runtime_error when something that was printed does not reach the standard output.
inline void flush_output() {
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  const std::string reason = errno == 0 ? "an earlier write failed" : std::strerror(errno);
  fbt::ensure(flushed && !std::ferror(stdout), "cannot write to the standard output: {}", reason);
}

/// Prints what is to be seen at once, while the program goes on. Throws as flush_output().
template <class... Args>
void print_now(fmt::format_string<Args...> format, Args&&... args) {
  fmt::print(format, std::forward<Args>(args)...);
  flush_output();
}

/// What an error says to the user.
inline std::string text_of(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) ? "not enough memory" : error.what();
}

namespace detail {

/// A standard stream that is closed gets a file that does not take what is written: or the program's first file would have
/// its number, and what is printed in it. On Windows the streams carry bytes as they are.
inline void prepare_standard_streams() {
#if defined(_WIN32)
  for (const int stream : {0, 1}) ::_setmode(stream, _O_BINARY);
#else
  for (const int stream : {0, 1, 2})
    if (::fcntl(stream, F_GETFD) < 0) static_cast<void>(::open("/dev/null", stream == 1 ? O_RDONLY : O_RDWR));
#endif
}

}  // namespace detail

/// Calls f and returns the exit code: f's, or 1 after an error, which is printed, unless another process does that.
template <class F>
int run(F&& f, bool prints = true) {
  detail::prepare_standard_streams();
  try {
    const int code = f();
    flush_output();
    return code;
  } catch (const std::exception& error) {
    if (prints) std::fputs(fmt::format("error: {}\n", text_of(error)).c_str(), stderr);
    return 1;
  }
}

}  // namespace example
