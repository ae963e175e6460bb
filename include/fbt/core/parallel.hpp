// Runs independent pieces of work on several threads.
#pragma once

#include "fbt/core/types.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

namespace fbt {

/// Calls f(0), ..., f(count - 1), each once, on up to the given number of threads (the calling one included), and waits for all.
/// When calls throw, the exception of the lowest number is thrown on.
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
    std::vector<std::jthread> helpers;
    for (Index i = 1; i < threads; ++i) helpers.emplace_back(work);
    work();
  }
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace fbt
