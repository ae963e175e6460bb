// How many threads are worth starting: the processors that this process may use, which may be fewer than the machine has.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace fbt {

namespace detail {

/// The processors that the scheduler may run this process on (taskset, cpusets); all of the machine where none can be told.
inline Index affine_processors() {
#if defined(__linux__)
  for (std::size_t sets = 1; sets <= 64; sets *= 2) {  // too small a mask is refused
    std::vector<cpu_set_t> mask(sets);
    if (::sched_getaffinity(0, sets * sizeof(cpu_set_t), mask.data()) != 0) continue;
    return std::max(1, CPU_COUNT_S(sets * sizeof(cpu_set_t), mask.data()));
  }
#endif
  return std::max<Index>(1, static_cast<Index>(std::thread::hardware_concurrency()));
}

/// The processor time per time that control groups grant (containers, systemd's CPUQuota), in processors; `all` without a
/// limit. groups: a file such as /proc/self/cgroup; mounts: where the file systems of control groups are.
inline double granted_processors(const std::filesystem::path& groups, const std::filesystem::path& mounts, double all) {
  double least = all;
  const auto limit = [&](double quota, double period) {
    if (quota > 0 && period > 0) least = std::min(least, quota / period);
  };
  const auto number = [](const std::filesystem::path& file) {
    double value = 0;
    std::ifstream(file) >> value;
    return value;
  };
  std::ifstream lines(groups);
  for (std::string line; std::getline(lines, line);) {  // NUMBER:CONTROLLERS:/GROUP, without controllers in version 2
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    bool limits = second == first + 1;
    for (std::string name; std::getline(controllers, name, ',');) limits = limits || name == "cpu";
    if (!limits) continue;
    for (const char* mount : {"", "unified", "cpu", "cpu,cpuacct"}) {
      // a limit of a group holds for the groups in it, too; within a container the outer ones may not be seen
      std::filesystem::path group = std::filesystem::path(line.substr(second + 1)).relative_path();
      for (bool more = true; more; group = group.parent_path()) {
        more = !group.empty();
        const std::filesystem::path folder = mounts / mount / group;
        double quota = 0, period = 0;
        std::ifstream(folder / "cpu.max") >> quota >> period;  // "max" is no number
        limit(quota, period);
        limit(number(folder / "cpu.cfs_quota_us"), number(folder / "cpu.cfs_period_us"));  // -1: none
      }
    }
  }
  return least;
}

}  // namespace detail

/// The processors that this process may use, at least 1: those of the machine, of its affinity, and what control groups
/// grant, rounded down. The environment variable FBT_PROCESSORS says it instead, where it is a number from 1 to 1024.
inline Index available_processors() {
  if (const char* const text = std::getenv("FBT_PROCESSORS")) {
    const std::string_view digits(text);
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc() && end == digits.data() + digits.size() && value >= 1 && value <= 1024) return value;
  }
  const auto affine = static_cast<double>(detail::affine_processors());
  return std::max<Index>(1, static_cast<Index>(detail::granted_processors("/proc/self/cgroup", "/sys/fs/cgroup", affine)));
}

/// So many threads, but no more than there are processors for: further ones would only wait for one another. Throws
/// std::invalid_argument unless it is from 1 to 1024.
inline Index useful_threads(Index threads) {
  check(threads >= 1 && threads <= 1024, "threads must be between 1 and 1024, found {}", threads);
  return threads == 1 ? 1 : std::min(threads, available_processors());
}

}  // namespace fbt
