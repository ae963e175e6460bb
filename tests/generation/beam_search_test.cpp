#include "fbt/generation/beam_search.hpp"

#include "fbt/models/encoder_decoder.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/small_models.hpp"

#include <cmath>
#include <limits>

using namespace fbt;

namespace {

using Model = EncoderDecoder<double>;

Model small_translator() {
  EncoderDecoderConfig c;
  c.decoder = small_config();
  c.decoder.vocabulary = 4;
  c.decoder.cross_attention = true;
  c.source_vocabulary = 6;
  Random random(3);
  Model model(c, random);
  scatter(model, random);
  return model;
}

/// All targets of up to so many tokens, the end counted, with their log probabilities.
void enumerate(const Model& model, const std::vector<Token>& source, const BeamSearchOptions& o,
               std::vector<Token> beginning, double log_probability, std::vector<Hypothesis>& all) {
  if (static_cast<Index>(beginning.size()) == o.length) return;
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
  BeamSearchOptions o{.begin = 1, .end = 0, .beams = 200, .length = 5};
  o.length_penalty = GENERATE(0.0, 0.6, 2.0);
  const auto found = beam_search(model, sources, o);
  for (std::size_t s = 0; s < sources.size(); ++s) {
    std::vector<Hypothesis> all;
    enumerate(model, sources[s], o, {}, 0, all);
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
    REQUIRE(all.size() == 1 + 3 + 9 + 27 + 81);
    REQUIRE(found[s].size() >= 20);
    for (std::size_t i = 0; i < 20; ++i) {
      CAPTURE(s, i);
      CHECK(found[s][i].tokens == all[i].tokens);
      CHECK(found[s][i].finished);
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

TEST_CASE("beam_search: bad options and logits that are not numbers") {
  Model model = small_translator();
  const auto message = [&](BeamSearchOptions o) {
    return message_of<std::invalid_argument>([&] { beam_search(model, sources, o); });
  };
  CHECK(message({.beams = 0}) == "beam search needs at least 1 beam, found 0");
  CHECK(message({.length = 0}) == "beam search needs a length of at least 1 token, found 0");
  CHECK(message({.length_penalty = -1}) == "the length penalty must be at least 0, found -1");
  CHECK(message({.begin = 4}) == "beam search: begin and end have to be tokens from 0 to 3, found 4 and 0");
  model.decoder.head.linear.bias(2) = std::numeric_limits<double>::quiet_NaN();
  CHECK(message_of<std::runtime_error>([&] {
          beam_search(model, sources, {.begin = 1});
        }).starts_with("beam search: expected finite logits, found "));
}
