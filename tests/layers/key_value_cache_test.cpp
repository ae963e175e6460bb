#include "fbt/layers/key_value_cache.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"

#include <vector>

using namespace fbt;

namespace {

constexpr Index head_size = 3, heads = 2, lanes = 2;

/// Keys and values of so many steps.
struct Steps {
  Steps(Index count, std::uint64_t seed) {
    Random random(seed);
    for (Index s = 0; s < count; ++s) {
      keys.push_back(random_matrix(head_size * heads, lanes, random));
      values.push_back(random_matrix(head_size * heads, lanes, random));
    }
  }
  KeyValueCache<double> cache(Index capacity) const {
    KeyValueCache<double> all(head_size, heads, lanes, capacity);
    for (std::size_t s = 0; s < keys.size(); ++s) all.write(static_cast<Index>(s), keys[s], values[s]);
    return all;
  }
  /// Whether the slot holds what the step has written.
  bool is_in(const KeyValueCache<double>& cache, Index slot, std::size_t step) const {
    Matrix<double> key(head_size * heads, lanes), value = key;
    cache.read(slot, key, value);
    return key == keys[step] && value == values[step];
  }
  std::vector<Matrix<double>> keys, values;
};

}  // namespace

TEST_CASE("Window: the newest slots of one") {
  const Window window{4, 7};
  CHECK(window.newest(3).begin == 8);
  CHECK(window.newest(3).count == 3);
  for (const Index most : {7, 8}) {
    CHECK(window.newest(most).begin == 4);
    CHECK(window.newest(most).count == 7);
  }
  CHECK(Window{4, 0}.newest(3).begin == 4);
  CHECK(Window{4, 0}.newest(3).count == 0);
}

TEST_CASE("KeyValueCache: layout") {
  Random random(1);
  KeyValueCache<double> cache(head_size, heads, lanes, 4);
  CHECK(cache.keys == Matrix<double>::Zero(4, 12));
  CHECK(cache.values == Matrix<double>::Zero(3, 16));
  const Matrix<double> key = random_matrix(head_size * heads, lanes, random),
                       value = random_matrix(head_size * heads, lanes, random);
  cache.write(2, key, value);
  for (Index b = 0; b < lanes; ++b) {
    for (Index j = 0; j < heads; ++j) {
      for (Index i = 0; i < head_size; ++i) {
        CHECK(cache.keys(2, (b * heads + j) * head_size + i) == key(j * head_size + i, b));
        CHECK(cache.values(i, (b * heads + j) * 4 + 2) == value(j * head_size + i, b));
        CHECK(cache.key(b, j, {1, 3})(1, i) == key(j * head_size + i, b));
        CHECK(cache.value(b, j, {1, 3})(i, 1) == value(j * head_size + i, b));
      }
    }
  }
  CHECK(cache.keys.cwiseAbs().sum() == Approx(key.cwiseAbs().sum()));  // and nothing else was written
  CHECK(cache.values.cwiseAbs().sum() == Approx(value.cwiseAbs().sum()));
}

TEST_CASE("KeyValueCache: what is written is read") {
  const Steps steps(3, 1);
  const KeyValueCache<double> cache = steps.cache(3);
  for (std::size_t s = 0; s < 3; ++s) CHECK(steps.is_in(cache, static_cast<Index>(s), s));
}

TEST_CASE("KeyValueCache: a window moves to the front and back, of all lanes and heads, also onto itself") {
  const Steps steps(6, 1);
  KeyValueCache<double> cache = steps.cache(7);
  cache.move({2, 3}, -2);
  for (std::size_t s = 0; s < 3; ++s) CHECK(steps.is_in(cache, static_cast<Index>(s), s + 2));
  const KeyValueCache<double> before = cache;
  cache.move({0, 3}, 0);
  CHECK(cache.keys == before.keys);
  CHECK(cache.values == before.values);
  cache.move({0, 3}, 1);
  for (std::size_t s = 0; s < 3; ++s) CHECK(steps.is_in(cache, static_cast<Index>(s) + 1, s + 2));
  CHECK(steps.is_in(cache, 0, 2));  // what was there before stays
}

