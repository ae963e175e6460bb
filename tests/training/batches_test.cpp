#include "fbt/training/batches.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"

#include <limits>
#include <numeric>
#include <set>

using namespace fbt;

namespace {

std::vector<Token> counting(Index size) {
  std::vector<Token> data(static_cast<std::size_t>(size));
  std::iota(data.begin(), data.end(), 0);
  return data;
}
std::vector<Token> copy(Tokens tokens) { return {tokens.begin(), tokens.end()}; }

}  // namespace

TEST_CASE("Batches: the first pass brings every token of every lane once, in order") {
  const Index lanes = GENERATE(1, 2, 3), segment = GENERATE(1, 4, 7), segments = GENERATE(1, 3);
  const Index rest = GENERATE(0, 1);  // of each lane, too short for a segment
  if (rest >= segment) return;
  const Index length = segments * segment + rest;
  const auto data = counting(lanes * length + 1);  // token = its place in the data
  Batches batches(data, lanes, segment, 1);
  CHECK(batches.length() == length);
  CHECK(batches.lanes() == lanes);
  CHECK(batches.segment() == segment);
  for (Index n = 0; n < segments; ++n) {
    CHECK(batches.starts_afresh() == (n == 0));
    batches.next();
    for (Index t = 0; t < segment; ++t) {
      for (Index b = 0; b < lanes; ++b) {
        const auto i = static_cast<std::size_t>(t * lanes + b);
        REQUIRE(batches.tokens()[i] == b * length + n * segment + t);
        REQUIRE(batches.targets()[i] == batches.tokens()[i] + 1);
      }
    }
    CHECK(batches.place() == Batches::Place{(n + 1) * segment, 0});
  }
  CHECK(batches.starts_afresh());
}

TEST_CASE("Batches: shorter segments follow one another like others") {
  const auto data = counting(2 * 20 + 1);
  Batches batches(data, 2, 6, 1);
  Index position = 0;
  for (const Index steps : {1, 2, 6, 4, 6}) {
    CHECK(batches.starts_afresh(steps) == (position == 0));
    batches.next(steps);
    REQUIRE(batches.tokens().size() == static_cast<std::size_t>(2 * steps));
    REQUIRE(batches.targets().size() == static_cast<std::size_t>(2 * steps));
    for (Index t = 0; t < steps; ++t) {
      const auto i = static_cast<std::size_t>(2 * t);
      CHECK(batches.tokens()[i] == position + t);
      CHECK(batches.tokens()[i + 1] == 20 + position + t);
      CHECK(batches.targets()[i] == position + t + 1);
    }
    position += steps;
  }
  CHECK(batches.starts_afresh(2));  // only one token is left
  CHECK(!batches.starts_afresh(1));
}

TEST_CASE("Batches: later passes are cut at other places, and lanes stay in their parts") {
  const Index lanes = 2, segment = 5, length = 23;
  const auto data = counting(lanes * length + 1);
  Batches batches(data, lanes, segment, 7);
  std::set<Token> firsts, seen;
  for (Index pass = 0; pass < 30; ++pass) {
    REQUIRE(batches.starts_afresh());
    Index position = -1;
    do {
      batches.next();
      REQUIRE(batches.place().passes == pass);
      const Token first = batches.tokens()[0];
      if (position < 0) {
        position = first;
        REQUIRE(first < segment);
        firsts.insert(first);
        if (pass == 0) REQUIRE(first == 0);
      }
      REQUIRE(first == position);
      position += segment;
      for (Index t = 0; t < segment; ++t) {
        for (Index b = 0; b < lanes; ++b) {
          const Token token = batches.tokens()[static_cast<std::size_t>(t * lanes + b)];
          REQUIRE(token == b * length + first + t);
          REQUIRE(token < (b + 1) * length);
          REQUIRE(batches.targets()[static_cast<std::size_t>(t * lanes + b)] == token + 1);
          seen.insert(token);
        }
      }
    } while (!batches.starts_afresh());
    REQUIRE(length - position < segment);  // no whole segment was left out
  }
  CHECK(static_cast<Index>(firsts.size()) == segment);
  CHECK(static_cast<Index>(seen.size()) == lanes * length);  // what the first pass left out at its end comes later
}

TEST_CASE("Batches: the seed decides where later passes are cut, and only that") {
  const auto data = counting(300);
  const auto run = [&](std::uint64_t seed) {
    Batches batches(data, 3, 8, seed);
    std::vector<Token> all;
    for (int n = 0; n < 60; ++n) {
      batches.next();
      all.push_back(batches.tokens()[0]);
    }
    return all;
  };
  const auto one = run(1), again = run(1), other = run(2);
  CHECK(one == again);
  CHECK(one != other);
  CHECK(std::equal(one.begin(), one.begin() + 12, other.begin()));
}

