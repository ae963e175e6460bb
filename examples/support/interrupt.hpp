// Interrupt: turns the signals that ask a program to end (SIGINT, which is Ctrl-C, SIGTERM and SIGHUP) into a question that a
// loop can ask, so that it ends with its work saved. A reader of the standard output that goes away is an error like any
// other.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

namespace example {

/// Thrown where work is left because the user wants to stop.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

class Interrupt {
 public:
  /// notice: what the first signal writes to the standard error stream at once; it has to live as long as the program. Null:
  /// nothing is ever written, since another process does.
  explicit Interrupt(const char* notice) {
    notice_ = notice;
    for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, handle);
#if !defined(_WIN32)
    if (std::signal(SIGHUP, handle) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);  // under nohup
    std::signal(SIGPIPE, SIG_IGN);
#endif
  }

  bool requested() const { return signal_ != 0; }
  /// Throws Interrupted when it is requested.
  void check() const {
    if (requested()) throw Interrupted();
  }
  /// Of a program that a signal has ended, as shells have it.
  int exit_code() const { return 128 + signal_; }

 private:
  static void handle(int signal) {
    const int before = errno;
    count_ = count_ + 1;
    std::signal(signal, count_ < 3 ? handle : SIG_DFL);
    if (signal_ == 0) signal_ = signal;
    if (count_ == 1) write(notice_);
    if (count_ == 2) write("still at it; once more ends the program at once, and what is not saved is lost\n");
    if (count_ == 3) std::raise(signal);
    errno = before;
  }
  static void write(const char* text) {
    if (!notice_) return;
#if defined(_WIN32)
    ::_write(2, text, static_cast<unsigned>(std::strlen(text)));
#else
    [[maybe_unused]] const auto written = ::write(2, text, std::strlen(text));
#endif
  }

  static inline volatile std::sig_atomic_t signal_ = 0, count_ = 0;
  static inline const char* volatile notice_ = nullptr;
};

}  // namespace example
