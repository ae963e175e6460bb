#include "fbt/generation/beam_search.hpp"

#include "fbt/models/encoder_decoder.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/small_models.hpp"

#include <cmath>
#include <limits>
#include <utility>

using namespace fbt;

namespace {

using Model = EncoderDecoder<double>;

Model small_translator(EmptyMemory empty = EmptyMemory::skip) {
  EncoderDecoderConfig c;
  c.decoder = small_config();
  c.decoder.empty_memory = empty;
  c.decoder.vocabulary = 4;
  c.decoder.cross_attention = true;
  c.source_vocabulary = 6;
  Random random(3);
  Model model(c, random);
  scatter(model, random);
  return model;
}

/// All targets of up to so many tokens, the end counted, and all beginnings that long, with their log probabilities.
void enumerate(const Model& model, const std::vector<Token>& source, const BeamSearchOptions& o,
               std::vector<Token> beginning, double log_probability, std::vector<Hypothesis>& all) {
  if (static_cast<Index>(beginning.size()) == o.length) {
    all.push_back({beginning, log_probability, o.score(log_probability, o.length), false});
    return;
  }
  auto stepper = model.start(std::vector<std::vector<Token>>{source});
  Matrix<double> logits = model.step(std::vector<Token>{o.begin}, stepper);
  for (const Token token : beginning) logits = model.step(std::vector<Token>{token}, stepper);
  const double total = std::log(logits.array().exp().sum());
  for (Token v = 0; v < 4; ++v) {
    const double sum = log_probability + logits(v, 0) - total;
    if (v == o.end) {
      all.push_back({beginning, sum, o.score(sum, static_cast<Index>(beginning.size()) + 1), true});
    } else {
      std::vector<Token> longer = beginning;
      longer.push_back(v);
      enumerate(model, source, o, longer, sum, all);
    }
  }
}

const std::vector<std::vector<Token>> sources{{1, 2, 3}, {5}, {4, 4, 4, 0, 1}};

}  // namespace

TEST_CASE("beam_search: with beams enough it finds the best of all targets") {
  const Model model = small_translator();
  BeamSearchOptions o{.begin = 1, .end = 0, .beams = 400, .length = 5};
  o.length_penalty = GENERATE(0.0, 0.6, 2.0);
  const auto found = beam_search(model, sources, o);
  for (std::size_t s = 0; s < sources.size(); ++s) {
    std::vector<Hypothesis> all;
    enumerate(model, sources[s], o, {}, 0, all);
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
    REQUIRE(all.size() == 1 + 3 + 9 + 27 + 81 + 243);
    REQUIRE(found[s].size() == all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      CAPTURE(s, i);
      CHECK(found[s][i].tokens == all[i].tokens);
      CHECK(found[s][i].finished == all[i].finished);
      CHECK(std::abs(found[s][i].log_probability - all[i].log_probability) < 1e-9);
      CHECK(std::abs(found[s][i].score - all[i].score) < 1e-9);
    }
  }
}

TEST_CASE("beam_search: one beam takes the most likely token at every step") {
  const Model model = small_translator();
  const BeamSearchOptions o{.begin = 1, .end = 0, .beams = 1, .length = 12};
  const auto found = beam_search(model, sources, o);
  for (std::size_t s = 0; s < sources.size(); ++s) {
    auto stepper = model.start(std::span(sources).subspan(s, 1));
    std::vector<Token> tokens;
    Token last = o.begin;
    bool finished = false;
    while (static_cast<Index>(tokens.size()) < o.length && !finished) {
      Index best;
      model.step(std::vector<Token>{last}, stepper).col(0).maxCoeff(&best);
      last = static_cast<Token>(best);
      finished = last == o.end;
      if (!finished) tokens.push_back(last);
    }
    REQUIRE(found[s].size() == 1);
    CHECK(found[s][0].tokens == tokens);
    CHECK(found[s][0].finished == finished);
  }
}

