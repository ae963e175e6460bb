// Rates and peak memory of this process.
#pragma once

#include "support/stopwatch.hpp"

#include "fbt/core/check.hpp"

#include <algorithm>
#include <fstream>
#include <string>

namespace bench {

struct Effort {
  double seconds = 1;  ///< at least, per repetition
  int repetitions = 3;
};

/// The best rate of several repetitions, after one call that is not timed; a call of f does the given amount of work.
template <class F>
double best_rate(const Effort& effort, double amount, F&& f) {
  f();
  double best = 0;
  for (int i = 0; i < effort.repetitions; ++i) {
    const example::Stopwatch clock;
    double done = 0, seconds = 0;
    do {
      f();
      done += amount;
      seconds = clock.seconds();
    } while (seconds < effort.seconds);
    best = std::max(best, done / seconds);
  }
  return best;
}

/// The most memory that this process has occupied so far, in MiB.
inline double peak_memory_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib / 1024;
  }
  fbt::ensure(false, "/proc/self/status: expected a line VmHWM");
  return 0;
}

}  // namespace bench
