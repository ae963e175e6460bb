// Interrupt: turns the first SIGINT (ctrl-C) and the first SIGTERM into a question that a loop can ask. A second one kills.
#pragma once

#include <csignal>

#include <signal.h>

namespace example {

class Interrupt {
 public:
  Interrupt() {
    struct sigaction action {};
    action.sa_handler = [](int) { requested_ = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
  }

  bool requested() const { return requested_ != 0; }

 private:
  static inline volatile std::sig_atomic_t requested_ = 0;
};

}  // namespace example