TEST_CASE("Batches: a place brings back the same sequence") {
  const auto data = counting(47);
  Batches batches(data, 2, 4, 3);
  std::vector<std::vector<Token>> segments;
  std::vector<Batches::Place> places;
  std::vector<bool> starts;
  for (int n = 0; n < 25; ++n) {
    places.push_back(batches.place());
    starts.push_back(batches.starts_afresh());
    batches.next();
    segments.push_back(copy(batches.tokens()));
  }
  CHECK(batches.place().passes >= 3);
  for (std::size_t n = 0; n < places.size(); ++n) {
    Batches other(data, 2, 4, 3);
    other.set_place(places[n]);
    for (std::size_t i = n; i < segments.size(); ++i) {
      REQUIRE(other.starts_afresh() == starts[i]);
      other.next();
      REQUIRE(copy(other.tokens()) == segments[i]);
    }
    CHECK(other.place() == batches.place());
  }
}

TEST_CASE("Batches: labels are the targets, segment by segment") {
  const Index lanes = 3, segment = 4;
  const Segments segments = GENERATE(Segments::carried, Segments::independent);
  const auto data = counting(lanes * 10);
  std::vector<Token> labels;
  for (const Token token : data) labels.push_back(token % 5 == 0 ? -1 : 1000 + token);
  Batches batches(data, labels, lanes, segment, 7, segments);
  CHECK(batches.labels().data() == labels.data());
  CHECK(Batches(data, lanes, segment, 7).labels().empty());
  const bool independent = segments == Segments::independent;
  CHECK(batches.length() == (independent ? 8 : 10));
  std::set<Token> firsts;
  for (int n = 0; n < 20; ++n) {
    if (independent || n < 3) CHECK(batches.starts_afresh() == (independent || n != 1));
    batches.next();
    for (std::size_t i = 0; i < batches.tokens().size(); ++i)
      REQUIRE(batches.targets()[i] == labels[static_cast<std::size_t>(batches.tokens()[i])]);
    for (Index b = 0; b < lanes; ++b)
      REQUIRE(batches.tokens()[static_cast<std::size_t>(b)] == batches.tokens()[0] + b * batches.length());
    firsts.insert(batches.tokens()[0]);
  }
  if (independent) CHECK(firsts == std::set<Token>{0, 4});
  if (!independent) CHECK(firsts.size() > 2);  // later passes are cut elsewhere
}

TEST_CASE("Batches: labels that do not fit") {
  const auto data = counting(20);
  const auto message = [&](std::size_t tokens, std::size_t labels, Index segment) {
    return message_of<std::invalid_argument>(
        [&] { Batches(Tokens(data).first(tokens), Tokens(data).first(labels), 2, segment, 1, Segments::independent); });
  };
  CHECK(message(20, 19, 4) == "expected as many labels as tokens, found 19 for 20");
  CHECK(message(19, 20, 4) == "expected as many labels as tokens, found 20 for 19");
  CHECK(message(7, 7, 4) == "the data is too short: 2 lanes of segments of 4 tokens need 8 tokens, found 7");
  CHECK_NOTHROW(Batches(Tokens(data).first(8), Tokens(data).first(8), 2, 4, 1, Segments::independent));
}

TEST_CASE("Batches: too little text, and sizes out of range") {
  const auto data = counting(20);
  const auto message = [&](Index size, Index lanes, Index segment) {
    return message_of<std::invalid_argument>(
        [&] { Batches(Tokens(data).first(static_cast<std::size_t>(size)), lanes, segment, 1); });
  };
  CHECK_NOTHROW(Batches(Tokens(data).first(13), 3, 4, 1));
  CHECK(message(12, 3, 4) == "the data is too short: 3 lanes of segments of 4 tokens need 13 tokens, found 12");
  CHECK(message(0, 1, 1) == "the data is too short: 1 lanes of segments of 1 tokens need 2 tokens, found 0");
  CHECK(message(1, 1, 1) == "the data is too short: 1 lanes of segments of 1 tokens need 2 tokens, found 1");
  CHECK(message(20, 0, 4) == "lanes must be at least 1, found 0");
  CHECK(message(20, 3, 0) == "the segment must be at least 1 token, found 0");
  CHECK_THAT(message(20, Index(1) << 40, Index(1) << 40), ContainsSubstring("the data is too short"));
}

TEST_CASE("Batches: a place or a segment that there is not") {
  const auto data = counting(20);
  Batches batches(data, 3, 4, 1);
  CHECK(message_of<std::invalid_argument>([&] {
          batches.set_place({7, 0});
        }) == "expected a place within the 6 tokens of a lane, found 7 in pass 0");
  CHECK_THROWS_AS(batches.set_place({-1, 0}), std::invalid_argument);
  CHECK_THROWS_AS(batches.set_place({0, -1}), std::invalid_argument);
  CHECK_NOTHROW(batches.set_place({6, 0}));
  CHECK(message_of<std::invalid_argument>([&] { batches.next(5); }) == "expected a segment of 1 to 4 steps, found 5");
  CHECK_THROWS_AS(batches.next(0), std::invalid_argument);
}