TEST_CASE("KeyValueCache: the slots of one lane are copied to another, and nothing else is touched") {
  const Steps steps(6, 1), others(6, 2);
  KeyValueCache<double> cache = steps.cache(7);
  const KeyValueCache<double> before = cache, other = others.cache(8);
  cache.copy(1, {1, 3}, other, 0, {2, 3});
  for (Index j = 0; j < heads; ++j) {
    CHECK(cache.key(1, j, {1, 3}) == other.key(0, j, {2, 3}));
    CHECK(cache.value(1, j, {1, 3}) == other.value(0, j, {2, 3}));
    cache.key(1, j, {1, 3}) = before.key(1, j, {1, 3});
    cache.value(1, j, {1, 3}) = before.value(1, j, {1, 3});
  }
  CHECK(cache.keys == before.keys);
  CHECK(cache.values == before.values);
}

TEST_CASE("KeyValueCache: lanes become others, fewer or more, all at once") {
  const Steps steps(6, 1);
  const KeyValueCache<double> before = steps.cache(7);
  REQUIRE(lanes == 2);
  for (const std::vector<Index>& from : {std::vector<Index>{1, 0}, {1}, {0}, {1, 1}, {0, 0}, {1, 0, 1, 0, 0}, {0, 1}}) {
    KeyValueCache<double> cache = before;
    std::vector<Window> seen;
    for (std::size_t b = 0; b < from.size(); ++b) seen.push_back({static_cast<Index>(b), 2});
    cache.select(from, seen);
    CHECK(cache.lanes == static_cast<Index>(from.size()));
    CHECK(cache.capacity == before.capacity);
    CHECK(cache.keys.cols() == cache.lanes * heads * head_size);
    CHECK(cache.values.cols() == cache.lanes * heads * cache.capacity);
    for (Index b = 0; b < cache.lanes; ++b)
      for (Index j = 0; j < heads; ++j) {
        const auto index = static_cast<std::size_t>(b);
        CHECK(cache.key(b, j, seen[index]) == before.key(from[index], j, seen[index]));
        CHECK(cache.value(b, j, seen[index]) == before.value(from[index], j, seen[index]));
        if (b < lanes) continue;  // a new lane holds nothing else
        cache.key(b, j, seen[index]).setZero();
        cache.value(b, j, seen[index]).setZero();
        CHECK(cache.key(b, j, {0, cache.capacity}).isZero(0));
        CHECK(cache.value(b, j, {0, cache.capacity}).isZero(0));
      }
  }
}

TEST_CASE("KeyValueCache: a gradient that begins at zero") {
  const KeyValueCache<double> like = Steps(4, 1).cache(4);
  KeyValueCache<double> gradient;
  gradient.set_zero_like(like, 4);
  CHECK(gradient.keys == Matrix<double>::Zero(4, 12));
  CHECK(gradient.values == Matrix<double>::Zero(3, 16));
  // of the same size: only the first slots are set to zero, which is all that will be added to
  const Steps steps(4, 2);
  gradient = steps.cache(4);
  gradient.set_zero_like(like, 3);
  CHECK(gradient.keys.topRows(3).isZero(0));
  for (Index i = 0; i < heads * lanes; ++i) CHECK(gradient.values.middleCols(4 * i, 3).isZero(0));
  CHECK(steps.is_in(gradient, 3, 3));
  // each size that differs, and too little room, make it a new one, with room for the slots that are asked for
  for (const KeyValueCache<double>& other :
       {KeyValueCache<double>(2, heads, lanes, 9), KeyValueCache<double>(head_size, 1, lanes, 9),
        KeyValueCache<double>(head_size, heads, 1, 9), KeyValueCache<double>(head_size, heads, lanes, 9)}) {
    KeyValueCache<double> resized = steps.cache(4);
    resized.set_zero_like(other, 5);
    CHECK(resized.head_size == other.head_size);
    CHECK(resized.heads == other.heads);
    CHECK(resized.lanes == other.lanes);
    CHECK(resized.capacity == 5);
    CHECK(resized.keys == other.keys.topRows(5));
    CHECK(resized.values == other.values.leftCols(5 * other.heads * other.lanes));
  }
}

TEST_CASE("KeyValueCache: a large capacity is an odd number of cache lines") {
  for (const Index slots : {1, 31, 32}) CHECK(KeyValueCache<double>::padded(slots) == slots);
  CHECK(KeyValueCache<double>::padded(33) == 40);
  CHECK(KeyValueCache<double>::padded(64) == 72);
  CHECK(KeyValueCache<float>::padded(64) == 64);
  CHECK(KeyValueCache<float>::padded(65) == 80);
  CHECK(KeyValueCache<float>::padded(128) == 144);
}