TEST_CASE("beam_search: a target does not depend on what is written beside it") {
  const Model model = small_translator();
  const BeamSearchOptions o{.begin = 1, .end = 0, .beams = 3, .length = 20};
  const auto together = beam_search(model, sources, o);
  for (const Index lanes : {1, 7}) {
    const auto apart = beam_search(model, sources, o, lanes);
    for (std::size_t s = 0; s < sources.size(); ++s) {
      REQUIRE(apart[s].size() == together[s].size());
      for (std::size_t i = 0; i < apart[s].size(); ++i) {
        CHECK(apart[s][i].tokens == together[s][i].tokens);
        CHECK(std::abs(apart[s][i].score - together[s][i].score) < 1e-9);
      }
    }
  }
  CHECK(beam_search(model, std::vector<std::vector<Token>>{}, o).empty());
}

namespace {

/// Counts the lanes of every step.
struct Counting {
  using Stepper = Model::Stepper;

  const Model& model;
  mutable std::vector<Index> lanes = {};

  auto config() const { return model.config(); }
  template <class... Args>
  Stepper start(const Args&... args) const {
    return model.start(args...);
  }
  void select_lanes(std::span<const Index> from, Stepper& stepper) const { model.select_lanes(from, stepper); }
  const Matrix<double>& step(Tokens tokens, Stepper& stepper) const {
    lanes.push_back(stepper.memory.lanes());
    return model.step(tokens, stepper);
  }
};

}  // namespace

TEST_CASE("beam_search: the lanes of what has been written leave, and nothing else changes") {
  const Model model = small_translator(GENERATE(EmptyMemory::skip, EmptyMemory::zero_slots));
  std::vector<std::vector<Token>> many{{1, 2, 3}, {5}, {4, 4, 4, 0, 1}, {2, 2}, {3, 1, 5, 5}};
  if (GENERATE(false, true)) many = {{5}, std::vector<Token>(200, 3), {2, 2}};  // the first and the second are encoded apart
  const Index beams = GENERATE(1, 2, 3);
  CAPTURE(beams);
  const BeamSearchOptions o{.begin = 1, .end = 0, .beams = beams, .length = 20};
  const auto steps_of = [&](const std::vector<std::vector<Token>>& sources_of) {
    const Counting counting{model};
    const auto found = beam_search(counting, sources_of, o, 64);
    return std::pair{counting.lanes, found};
  };
  std::vector<Index> expected;
  std::vector<std::vector<Hypothesis>> alone;
  for (const auto& source : many) {
    const auto [lanes, found] = steps_of({source, source});  // two, since one lane is computed in another order
    expected.resize(std::max(expected.size(), lanes.size()));
    for (std::size_t t = 0; t < lanes.size(); ++t) expected[t] += lanes[t] / 2;
    alone.push_back(found[0]);
  }
  const auto [lanes, found] = steps_of(many);
  for (Index& count : expected) count = std::max<Index>(count, 2);
  CHECK(lanes == expected);
  CHECK(lanes.back() < lanes.front());
  for (std::size_t s = 0; s < many.size(); ++s) {
    CAPTURE(s);
    REQUIRE(found[s].size() == alone[s].size());
    for (std::size_t i = 0; i < found[s].size(); ++i) {
      CHECK(found[s][i].tokens == alone[s][i].tokens);
      CHECK(found[s][i].log_probability == alone[s][i].log_probability);
    }
  }
}

namespace {

/// Logits of the given probabilities.
Matrix<double> logits_of(const std::vector<double>& probabilities) {
  return Eigen::Map<const Vector<double>>(probabilities.data(), static_cast<Index>(probabilities.size())).array().log();
}

}  // namespace

