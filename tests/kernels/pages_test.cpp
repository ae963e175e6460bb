#include "support/catch.hpp"

#include "fbt/kernels/pages.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

using namespace fbt::detail;

TEST_CASE("PageAllocator: a small array begins with a line, a large one with a large page") {
  constexpr std::size_t page = PageAllocator<float>::page / sizeof(float);
  for (const std::size_t count : {std::size_t{1}, std::size_t{100}, page - 1, page, 2 * page + 3}) {
    CAPTURE(count);
    std::vector<float, PageAllocator<float>> entries(count);
    const auto place = reinterpret_cast<std::uintptr_t>(entries.data());
    CHECK(place % (count < page ? 64 : PageAllocator<float>::page) == 0);
    std::iota(entries.begin(), entries.end(), 0.0f);
    auto copy = entries;
    CHECK(copy.data() != entries.data());
    CHECK(copy == entries);
    copy.resize(copy.size() + 1);
    CHECK(std::equal(entries.begin(), entries.end(), copy.begin()));
  }
}

TEST_CASE("resize_exactly: room is kept for what fits, and no more than twice that") {
  PageVector<float> entries;
  resize_exactly(entries, 100);
  CHECK(entries.capacity() == 100);
  const float* const place = entries.data();
  resize_exactly(entries, 60);
  CHECK(entries.data() == place);
  resize_exactly(entries, 101);
  CHECK(entries.capacity() == 101);
  resize_exactly(entries, 49);
  CHECK(entries.capacity() == 49);
  CHECK(entries.size() == 49);
}

TEST_CASE("PageAllocator: a vector of entries that need a constructor") {
  const std::vector<std::vector<int>, PageAllocator<std::vector<int>>> entries(5);
  for (const auto& entry : entries) CHECK(entry.empty());
}
