#include "fbt/generation/sampling.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"

#include <limits>
#include <set>

using namespace fbt;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

/// No sampler but the temperature of 1.
SamplingOptions plain() {
  SamplingOptions options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  return options;
}
Vector<double> logits_of(std::initializer_list<double> probabilities) {
  Vector<double> logits(static_cast<Index>(probabilities.size()));
  Index i = 0;
  for (const double p : probabilities) logits(i++) = std::log(p);
  return logits;
}
/// How often each token is drawn.
std::vector<double> shares(const SamplingOptions& options, const Vector<double>& logits, int draws = 20000) {
  Sampler sampler(options);
  std::vector<double> result(static_cast<std::size_t>(logits.size()));
  for (int i = 0; i < draws; ++i) result.at(static_cast<std::size_t>(sampler.sample(logits))) += 1.0 / draws;
  return result;
}
/// Which tokens are ever drawn; every probability in these tests is 1% or more.
std::set<Token> drawn(const SamplingOptions& options, const Vector<double>& logits) {
  std::set<Token> result;
  Sampler sampler(options);
  for (int i = 0; i < 3000; ++i) result.insert(sampler.sample(logits));
  return result;
}
using Set = std::set<Token>;

}  // namespace

TEST_CASE("Sampler: the distribution is softmax(logits / temperature)") {
  const double temperature = GENERATE(0.5, 1.0, 2.0);
  SamplingOptions options = plain();
  options.temperature = temperature;
  const Vector<double> logits = logits_of({0.1, 0.4, 0.05, 0.25, 0.2}).array() + 7;
  const auto found = shares(options, logits, 40000);
  const Vector<double> weights = (logits / temperature).array().exp();
  for (Index i = 0; i < logits.size(); ++i) {
    const double p = weights(i) / weights.sum();
    CHECK(std::abs(found[static_cast<std::size_t>(i)] - p) < 5 * std::sqrt(p * (1 - p) / 40000));
  }
}

TEST_CASE("Sampler: temperature 0 takes the most likely token, the lower one of equals") {
  SamplingOptions options = plain();
  options.temperature = 0;
  Sampler sampler(options);
  CHECK(sampler.sample(logits_of({0.2, 0.5, 0.3})) == 1);
  CHECK(sampler.sample(logits_of({0.2, 0.4, 0.4})) == 1);
  options.temperature = 1e-300;  // close to 0, and nothing overflows
  CHECK(drawn(options, logits_of({0.2, 0.3, 0.5})) == Set{2});
}

TEST_CASE("Sampler: top-k") {
  SamplingOptions options = plain();
  const auto logits = logits_of({0.1, 0.3, 0.05, 0.3, 0.25});
  options.top_k = 1;
  CHECK(drawn(options, logits) == Set{1});  // of equals the lower
  options.top_k = 3;
  CHECK(drawn(options, logits) == Set{1, 3, 4});
  options.top_k = 5;
  CHECK(drawn(options, logits) == Set{0, 1, 2, 3, 4});
  options.top_k = 1000;
  CHECK(drawn(options, logits) == Set{0, 1, 2, 3, 4});
  options.top_k = 0;
  CHECK(drawn(options, logits) == Set{0, 1, 2, 3, 4});
  // what is kept keeps its proportions
  options.top_k = 2;
  const auto found = shares(options, logits_of({0.1, 0.6, 0.1, 0.2}));
  CHECK(found[1] == Approx(0.75).margin(0.02));
  CHECK(found[3] == Approx(0.25).margin(0.02));
}

TEST_CASE("Sampler: top-p keeps the fewest tokens that reach p") {
  SamplingOptions options = plain();
  const auto logits = logits_of({0.125, 0.5, 0.125, 0.25});
  const auto at = [&](double p) {
    options.top_p = p;
    return drawn(options, logits);
  };
  CHECK(at(1e-9) == Set{1});  // at least one
  CHECK(at(0.49) == Set{1});
  CHECK(at(0.51) == Set{1, 3});
  CHECK(at(0.74) == Set{1, 3});
  CHECK(at(0.76) == Set{0, 1, 3});
  CHECK(at(0.874) == Set{0, 1, 3});
  CHECK(at(0.876) == Set{0, 1, 2, 3});
  CHECK(at(1) == Set{0, 1, 2, 3});
  // exactly reached is enough: two equal tokens and half of the whole
  options.top_p = 0.5;
  CHECK(drawn(options, Vector<double>::Zero(2)) == Set{0});
}