TEST_CASE("beam_search: a source that is left over for the last group is written as beside the others, to the last bit") {
  Random random(3);
  const EncoderDecoder<float> model(small_translator().config(), random);
  const BeamSearchOptions o{.begin = 3, .end = 3, .beams = 1, .length = 5};
  const auto all = beam_search(model, sources, o), two = beam_search(model, sources, o, 2);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    CHECK(two[i][0].tokens == all[i][0].tokens);
    CHECK(two[i][0].log_probability == all[i][0].log_probability);
  }
}

TEST_CASE("beam_search: one beam ends where the end is most likely") {
  // going on would have a better score in the end
  const BeamSearchOptions o{.begin = 1, .end = 0, .beams = 1, .length = 256};
  detail::BeamSearch search(o);
  std::vector<Index> from{0};
  CHECK_FALSE(search.read(logits_of({0.5, 0.45, 0.05}), 0, from));
  const auto found = std::move(search).result();
  REQUIRE(found.size() == 1);
  CHECK(found[0].tokens.empty());
  CHECK(found[0].finished);
}

TEST_CASE("beam_search: an unlikely end does not hide the beginning of a likelier target") {
  const BeamSearchOptions o{.begin = 1, .end = 0, .beams = 2, .length = 3};
  detail::BeamSearch search(o);
  std::vector<Index> from{0, 1};
  int steps = 1;
  while (search.read(logits_of({1e-4, 1 - 1e-4}), 0, from)) ++steps;
  CHECK(steps == 3);
  const auto found = std::move(search).result();
  REQUIRE(found.size() == 2);
  CHECK(found[0].tokens == std::vector<Token>{1, 1, 1});
  CHECK_FALSE(found[0].finished);
  CHECK(found[0].log_probability == Approx(3 * std::log(1 - 1e-4)));
  CHECK(found[1].tokens.size() <= 2);
  CHECK(found[1].finished);
}

TEST_CASE("beam_search: the first to go on from a beam stays in its lane, and forbidden tokens are not written") {
  const BeamSearchOptions o{.begin = 9, .end = 0, .beams = 3, .length = 9, .length_penalty = 0};
  detail::BeamSearch search(o);
  std::vector<Index> from{6, 7, 8};
  REQUIRE(search.read(logits_of({0, 0.5, 0.3, 0.2}), 6, from));
  CHECK(from == std::vector<Index>{6, 6, 6});
  CHECK(search.next(0) == 1);
  CHECK(search.next(1) == 2);
  CHECK(search.next(2) == 3);
  Matrix<double> logits(4, 3);
  logits << logits_of({0, 0.5, 0.5, 0}), logits_of({0, 0, 1, 0}), logits_of({0, 0.1, 0.1, 0.8});
  from = {6, 7, 8};  // .3 of beam 1, .25 twice of beam 0, .16 of beam 2
  REQUIRE(search.read(logits, 6, from));
  CHECK(from == std::vector<Index>{6, 7, 6});
  CHECK(search.next(0) == 1);
  CHECK(search.next(1) == 2);
  CHECK(search.next(2) == 2);
}

TEST_CASE("beam_search: bad options and logits that are not numbers") {
  Model model = small_translator();
  const auto message = [&](BeamSearchOptions o) {
    return message_of<std::invalid_argument>([&] { beam_search(model, sources, o); });
  };
  CHECK(message({.beams = 0}) == "beam search: beams must be from 1 to 1024, found 0");
  CHECK(message({.beams = std::numeric_limits<Index>::max()}).starts_with("beam search: beams must be from 1 to 1024"));
  CHECK(message({.length = 0}) == "beam search: length must be from 1 to 1000000 tokens, found 0");
  CHECK(message({.length_penalty = -1}) == "the length penalty must be at least 0, found -1");
  CHECK(message({.begin = 4}) == "beam search: begin and end have to be tokens from 0 to 3, found 4 and 0");
  model.decoder.head.linear.bias(2) = std::numeric_limits<double>::quiet_NaN();
  CHECK(message_of<std::runtime_error>([&] {
          beam_search(model, sources, {.begin = 1});
        }).ends_with("beam search: expected finite logits, found nan for token 2"));
}
