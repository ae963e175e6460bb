#include "fbt/core/parallel.hpp"

#include "catch.hpp"
#include "expect.hpp"

#include <mutex>
#include <set>
#include <stdexcept>

using namespace fbt;

TEST_CASE("parallel_for: every number once") {
  const Index count = GENERATE(0, 1, 2, 7, 1000);
  const Index threads = GENERATE(0, 1, 2, 3, 16);
  std::vector<std::atomic<int>> calls(static_cast<std::size_t>(count));
  parallel_for(count, threads, [&](Index i) { ++calls.at(static_cast<std::size_t>(i)); });
  bool once = true;
  for (const auto& n : calls) once = once && n == 1;
  CHECK(once);
}

TEST_CASE("parallel_for: the threads run side by side") {
  // every call waits until all have begun: one thread after the other would never end
  const Index threads = GENERATE(1, 2, 3);
  std::atomic<Index> begun = 0;
  std::mutex mutex;
  std::set<std::thread::id> ids;
  parallel_for(threads, threads, [&](Index) {
    ++begun;
    while (begun < threads) std::this_thread::yield();
    const std::lock_guard lock(mutex);
    ids.insert(std::this_thread::get_id());
  });
  CHECK(static_cast<Index>(ids.size()) == threads);
  CHECK(ids.contains(std::this_thread::get_id()));
}

TEST_CASE("parallel_for: the exception of the lowest number is thrown, after all work is done") {
  const Index threads = GENERATE(1, 2, 4);
  std::atomic<int> finished = 0;
  const auto run = [&] {
    parallel_for(8, threads, [&](Index i) {
      if (i == 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));  // thrown later than those of 5 and 7
      if (i == 3 || i == 5 || i == 7) throw std::runtime_error("number " + std::to_string(i));
      ++finished;
    });
  };
  CHECK(message_of<std::runtime_error>(run) == "number 3");
  CHECK(finished == (threads == 1 ? 3 : 5));
}
