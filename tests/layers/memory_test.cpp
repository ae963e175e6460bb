#include "fbt/layers/memory.hpp"

#include "support/catch.hpp"
#include "support/memory_layer_check.hpp"

using namespace fbt;

static_assert(Layer<KeyValue<float>> && Layer<KeyValue<double>> && !ColumnLayer<KeyValue<double>, double>);

namespace {

constexpr Index head_size = 3, heads = 2, lanes = 2;

Memory<double> make_memory(Index span) {
  Memory<double> memory;
  memory.span = span;
  memory.slots.assign(2, Slots<double>(head_size, heads, lanes, 0));
  return memory;
}

// The key and value that step number `step` writes to the given set of slots.
Matrix<double> key_of(Index step, Index set) {
  Random random(static_cast<std::uint64_t>(100 * step + set));
  return random_matrix(head_size * heads, lanes, random);
}
Matrix<double> value_of(Index step, Index set) { return -key_of(step, set); }

// Whether the window holds exactly the last `count` of `steps` steps, in order.
bool holds_last(const Memory<double>& memory, Index steps, Index count) {
  const Window w = memory.window();
  if (w.count != count) return false;
  Matrix<double> key(head_size * heads, lanes), value = key;
  for (Index i = 0; i < count; ++i) {
    for (Index set = 0; set < 2; ++set) {
      memory.slots[static_cast<std::size_t>(set)].read(w.begin + i, key, value);
      if (key != key_of(steps - count + i, set) || value != value_of(steps - count + i, set)) return false;
    }
  }
  return true;
}

// Writes steps first .. first + count - 1.
void write_steps(Memory<double>& memory, Index first, Index count) {
  for (Index step = first; step < first + count; ++step, ++memory.end)
    for (Index set = 0; set < 2; ++set)
      memory.slots[static_cast<std::size_t>(set)].write(memory.end, key_of(step, set), value_of(step, set));
}

}  // namespace

TEST_CASE("Slots: layout") {
  Slots<double> slots(head_size, heads, lanes, 4);
  CHECK(slots.keys == Matrix<double>::Zero(4, 12));
  CHECK(slots.values == Matrix<double>::Zero(3, 16));
  const Matrix<double> key = key_of(0, 0), value = value_of(1, 0);
  slots.write(2, key, value);
  for (Index b = 0; b < lanes; ++b) {
    for (Index j = 0; j < heads; ++j) {
      for (Index i = 0; i < head_size; ++i) {
        CHECK(slots.keys(2, (b * heads + j) * head_size + i) == key(j * head_size + i, b));
        CHECK(slots.values(i, (b * heads + j) * 4 + 2) == value(j * head_size + i, b));
        CHECK(slots.key(b, j, {1, 3})(1, i) == key(j * head_size + i, b));
        CHECK(slots.value(b, j, {1, 3})(i, 1) == value(j * head_size + i, b));
      }
    }
  }
  CHECK(slots.keys.cwiseAbs().sum() == Approx(key.cwiseAbs().sum()));  // and nothing else was written
  CHECK(slots.values.cwiseAbs().sum() == Approx(value.cwiseAbs().sum()));
}

TEST_CASE("Slots: what is written is read") {
  Slots<double> slots(head_size, heads, lanes, 3);
  for (Index s = 0; s < 3; ++s) slots.write(s, key_of(s, 0), value_of(s, 0));
  Matrix<double> key(6, 2), value(6, 2);
  for (Index s = 0; s < 3; ++s) {
    slots.read(s, key, value);
    CHECK(key == key_of(s, 0));
    CHECK(value == value_of(s, 0));
  }
}

TEST_CASE("Memory: the window is the last slots, at most the span") {
  Memory<double> memory = make_memory(3);
  CHECK(memory.lanes() == lanes);
  CHECK(Memory<double>{}.lanes() == 0);
  CHECK(memory.window().count == 0);
  memory.end = 10;
  const auto is = [](Window w, Index begin, Index count) { return w.begin == begin && w.count == count; };
  CHECK(is(memory.window_at(0), 0, 0));
  CHECK(is(memory.window_at(1), 0, 1));
  CHECK(is(memory.window_at(3), 0, 3));
  CHECK(is(memory.window_at(4), 1, 3));
  CHECK(is(memory.window(), 7, 3));
}

