// Runs independent pieces of work on several threads: parallel_for for long ones, a Team for pieces of microseconds.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace fbt {

namespace detail {

/// Threads that are waited for at the end. (libc++ has std::jthread only since version 20.)
class Helpers {
 public:
  Helpers() = default;
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;
  ~Helpers() {
    for (std::thread& thread : threads_) thread.join();
  }

  template <class F>
  void start(F&& f) {
    threads_.emplace_back(std::forward<F>(f));
  }
  Index count() const { return static_cast<Index>(threads_.size()); }

 private:
  std::vector<std::thread> threads_;
};

}  // namespace detail

/// Calls f(0), ..., f(count - 1), each once, on up to the given number of threads (the calling one included), and waits for
/// all. When calls throw, the exception of the lowest number is thrown on; with one thread no later number is called then.
template <class F>
void parallel_for(Index count, Index threads, F&& f) {
  threads = std::min(threads, count);
  if (threads <= 1) {
    for (Index i = 0; i < count; ++i) f(i);
    return;
  }
  std::atomic<Index> next = 0;
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(count));
  const auto work = [&] {
    for (Index i = next++; i < count; i = next++) {
      try {
        f(i);
      } catch (...) {
        errors[static_cast<std::size_t>(i)] = std::current_exception();
      }
    }
  };
  {
    detail::Helpers helpers;
    for (Index i = 1; i < threads; ++i) helpers.start(work);
    work();
  }
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

/// Threads that stay ready between pieces of work, so that work of some ten microseconds can be shared. A helper watches for
/// the next piece for a while and then goes to sleep.
class Team {
 public:
  /// Throws std::invalid_argument unless there are 1 to 1024 threads, the calling one included.
  explicit Team(Index threads) {
    check(threads >= 1 && threads <= 1024, "threads must be between 1 and 1024, found {}", threads);
    try {
      for (Index i = 1; i < threads; ++i) helpers_.start([this, i] { help(i); });
    } catch (...) {  // no more threads: those that have begun would wait for ever
      dismiss();
      throw;
    }
  }
  ~Team() { dismiss(); }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  Index threads() const { return helpers_.count() + 1; }

  /// Calls f(0), ..., f(threads() - 1), each on a thread of its own, waits for all, and throws the first exception of any.
  /// When the team is busy with another caller's work, f is called here, one number after the other until one throws.
  template <class F>
  void run(F&& f) {
    if (helpers_.count() == 0 || busy_.test_and_set(std::memory_order_acquire)) {
      for (Index i = 0; i < threads(); ++i) f(i);
      return;
    }
    std::exception_ptr error;
    std::atomic_flag failed;
    const auto guarded = [&](Index i) noexcept {
      try {
        f(i);
      } catch (...) {
        if (!failed.test_and_set()) error = std::current_exception();
      }
    };
    work_ = [](const void* what, Index i) { (*static_cast<decltype(&guarded)>(what))(i); };
    what_ = &guarded;
    missing_.store(helpers_.count(), std::memory_order_relaxed);
    round_.fetch_add(1);
    if (asleep_.load() > 0) round_.notify_all();
    guarded(Index{0});
    for (int tries = patience; missing_.load(std::memory_order_acquire) > 0;) {
      if (tries > 0) {
        --tries;
        detail::pause();
      } else {
        std::this_thread::yield();
      }
    }
    busy_.clear(std::memory_order_release);
    if (error) std::rethrow_exception(error);
  }

 private:
  void dismiss() {
    dismissed_.store(true);
    round_.fetch_add(1);
    round_.notify_all();
  }

  static constexpr int patience = 5000;  // looks at a variable: well below a millisecond

  void help(Index number) {
    for (std::uint32_t seen = 0;; ++seen) {
      for (int tries = 0; round_.load(std::memory_order_acquire) == seen && tries < patience; ++tries) detail::pause();
      if (round_.load() == seen) {
        ++asleep_;
        round_.wait(seen);
        --asleep_;
      }
      if (dismissed_.load(std::memory_order_relaxed)) return;  // set before the round that was seen
      work_(what_, number);
      missing_.fetch_sub(1, std::memory_order_release);
    }
  }

  // Each variable that a thread watches has a cache line of its own: else a write beside it would take the line from who
  // watches.
  static constexpr std::size_t line = 128;
  alignas(line) std::atomic<std::uint32_t> round_ = 0;  // counts the pieces of work
  alignas(line) std::atomic<Index> missing_ = 0;
  alignas(line) std::atomic<Index> asleep_ = 0;
  alignas(line) void (*work_)(const void*, Index) = nullptr;
  const void* what_ = nullptr;
  std::atomic_flag busy_;
  std::atomic<bool> dismissed_ = false;
  detail::Helpers helpers_;  // last: they use the others
};

/// How many parts split_work() may make.
inline Index parts_of(const Team* team) { return team ? team->threads() : 1; }

/// Calls f(first, count) or f(first, count, number) for parts of [0, total), together the whole: one part for each thread of
/// the team if the work is worth it, else one part in all. The parts begin at multiples of `unit`; work is about the number
/// of multiply-adds. Within f nothing may be shared again: parts of parts would have the same numbers.
template <class F>
void split_work(Team* team, Index total, Index unit, Index work, F&& f) {
  const auto call = [&f](Index first, Index count, Index number) {
    if constexpr (std::is_invocable_v<F, Index, Index, Index>) {
      f(first, count, number);
    } else {
      f(first, count);
    }
  };
  constexpr Index worthwhile = 1 << 16;
  if (parts_of(team) == 1 || work < worthwhile) return call(0, total, 0);
  const Index units = (total + unit - 1) / unit, parts = team->threads();
  team->run([&](Index i) {
    const Index first = units * i / parts * unit, end = std::min(total, units * (i + 1) / parts * unit);
    if (first < end) call(first, end - first, i);
  });
}

}  // namespace fbt
