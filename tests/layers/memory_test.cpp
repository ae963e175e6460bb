#include "fbt/layers/memory.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <vector>

using namespace fbt;

namespace {

constexpr Index head_size = 3, heads = 2, lanes = 2;

Memory<double> make_memory(Index window) { return Memory<double>(2, head_size, heads, lanes, window); }

// The key and value that step number `step` writes to the given bank.
Matrix<double> key_of(Index step, Index bank) {
  Random random(static_cast<std::uint64_t>(100 * step + bank));
  return random_matrix(head_size * heads, lanes, random);
}
Matrix<double> value_of(Index step, Index bank) { return -key_of(step, bank); }

// Whether the window holds exactly the last `count` of `steps` steps, in order.
bool holds_last(const Memory<double>& memory, Index steps, Index count) {
  const Window w = memory.visible();
  if (w.count != count) return false;
  Matrix<double> key(head_size * heads, lanes), value = key;
  for (Index i = 0; i < count; ++i) {
    for (Index bank = 0; bank < 2; ++bank) {
      memory.banks[static_cast<std::size_t>(bank)].read(w.begin + i, key, value);
      if (key != key_of(steps - count + i, bank) || value != value_of(steps - count + i, bank)) return false;
    }
  }
  return true;
}

// Writes steps first .. first + count - 1.
void write_steps(Memory<double>& memory, Index first, Index count) {
  for (Index step = first; step < first + count; ++step, ++memory.end)
    for (Index bank = 0; bank < 2; ++bank)
      memory.banks[static_cast<std::size_t>(bank)].write(memory.end, key_of(step, bank), value_of(step, bank));
}

}  // namespace

TEST_CASE("Memory: visible are the last slots, at most the window") {
  Memory<double> memory = make_memory(3);
  CHECK(memory.lanes() == lanes);
  CHECK(Memory<double>{}.lanes() == 0);
  CHECK(memory.visible().count == 0);
  memory.end = 10;
  const auto is = [](Window w, Index begin, Index count) { return w.begin == begin && w.count == count; };
  CHECK(is(memory.visible_at(0, 0), 0, 0));
  CHECK(is(memory.visible_at(0, 1), 0, 1));
  CHECK(is(memory.visible_at(0, 3), 0, 3));
  CHECK(is(memory.visible_at(0, 4), 1, 3));
  CHECK(is(memory.visible(), 7, 3));
}

TEST_CASE("Memory: reserve keeps what is visible") {
  const Index window = GENERATE(1, 3, 5);
  const Index steps = GENERATE(1, 2, 4, 9);
  Memory<double> memory = make_memory(window);
  bool moved = false, grown = false;
  Index written = 0;
  for (int segment = 0; segment < 12; ++segment) {
    const Index count = segment == 6 ? 3 * steps : steps;  // a longer one in between
    const Index capacity = memory.banks[0].capacity, end = memory.end;
    memory.reserve(count);
    CHECK(memory.end + count <= memory.banks[0].capacity);
    CHECK(holds_last(memory, written, std::min(written, window)));
    grown = grown || memory.banks[0].capacity > capacity;
    moved = moved || (memory.banks[0].capacity == capacity && memory.end < end);
    write_steps(memory, written, count);
    written += count;
    CHECK(holds_last(memory, written, std::min(written, window)));
  }
  CHECK(moved);
  CHECK(grown);
}

TEST_CASE("Memory: nothing moves while there is room") {
  Memory<double> memory = make_memory(4);
  memory.reserve(2);
  const Index capacity = memory.banks[0].capacity;
  CHECK(capacity == 8);  // the window, and as much again
  write_steps(memory, 0, 6);
  memory.reserve(2);
  CHECK(memory.end == 6);
  memory.reserve(3);
  CHECK(memory.end == 4);
  CHECK(memory.banks[0].capacity == capacity);
  CHECK(memory.banks[1].capacity == capacity);
}

TEST_CASE("Memory: a long window is moved seldom, however its size is rounded") {
  const Index window = GENERATE(600, 1031, 2071);  // the last two: one less than the storage, once it is rounded
  Memory<double> memory = make_memory(window);
  const Index steps = 4 * window;
  Index moves = 0;
  for (Index step = 0; step < steps; ++step) {
    const Index end = memory.end;
    memory.reserve(1);
    moves += memory.end < end;
    write_steps(memory, step, 1);
  }
  CHECK(holds_last(memory, steps, window));
  CHECK(moves <= 4);  // as many steps as are visible lie between two of them
}

TEST_CASE("Memory: move_to_front renumbers the visible slots from 0") {
  Memory<double> memory = make_memory(3);
  memory.reserve(5);
  memory.move_to_front();
  CHECK(memory.end == 0);
  write_steps(memory, 0, 2);
  memory.move_to_front();
  CHECK(holds_last(memory, 2, 2));
  CHECK(memory.end == 2);
  write_steps(memory, 2, 3);
  memory.move_to_front();
  CHECK(holds_last(memory, 5, 3));
  CHECK(memory.end == 3);
  CHECK(memory.visible().begin == 0);
}

TEST_CASE("Memory: every lane has a first slot of its own") {
  Memory<double> memory = make_memory(3);
  CHECK(memory.begin == std::vector<Index>{0, 0});
  memory.reserve(10);
  write_steps(memory, 0, 10);
  const auto is = [](Window w, Index begin, Index count) { return w.begin == begin && w.count == count; };
  memory.begin = {8, 4};
  CHECK(is(memory.visible(0), 8, 2));
  CHECK(is(memory.visible(1), 7, 3));
  CHECK(is(memory.visible(), 7, 3));  // of both together
  CHECK(is(memory.visible_at(0, 9), 8, 1));
  CHECK(is(memory.visible_at(0, 8), 8, 0));
  memory.begin = {10, 9};
  CHECK(is(memory.visible(0), 10, 0));
  CHECK(is(memory.visible(1), 9, 1));
  CHECK(is(memory.visible(), 9, 1));
  memory.begin = {10, 10};
  CHECK(is(memory.visible(), 10, 0));
}

TEST_CASE("Memory: what moves to the front takes the first slots of the lanes along") {
  Memory<double> memory = make_memory(4);
  memory.reserve(10);
  write_steps(memory, 0, 10);
  memory.begin = {8, 2};
  memory.move_to_front();
  CHECK(memory.end == 4);
  CHECK(memory.begin == std::vector<Index>{2, 0});
  CHECK(memory.visible(0).count == 2);
  CHECK(memory.visible(1).count == 4);
  CHECK(holds_last(memory, 10, 4));
  memory.set_window(3);
  CHECK(memory.end == 3);
  CHECK(memory.begin == std::vector<Index>{1, 0});
  CHECK(holds_last(memory, 10, 3));
  memory.begin = {2, 3};  // no lane sees more than one
  memory.move_to_front();
  CHECK(memory.end == 1);
  CHECK(memory.begin == std::vector<Index>{0, 1});
  CHECK(holds_last(memory, 10, 1));
  memory.clear();
  CHECK(memory.end == 0);
  CHECK(memory.begin == std::vector<Index>{0, 0});
}
