#include "fbt/training/batches.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"

#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <type_traits>

using namespace fbt;

namespace {

std::vector<Token> counting(Index size) {
  std::vector<Token> data(static_cast<std::size_t>(size));
  std::iota(data.begin(), data.end(), 0);
  return data;
}
std::vector<Token> copy(Tokens tokens) { return {tokens.begin(), tokens.end()}; }

}  // namespace

// Batches keep a view of their data: what dies at the end of the call does not compile.
static_assert(std::is_constructible_v<Batches<>, const std::vector<Token>&, BatchOptions>);
static_assert(!std::is_constructible_v<Batches<>, std::vector<Token>, BatchOptions>);
static_assert(std::is_constructible_v<Batches<>, const std::vector<Token>&, const std::vector<Token>&, BatchOptions>);
static_assert(!std::is_constructible_v<Batches<>, std::vector<Token>, const std::vector<Token>&, BatchOptions>);

TEST_CASE("Batches: the first pass brings every token of every lane once, in order") {
  const Index lanes = GENERATE(1, 2, 3), segment = GENERATE(1, 4, 7), segments = GENERATE(1, 3);
  const Index rest = GENERATE(0, 1);  // of each lane, too short for a segment
  if (rest >= segment) return;
  const Index length = segments * segment + rest;
  const auto data = counting(lanes * length + 1);  // token = its place in the data
  Batches batches(data, BatchOptions{lanes, segment});
  CHECK(batches.length() == length);
  CHECK(batches.lanes() == lanes);
  CHECK(batches.segment() == segment);
  for (Index n = 0; n < segments; ++n) {
    CHECK(batches.starts_afresh() == (n == 0));
    batches.next();
    for (Index t = 0; t < segment; ++t) {
      for (Index b = 0; b < lanes; ++b) {
        const auto i = static_cast<std::size_t>(t * lanes + b);
        REQUIRE(batches.values()[i] == b * length + n * segment + t);
        REQUIRE(batches.targets()[i] == batches.values()[i] + 1);
      }
    }
    CHECK(batches.place() == Batches<>::Place{(n + 1) * segment, 0});
  }
  CHECK(batches.starts_afresh());
}