TEST_CASE("Sampler: min-p is relative to the most likely token") {
  SamplingOptions options = plain();
  const auto logits = logits_of({0.1, 0.4, 0.2, 0.3});
  const auto at = [&](double p) {
    options.min_p = p;
    return drawn(options, logits);
  };
  CHECK(at(0) == Set{0, 1, 2, 3});
  CHECK(at(0.24) == Set{0, 1, 2, 3});
  CHECK(at(0.26) == Set{1, 2, 3});
  CHECK(at(0.51) == Set{1, 3});
  CHECK(at(0.76) == Set{1});
  CHECK(at(1) == Set{1});
}

TEST_CASE("Sampler: the order is penalty, top-k, top-p, min-p, temperature") {
  // penalty before top-k: the penalised best token falls out of the first two
  SamplingOptions options = plain();
  options.top_k = 2;
  options.repetition_penalty = 10;
  Sampler penalised(options);
  penalised.accept(0);
  Vector<double> logits(3);
  logits << 3, 2, 1;
  Set seen;
  for (int i = 0; i < 500; ++i) seen.insert(penalised.sample(logits));
  CHECK(seen == Set{1, 2});

  // top-k before top-p: of {0.4, 0.2, 0.2, 0.2} top-2 leaves 2/3 and 1/3, and 0.6 is reached by the first alone
  options = plain();
  options.top_k = 2;
  options.top_p = 0.6;
  CHECK(drawn(options, logits_of({0.2, 0.4, 0.2, 0.2})) == Set{1});

  // top-p before temperature: a high temperature flattens what top-p has left, and brings nothing back
  options = plain();
  options.top_p = 0.5;
  options.temperature = 100;
  CHECK(drawn(options, logits_of({0.6, 0.3, 0.1})) == Set{0});
  // min-p before temperature, too
  options = plain();
  options.min_p = 0.4;
  options.temperature = 100;
  CHECK(drawn(options, logits_of({0.6, 0.3, 0.1})) == Set{0, 1});
}

TEST_CASE("Sampler: the repetition penalty") {
  SamplingOptions options = plain();
  options.temperature = 0;
  options.repetition_penalty = 2;
  options.repetition_window = 2;
  Vector<double> logits(4);
  logits << 4, 3, 1.9, 1;
  Sampler sampler(options);
  CHECK(sampler.sample(logits) == 0);
  sampler.accept(0);
  CHECK(sampler.sample(logits) == 1);  // 4 / 2 < 3
  sampler.accept(0);                   // twice in the window, penalised once: 2 is still above 1.9
  logits(1) = -5;
  CHECK(sampler.sample(logits) == 0);
  logits(1) = 3;
  sampler.accept(1);
  CHECK(sampler.sample(logits) == 0);  // 2, 1.5, 1.9
  sampler.accept(2);                   // 0 has left the window
  CHECK(sampler.sample(logits) == 0);
  logits(0) = 1.4;
  CHECK(sampler.sample(logits) == 1);  // 1.4, 1.5, 0.95
  sampler.accept(3);                   // so has 1
  sampler.accept(2);
  logits << 1.4, 3, 1.9, 5.9;
  CHECK(sampler.sample(logits) == 1);  // 3 and 2.95
  sampler.accept(99);                  // not in this vocabulary: no harm
  sampler.accept(-1);
  CHECK(sampler.sample(logits) == 3);

  // a negative logit is multiplied
  Sampler negative(options);
  logits << -1, -1.5, -3, -3;
  negative.accept(0);
  CHECK(negative.sample(logits) == 1);

  // a window of 0 tokens, and a penalty of 1, change nothing
  options.repetition_window = 0;
  Sampler none(options);
  none.accept(0);
  CHECK(none.sample(logits) == 0);
  options.repetition_window = 8;
  options.repetition_penalty = 1;
  Sampler one(options);
  one.accept(0);
  CHECK(one.sample(logits) == 0);
}

TEST_CASE("Sampler: an enormous repetition window takes no room of its own") {
  SamplingOptions options = plain();
  options.repetition_window = std::numeric_limits<Index>::max();
  Sampler sampler(options);
  sampler.accept(1);
  CHECK(sampler.sample(logits_of({1.0})) == 0);
}

