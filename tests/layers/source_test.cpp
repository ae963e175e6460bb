#include "fbt/layers/source.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <stdexcept>

using namespace fbt;

namespace {

/// A source of one lane with numbers of its own.
Source<double> some(Index positions, double from) {
  Source<double> one(2, 3, 2, 1);
  one.reserve(positions);
  one.windows[0] = {0, positions};
  for (auto& bank : one.banks) {
    for (Index i = 0; i < bank.keys.size(); ++i) bank.keys(i % positions, i / positions) = from + static_cast<double>(i);
    for (Index i = 0; i < bank.values.size(); ++i) bank.values(i % 3, i / 3) = -from - static_cast<double>(i);
    from += 0.5;
  }
  return one;
}

bool same(const Source<double>& a, const Source<double>& b) {
  if (a.banks.size() != b.banks.size() || a.windows[0].count != b.windows[0].count) return false;
  for (std::size_t i = 0; i < a.banks.size(); ++i)
    for (Index j = 0; j < 2; ++j)
      if (a.banks[i].key(0, j, a.windows[0]) != b.banks[i].key(0, j, b.windows[0]) ||
          a.banks[i].value(0, j, a.windows[0]) != b.banks[i].value(0, j, b.windows[0]))
        return false;
  return true;
}

}  // namespace

TEST_CASE("Source: lanes take and give, whatever their lengths") {
  Source<double> source(2, 3, 2, 3);
  CHECK(source.lanes() == 3);
  CHECK(source.longest() == 0);
  CHECK(source.take(1).windows[0].count == 0);
  source.put(1, some(2, 10));
  source.put(0, some(5, 100));  // needs more room: what is there stays
  CHECK(source.longest() == 5);
  CHECK(same(source.take(0), some(5, 100)));
  CHECK(same(source.take(1), some(2, 10)));
  CHECK(source.take(2).windows[0].count == 0);
  source.put(0, some(1, 7));
  CHECK(same(source.take(0), some(1, 7)));
  CHECK(source.longest() == 2);
  source.put(1, source.take(2));
  CHECK(source.take(1).windows[0].count == 0);
}

TEST_CASE("Source: lanes are selected, whatever their lengths") {
  Source<double> source(2, 3, 2, 3);
  source.put(0, some(5, 100));
  source.put(1, some(2, 10));
  source.select(std::vector<Index>{1, 2, 0, 1});
  CHECK(source.lanes() == 4);
  CHECK(same(source.take(0), some(2, 10)));
  CHECK(source.take(1).windows[0].count == 0);
  CHECK(same(source.take(2), some(5, 100)));
  CHECK(same(source.take(3), some(2, 10)));
  source.select(std::vector<Index>{2});
  CHECK(source.lanes() == 1);
  CHECK(same(source.take(0), some(5, 100)));
  CHECK(message_of<std::invalid_argument>([&] {
          source.select(std::vector<Index>{0, 1});
        }) == "source: expected a lane below 1, found 1");
  CHECK(same(source.take(0), some(5, 100)));
}

TEST_CASE("Source: one bank serves all blocks, or each has its own") {
  const Source<double> shared(1, 3, 2, 1), own(4, 3, 2, 1);
  for (const std::size_t block : {0u, 3u}) {
    CHECK(&shared.bank_of(block) == &shared.banks[0]);
    CHECK(&own.bank_of(block) == &own.banks[block]);
  }
}

TEST_CASE("Source: one of another config, or of more lanes, is refused") {
  Source<double> source(2, 3, 2, 3);
  const char* const expected = "put: expected the source of a single lane of the same config";
  CHECK(message_of<std::invalid_argument>([&] { source.put(0, Source<double>(1, 3, 2, 1)); }) == expected);
  CHECK(message_of<std::invalid_argument>([&] { source.put(0, Source<double>(2, 3, 2, 2)); }) == expected);
  CHECK(message_of<std::invalid_argument>([&] { source.put(0, Source<double>(2, 4, 2, 1)); }) == expected);
  CHECK(message_of<std::invalid_argument>([&] { source.put(3, Source<double>(2, 3, 2, 1)); }) ==
        "source: expected a lane below 3, found 3");
}