TEST_CASE("Batches: shorter segments follow one another like others") {
  const auto data = counting(2 * 20 + 1);
  Batches batches(data, BatchOptions{2, 6});
  Index position = 0;
  for (const Index steps : {1, 2, 6, 4, 6}) {
    CHECK(batches.starts_afresh(steps) == (position == 0));
    batches.next(steps);
    REQUIRE(batches.values().size() == static_cast<std::size_t>(2 * steps));
    REQUIRE(batches.targets().size() == static_cast<std::size_t>(2 * steps));
    for (Index t = 0; t < steps; ++t) {
      const auto i = static_cast<std::size_t>(2 * t);
      CHECK(batches.values()[i] == position + t);
      CHECK(batches.values()[i + 1] == 20 + position + t);
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
  Batches batches(data, BatchOptions{.lanes = lanes, .segment = segment, .seed = 7});
  std::set<Token> firsts, seen;
  for (Index pass = 0; pass < 30; ++pass) {
    REQUIRE(batches.starts_afresh());
    Index position = -1;
    do {
      batches.next();
      REQUIRE(batches.place().passes == pass);
      const Token first = batches.values()[0];
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
          const Token token = batches.values()[static_cast<std::size_t>(t * lanes + b)];
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
    Batches batches(data, BatchOptions{.lanes = 3, .segment = 8, .seed = seed});
    std::vector<Token> all;
    for (int n = 0; n < 60; ++n) {
      batches.next();
      all.push_back(batches.values()[0]);
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
  const BatchOptions options{.lanes = 2, .segment = 4, .seed = 3};
  Batches batches(data, options);
  std::vector<std::vector<Token>> segments;
  std::vector<Batches<>::Place> places;
  std::vector<bool> starts;
  for (int n = 0; n < 25; ++n) {
    places.push_back(batches.place());
    starts.push_back(batches.starts_afresh());
    batches.next();
    segments.push_back(copy(batches.values()));
  }
  CHECK(batches.place().passes >= 3);
  for (std::size_t n = 0; n < places.size(); ++n) {
    Batches other(data, options);
    other.set_place(places[n]);
    for (std::size_t i = n; i < segments.size(); ++i) {
      REQUIRE(other.starts_afresh() == starts[i]);
      other.next();
      REQUIRE(copy(other.values()) == segments[i]);
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
  Batches batches(data, labels, BatchOptions{lanes, segment, segments, 7});
  CHECK(batches.goals().data() == labels.data());
  CHECK(batches.data().data() == data.data());
  CHECK(batches.segments() == segments);
  CHECK(batches.seed() == 7);
  CHECK_FALSE(batches.predicts_next());
  CHECK(Batches(data, BatchOptions{lanes, segment}).predicts_next());
  const bool independent = segments == Segments::independent;
  CHECK(batches.length() == (independent ? 8 : 10));
  std::set<Token> firsts;
  for (int n = 0; n < 20; ++n) {
    if (independent || n < 3) CHECK(batches.starts_afresh() == (independent || n != 1));
    batches.next();
    for (std::size_t i = 0; i < batches.values().size(); ++i)
      REQUIRE(batches.targets()[i] == labels[static_cast<std::size_t>(batches.values()[i])]);
    for (Index b = 0; b < lanes; ++b)
      REQUIRE(batches.values()[static_cast<std::size_t>(b)] == batches.values()[0] + b * batches.length());
    firsts.insert(batches.values()[0]);
  }
  if (independent) CHECK(firsts == std::set<Token>{0, 4});
  if (!independent) CHECK(firsts.size() > 2);  // later passes are cut elsewhere
}

TEST_CASE("Batches: labels that do not fit") {
  const auto data = counting(20);
  const auto of = [&](std::size_t tokens, std::size_t labels, Index segment) {
    return Batches(Tokens(data).first(tokens), Tokens(data).first(labels), BatchOptions{2, segment, Segments::independent});
  };
  const auto message = [&](std::size_t tokens, std::size_t labels, Index segment) {
    return message_of<std::invalid_argument>([&] { of(tokens, labels, segment); });
  };
  CHECK(message(20, 19, 4) == "expected as many targets as values, found 19 for 20");
  CHECK(message(19, 20, 4) == "expected as many targets as values, found 20 for 19");
  CHECK(message(7, 7, 4) == "the data is too short: 2 lanes of segments of 4 tokens need 8 tokens, found 7");
  CHECK_NOTHROW(of(8, 8, 4));
}

TEST_CASE("Batches: too little text, and sizes out of range") {
  const auto data = counting(20);
  const auto message = [&](Index size, Index lanes, Index segment) {
    return message_of<std::invalid_argument>([&] {
      Batches(Tokens(data).first(static_cast<std::size_t>(size)), BatchOptions{lanes, segment});
    });
  };
  CHECK_NOTHROW(Batches(Tokens(data).first(13), BatchOptions{3, 4}));
  CHECK(message(12, 3, 4) == "the data is too short: 3 lanes of segments of 4 tokens need 13 tokens, found 12");
  CHECK(message(0, 1, 1) == "the data is too short: 1 lanes of segments of 1 tokens need 2 tokens, found 0");
  CHECK(message(1, 1, 1) == "the data is too short: 1 lanes of segments of 1 tokens need 2 tokens, found 1");
  CHECK(message(20, 0, 4) == "lanes must be at least 1, found 0");
  CHECK(message(20, 3, 0) == "the segment must be at least 1 token, found 0");
  const Index huge = std::numeric_limits<Index>::max() / 4;  // lanes of segments of them are more than there are numbers
  CHECK_THAT(message(20, huge, huge), ContainsSubstring("the data is too short"));
}

TEST_CASE("Batches: a place or a segment that there is not") {
  const auto data = counting(20);
  Batches batches(data, BatchOptions{3, 4});
  CHECK(message_of<std::invalid_argument>([&] {
          batches.set_place({7, 0});
        }) == "expected a place within the 6 tokens of a lane, found 7 in pass 0");
  CHECK_THROWS_AS(batches.set_place({-1, 0}), std::invalid_argument);
  CHECK_THROWS_AS(batches.set_place({0, -1}), std::invalid_argument);
  CHECK_NOTHROW(batches.set_place({6, 0}));
  CHECK(message_of<std::invalid_argument>([&] { batches.next(5); }) == "expected a segment of 1 to 4 steps, found 5");
  CHECK_THROWS_AS(batches.next(0), std::invalid_argument);
}

TEST_CASE("Batches: a shorter segment of an independent one is its first steps") {
  const auto data = counting(24);
  Batches batches(data, data, BatchOptions{2, 4, Segments::independent});
  for (const auto& [steps, first] : std::vector<std::pair<Index, Token>>{{2, 0}, {4, 4}, {1, 8}, {3, 0}, {4, 4}}) {
    CHECK(batches.starts_afresh(steps));
    batches.next(steps);
    REQUIRE(batches.values().size() == static_cast<std::size_t>(2 * steps));
    REQUIRE(batches.targets().size() == static_cast<std::size_t>(2 * steps));
    for (Index t = 0; t < steps; ++t) {
      CHECK(batches.values()[static_cast<std::size_t>(2 * t)] == first + t);
      CHECK(batches.values()[static_cast<std::size_t>(2 * t + 1)] == 12 + first + t);
    }
    CHECK(batches.place().position == first + 4);  // the rest was passed over
  }
  CHECK(batches.place().passes == 1);
}

TEST_CASE("Batches: vectors are cut like tokens, and so are the vectors that are their targets") {
  const Index lanes = 2, segment = 3, length = 7;
  const Segments segments = GENERATE(Segments::carried, Segments::independent);
  const auto tokens = counting(lanes * length);
  Matrix<double> values(3, lanes * length), targets(2, lanes * length);
  for (Index i = 0; i < values.cols(); ++i) {
    const auto x = static_cast<double>(i);
    values.col(i) << x, -x, 10 * x;
    targets.col(i) << 100 + x, std::numeric_limits<double>::quiet_NaN();
  }
  const Vectors<double> data(values.data(), 3, values.cols()), goals(targets.data(), 2, values.cols());
  const BatchOptions options{lanes, segment, segments, 5};
  Batches<Vectors<double>, Vectors<double>> batches(data, goals, options);
  Batches same(tokens, tokens, options);
  Batches<Vectors<double>> labelled(data, tokens, options);  // vectors with labels
  Batches<Tokens, Vectors<double>> measured(tokens, goals, options);
  CHECK(batches.data().data() == values.data());
  CHECK(batches.goals().data() == targets.data());
  CHECK_FALSE(batches.predicts_next());
  for (int n = 0; n < 12; ++n) {
    const Index steps = n % 3 == 1 ? 2 : segment;
    batches.next(steps);
    same.next(steps);
    labelled.next(steps);
    measured.next(steps);
    REQUIRE(batches.values().rows() == 3);
    REQUIRE(batches.values().cols() == lanes * steps);
    REQUIRE(batches.targets().rows() == 2);
    REQUIRE(batches.targets().cols() == lanes * steps);
    CHECK(copy(labelled.targets()) == copy(same.targets()));
    CHECK(copy(measured.values()) == copy(same.values()));
    CHECK(labelled.values() == batches.values());
    CHECK(measured.targets().row(0) == batches.targets().row(0));
    for (Index i = 0; i < lanes * steps; ++i) {
      const Token token = same.values()[static_cast<std::size_t>(i)];
      CHECK(batches.values().col(i) == values.col(token));
      CHECK(batches.targets()(0, i) == 100 + token);
      CHECK(std::isnan(batches.targets()(1, i)));
    }
    CHECK(batches.place().position == same.place().position);
    CHECK(batches.place().passes == same.place().passes);
  }
  CHECK_THROWS_WITH((Batches<Vectors<double>, Vectors<double>>(data, Vectors<double>(targets.data(), 2, 13), options)),
                    "expected as many targets as values, found 13 for 14");
}

TEST_CASE("Batches: starts go with their values") {
  const Index lanes = 3, length = 11;
  const Segments segments = GENERATE(Segments::carried, Segments::independent);
  const auto data = counting(lanes * length);
  std::vector<std::uint8_t> starts;
  for (const Token token : data) starts.push_back(token % 4 == 0 ? static_cast<std::uint8_t>(token % 7 + 1) : 0);
  Batches batches(data, data, BatchOptions{lanes, 4, segments, 3});
  batches.next();
  CHECK(batches.starts().empty());
  CHECK(batches.all_starts().empty());
  batches.set_starts(starts);
  CHECK(batches.all_starts().data() == starts.data());
  for (int n = 0; n < 20; ++n) {
    batches.next(n % 3 + 2);
    REQUIRE(batches.starts().size() == batches.values().size());
    for (std::size_t i = 0; i < batches.values().size(); ++i)
      CHECK((batches.starts()[i] != 0) == (batches.values()[i] % 4 == 0));
  }
  CHECK(batches.place().passes > 1);

  // copies are batches of their own
  auto copied = batches;
  copied.next();
  batches.next();
  batches.next();
  for (std::size_t i = 0; i < copied.values().size(); ++i) CHECK((copied.starts()[i] != 0) == (copied.values()[i] % 4 == 0));

  starts.pop_back();
  CHECK(message_of<std::invalid_argument>([&] { batches.set_starts(starts); }) ==
        "expected as many starts as values, found 32 for 33");
}

TEST_CASE("Batches: tokens that follow have a start each, too") {
  const auto data = counting(21);
  std::vector<std::uint8_t> starts(21, 0);
  starts[3] = starts[13] = 1;
  Batches batches(data, BatchOptions{2, 5});
  batches.set_starts(starts);
  batches.next();
  for (Index i = 0; i < 10; ++i) CHECK((batches.starts()[static_cast<std::size_t>(i)] != 0) == (i == 6 || i == 7));
}