TEST_CASE("Sampler: the seed decides") {
  SamplingOptions options = plain();
  const auto draw = [&](std::uint64_t seed) {
    options.seed = seed;
    Sampler sampler(options);
    std::vector<Token> tokens(64);
    for (Token& t : tokens) t = sampler.sample(logits_of({0.25, 0.25, 0.25, 0.25}));
    return tokens;
  };
  const auto one = draw(1);
  CHECK(one == draw(1));
  CHECK(one != draw(2));
}

TEST_CASE("Sampler: logits that are not finite") {
  SamplingOptions options = plain();
  options.temperature = GENERATE(0.0, 1.0);
  Sampler sampler(options);
  Vector<double> logits(3);
  const auto message = [&] { return message_of<std::runtime_error>([&] { sampler.sample(logits); }); };
  for (Index i = 0; i < 3; ++i) {
    logits << 0, 3, 1;
    logits(i) = not_a_number;
    CHECK(message() == fmt::format("sampling: expected finite logits, found nan for token {}", i));
    logits(i) = infinity;
    CHECK(message() == fmt::format("sampling: expected finite logits, found inf for token {}", i));
  }
  logits << -infinity, -infinity, -infinity;
  CHECK(message() == "sampling: expected finite logits, found none");
  logits.resize(0);
  CHECK(message() == "sampling: expected finite logits, found none");
  // -infinity is a token that cannot come
  logits.resize(3);
  logits << -infinity, 1, -infinity;
  CHECK(drawn(options, logits) == Set{1});
  Vector<float> single(2);
  single << -1e38f, 1e38f;
  CHECK(sampler.sample(single) == 1);
}

TEST_CASE("SamplingOptions: validation") {
  using O = SamplingOptions;
  const auto message = [](auto&& change) {
    O options;
    change(options);
    return message_of<std::invalid_argument>([&] { Sampler sampler(options); });
  };
  CHECK(message([](O&) {}) == "[nothing was thrown]");
  CHECK(message([](O& o) { o.temperature = -1; }) == "temperature must be at least 0, found -1");
  CHECK(message([](O& o) { o.temperature = not_a_number; }) == "temperature must be at least 0, found nan");
  CHECK(message([](O& o) { o.temperature = infinity; }) == "temperature must be at least 0, found inf");
  CHECK(message([](O& o) { o.top_k = -1; }) == "top-k must be at least 0, found -1");
  CHECK(message([](O& o) { o.top_p = 0; }) == "top-p must be above 0 and at most 1, found 0");
  CHECK(message([](O& o) { o.top_p = 1.1; }) == "top-p must be above 0 and at most 1, found 1.1");
  CHECK(message([](O& o) { o.top_p = not_a_number; }) == "top-p must be above 0 and at most 1, found nan");
  CHECK(message([](O& o) { o.min_p = -0.1; }) == "min-p must be from 0 to 1, found -0.1");
  CHECK(message([](O& o) { o.min_p = 2; }) == "min-p must be from 0 to 1, found 2");
  CHECK(message([](O& o) { o.repetition_penalty = 0; }) == "repetition penalty must be above 0, found 0");
  CHECK(message([](O& o) { o.repetition_penalty = infinity; }) == "repetition penalty must be above 0, found inf");
  CHECK(message([](O& o) { o.repetition_window = -1; }) == "repetition window must be at least 0 tokens, found -1");
}

TEST_CASE("SamplingOptions: the documented defaults") {
  const SamplingOptions options;
  CHECK(options.temperature == 0.8);
  CHECK(options.top_k == 40);
  CHECK(options.top_p == 0.95);
  CHECK(options.min_p == 0.05);
  CHECK(options.repetition_penalty == 1);
  CHECK(options.repetition_window == 64);
}

TEST_CASE("SamplingOptions: softmax draws every token as often as its probability") {
  Vector<double> logits(4);
  logits << 0, 1, 2, -3;
  Vector<double> p = logits.array().exp();
  p /= p.sum();
  Sampler sampler(SamplingOptions::softmax(3));
  Vector<double> counts = Vector<double>::Zero(4);
  constexpr int draws = 20000;
  for (int i = 0; i < draws; ++i) counts(sampler.sample(logits)) += 1;
  CHECK((counts / draws - p).cwiseAbs().maxCoeff() < 0.01);
  CHECK(counts(3) > 0);  // also what the defaults cut off
}