TEST_CASE("Memory: reserve keeps what is visible") {
  const Index span = GENERATE(1, 3, 5);
  const Index steps = GENERATE(1, 2, 4, 9);
  Memory<double> memory = make_memory(span);
  bool moved = false, grown = false;
  Index written = 0;
  for (int segment = 0; segment < 12; ++segment) {
    const Index count = segment == 6 ? 3 * steps : steps;  // a longer one in between
    const Index capacity = memory.slots[0].capacity, end = memory.end;
    memory.reserve(count);
    CHECK(memory.end + count <= memory.slots[0].capacity);
    CHECK(holds_last(memory, written, std::min(written, span)));
    grown = grown || memory.slots[0].capacity > capacity;
    moved = moved || (memory.slots[0].capacity == capacity && memory.end < end);
    write_steps(memory, written, count);
    written += count;
    CHECK(holds_last(memory, written, std::min(written, span)));
  }
  CHECK(moved);
  CHECK(grown);
}

TEST_CASE("Memory: nothing moves while there is room") {
  Memory<double> memory = make_memory(4);
  memory.reserve(2);
  const Index capacity = memory.slots[0].capacity;
  CHECK(capacity == 8);  // the span, and as much again
  write_steps(memory, 0, 6);
  memory.reserve(2);
  CHECK(memory.end == 6);
  memory.reserve(3);
  CHECK(memory.end == 4);
  CHECK(memory.slots[0].capacity == capacity);
  CHECK(memory.slots[1].capacity == capacity);
}

TEST_CASE("Memory: a long window is moved seldom, however its size is rounded") {
  const Index span = GENERATE(600, 1031, 2071);  // the last two: one less than the storage, once it is rounded
  Memory<double> memory = make_memory(span);
  const Index steps = 4 * span;
  Index moves = 0;
  for (Index step = 0; step < steps; ++step) {
    const Index end = memory.end;
    memory.reserve(1);
    moves += memory.end < end;
    write_steps(memory, step, 1);
  }
  CHECK(holds_last(memory, steps, span));
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
  CHECK(memory.window().begin == 0);
}

TEST_CASE("KeyValue: gradients") {
  Random random(1);
  const bool norm = GENERATE(true, false), value_bias = GENERATE(true, false);
  const Index B = GENERATE(1, 2, 3);
  const Segment segment{3, B, true, 0};
  KeyValue<double> layer(4, heads, head_size, norm, value_bias, 1e-5, random);
  scatter(layer, random);
  Matrix<double> m = random_matrix(4, segment.columns(), random);
  const Matrix<double> dk = random_matrix(6, segment.columns(), random), dv = random_matrix(6, segment.columns(), random);
  KeyValue<double>::Trace trace;
  const auto loss = [&] {
    double sum = 0;
    layer.prepare(trace, segment);
    for (Index t = 0; t < segment.steps; ++t) {
      trace.k(t).setConstant(std::numeric_limits<double>::quiet_NaN());
      trace.v(t).setConstant(std::numeric_limits<double>::quiet_NaN());
      layer.forward(step_columns(m, t, B), trace, t);
      sum += trace.k(t).cwiseProduct(step_columns(dk, t, B)).sum() + trace.v(t).cwiseProduct(step_columns(dv, t, B)).sum();
    }
    return sum;
  };
  loss();
  Matrix<double> dm = Matrix<double>::Constant(4, segment.columns(), std::numeric_limits<double>::quiet_NaN());
  for (Index t = segment.steps - 1; t >= 0; --t) {
    trace.k(t) = step_columns(dk, t, B);
    trace.v(t) = step_columns(dv, t, B);
    layer.backward(trace, t, step_columns(dm, t, B));
  }
  KeyValue<double> grad = ones_like(layer);
  layer.accumulate(trace, grad);
  remove_ones(grad);

  GradientReport report;
  compare(report, "memory vector", loss, m, dm);
  compare_parameters(report, loss, layer, grad);
  INFO(report.where);
  CHECK(report.compared == (4 * 3 * B) + 48 + (norm ? 8 : 0) + (value_bias ? 6 : 0));
  CHECK(report.worst < 1e-8);
}

TEST_CASE("KeyValue: by hand") {
  Random random(1);
  const bool norm = GENERATE(true, false);
  KeyValue<double> layer(2, 1, 2, norm, true, 3, random);  // variance 1 + epsilon 3: deviation 2
  layer.key.weight << 2, 0, 0, 2;
  layer.value.weight << 0, 1, 1, 0;
  layer.value.bias << 100, 200;
  KeyValue<double>::Trace trace;
  layer.prepare(trace, {1, 1, false, 0});
  Matrix<double> m(2, 1), k(2, 1), v(2, 1);
  m << 1, 3;
  layer.forward(m, trace, 0);
  if (norm) {
    k << -1, 1;
    v << 100.5, 199.5;
  } else {
    k << 2, 6;
    v << 103, 201;
  }
  CHECK(trace.k(0) == k);
  CHECK(trace.v(0) == v);
}
