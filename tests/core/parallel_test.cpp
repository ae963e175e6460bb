#include "fbt/core/parallel.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"

#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>

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

TEST_CASE("Team: every number once, round after round, awake or asleep") {
  const Index threads = GENERATE(1, 2, 3, 7);
  Team team(threads);
  CHECK(team.threads() == threads);
  std::vector<int> calls(static_cast<std::size_t>(threads));
  for (int round = 1; round <= 300; ++round) {
    if (round % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the helpers fall asleep
    team.run([&](Index i) { ++calls.at(static_cast<std::size_t>(i)); });
    REQUIRE(calls == std::vector<int>(static_cast<std::size_t>(threads), round));
  }
}

TEST_CASE("Team: the threads run side by side") {
  Team team(3);
  std::atomic<int> begun = 0;
  team.run([&](Index) {
    ++begun;
    while (begun < 3) std::this_thread::yield();
  });
  CHECK(begun == 3);
}

TEST_CASE("Team: callers that meet do not wait for each other's helpers") {
  Team team(2);
  std::atomic<int> calls = 0;
  team.run([&](Index) { team.run([&](Index) { ++calls; }); });  // the inner calls find the team busy
  CHECK(calls == 4);
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) team.run([&](Index) { ++calls; });
    });
  for (std::thread& caller : callers) caller.join();
  CHECK(calls == 4 + 4 * 1000 * 2);
}

TEST_CASE("Team: an exception comes to the caller, after all work is done, and the team goes on") {
  Team team(3);
  for (const Index bad : {0, 2}) {
    std::atomic<int> calls = 0;
    const auto work = [&](Index i) {
      ++calls;
      if (i == bad) throw std::runtime_error("it failed");
    };
    CHECK(message_of<std::runtime_error>([&] { team.run(work); }) == "it failed");
    CHECK(calls == 3);
  }
  std::atomic<int> calls = 0;
  team.run([&](Index) { ++calls; });
  CHECK(calls == 3);
}

TEST_CASE("Team: a wrong number of threads is refused") {
  CHECK(message_of<std::invalid_argument>([] { Team(0); }) == "threads must be between 1 and 1024, found 0");
}

TEST_CASE("split_work: whole units, every part once, and no parts of work that is too small") {
  using Parts = std::set<std::pair<Index, Index>>;
  const auto parts = [](Team* team, Index total, Index unit, Index work) {
    std::mutex mutex;
    Parts seen;
    split_work(team, total, unit, work, [&](Index first, Index count) {
      const std::lock_guard lock(mutex);
      seen.emplace(first, count);
    });
    return seen;
  };
  Team two(2), three(3);
  constexpr Index large = 1 << 20;
  CHECK(parts(nullptr, 100, 1, large) == Parts{{0, 100}});
  CHECK(parts(&two, 100, 1, 100) == Parts{{0, 100}});
  CHECK(parts(&two, 100, 1, large) == Parts{{0, 50}, {50, 50}});
  CHECK(parts(&two, 100, 48, large) == Parts{{0, 48}, {48, 52}});
  CHECK(parts(&three, 100, 48, large) == Parts{{0, 48}, {48, 48}, {96, 4}});
  CHECK(parts(&three, 50, 48, large) == Parts{{0, 48}, {48, 2}});
}
