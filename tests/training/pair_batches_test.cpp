#include "fbt/training/pair_batches.hpp"

#include "fbt/training/trainer.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <memory>

using namespace fbt;

namespace {

/// Pairs of many lengths: targets are the sources reversed.
std::vector<TokenPair> reversals(Index count, Index longest, Random& random) {
  std::vector<TokenPair> pairs;
  for (Index i = 0; i < count; ++i) {
    const std::vector<Token> source = random_tokens(1 + random.below(longest), 8, random);
    std::vector<Token> shifted;
    for (const Token token : source) shifted.push_back(token + 2);
    pairs.push_back({shifted, {shifted.rbegin(), shifted.rend()}});
  }
  return pairs;
}

constexpr PairOptions options{.lanes = 4, .begin = 0, .end = 1, .seed = 3};

/// The pairs of a part, told from what a model reads and from the labels.
std::vector<TokenPair> pairs_of(const PairBatches::Part& part, Index lanes) {
  std::vector<TokenPair> pairs;
  const auto [source, target] = part.values();
  for (std::size_t b = 0; b < static_cast<std::size_t>(lanes); ++b) {
    if (source.lengths[b] == 0) continue;
    TokenPair& pair = pairs.emplace_back();
    for (std::size_t t = 0; t < static_cast<std::size_t>(source.lengths[b]); ++t)
      pair.source.push_back(source.tokens[t * static_cast<std::size_t>(lanes) + b]);
    CHECK(target[b] == 0);
    for (std::size_t i = b; part.targets()[i] != 1; i += static_cast<std::size_t>(lanes)) {
      REQUIRE(i + static_cast<std::size_t>(lanes) < target.size());
      pair.target.push_back(part.targets()[i]);
      CHECK(target[i + static_cast<std::size_t>(lanes)] == part.targets()[i]);
    }
  }
  return pairs;
}

}  // namespace

TEST_CASE("PairBatches: every pair once in a pass, in another order in every pass") {
  Random random(1);
  const std::vector<TokenPair> pairs = reversals(30, 9, random);
  PairBatches batches(pairs, options);
  REQUIRE(batches.length() == 8);
  std::vector<std::vector<TokenPair>> passes(2);
  for (auto& pass : passes) {
    for (Index i = 0; i < batches.length(); ++i) {
      const Index steps = batches.next(batches.segment());
      Index longest = 0, shortest = 100;
      for (const Index first : {0, 3}) {  // three lanes, and one
        const Index lanes = first == 0 ? 3 : 1;
        PairBatches::Part part = batches.part(lanes);
        batches.copy(first, lanes, part);
        for (const TokenPair& pair : pairs_of(part, lanes)) {
          longest = std::max(longest, static_cast<Index>(pair.target.size()));
          shortest = std::min(shortest, static_cast<Index>(pair.target.size()));
          pass.push_back(pair);
        }
      }
      CHECK(steps == longest + 1);
      CHECK(longest - shortest <= 3);
      CHECK(CrossEntropy::count(batches.targets()) >= shortest + 1);
    }
  }
  CHECK(passes[0] != passes[1]);
  const auto sorted = [](std::vector<TokenPair> all) {
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.source < b.source; });
    return all;
  };
  CHECK(sorted(passes[0]) == sorted(pairs));
  CHECK(sorted(passes[1]) == sorted(pairs));
}

TEST_CASE("PairBatches: goes on from a place") {
  Random random(2);
  const std::vector<TokenPair> pairs = reversals(30, 9, random);
  PairBatches first(pairs, options), second(pairs, options);
  for (int i = 0; i < 11; ++i) first.next(first.segment());
  second.set_place(first.place());
  for (int i = 0; i < 11; ++i) {
    REQUIRE(first.next(first.segment()) == second.next(second.segment()));
    CHECK(std::vector<Token>(first.targets().begin(), first.targets().end()) ==
          std::vector<Token>(second.targets().begin(), second.targets().end()));
  }
}

TEST_CASE("PairBatches: a copy stands alone, and after a place there is no batch until the next") {
  Random random(4);
  const std::vector<TokenPair> pairs = reversals(30, 9, random);
  auto original = std::make_unique<PairBatches>(pairs, options);
  original->next(original->segment());
  const std::vector<Token> labels(original->targets().begin(), original->targets().end());
  PairBatches copied = *original;
  original.reset();
  PairBatches::Part part;
  copied.copy(0, options.lanes, part);
  CHECK(std::vector<Token>(part.targets().begin(), part.targets().end()) == labels);
  copied.set_place({3, 1});
  copied.copy(0, options.lanes, part);
  CHECK(CrossEntropy::count(part.targets()) == 0);
}

TEST_CASE("PairBatches: an EncoderDecoder learns to reverse, the same with any number of threads") {
  const auto train = [](Index threads, int updates, double& loss) {
    Random random(3);
    const std::vector<TokenPair> pairs = reversals(400, 6, random);
    EncoderDecoderConfig c;
    c.decoder = {.vocabulary = 10, .width = 32, .layers = 1, .heads = 2, .window = 8, .cross_attention = true};
    c.encoder_layers = 1;
    EncoderDecoder<float> model(c, random);
    Adam adam(model);
    Trainer trainer(model, adam, PairBatches(pairs, {.lanes = 16, .begin = 0, .end = 1}), {.shards = 2, .threads = threads});
    for (int i = 0; i < updates; ++i) loss = trainer.update(5e-3).loss;
    return std::pair(std::move(model), pairs);
  };
  double once = 0, twice = 1;
  train(1, 5, once);
  train(2, 5, twice);
  CHECK(once == twice);
  CHECK(once > 1.5);
  const auto [model, pairs] = train(2, 1500, once);
  CHECK(once < 0.1);
}

TEST_CASE("PairBatches: what does not fit is refused") {
  const auto message = [](auto&& f) { return message_of<std::invalid_argument>(f); };
  std::vector<TokenPair> pairs;
  CHECK(message([&] { PairBatches(pairs, options); }) == "expected at least 1 pair to learn from, found none");
  pairs = {{{2}, {}}, {{}, {3}}};
  CHECK(message([&] { PairBatches(pairs, options); }) == "pair 1: expected a source of at least 1 token, found none");
  pairs = {{{2}, {}}, {{12}, {3}}};
  CHECK(message([&] { PairBatches(pairs, {.lanes = 0}); }) == "lanes must be at least 1, found 0");
  PairBatches batches(pairs, options);
  CHECK(message([&] { batches.next(1); }) ==
        "targets are read whole: expected segments of 2 steps, found 1; train without a curriculum");
  CHECK(message([&] { batches.set_place({2, 0}); }) == "expected a place within the 1 batches of a pass, found 2 in pass 0");
  EncoderDecoderConfig c;
  c.decoder = {.vocabulary = 10, .width = 8, .layers = 1, .heads = 2, .window = 8, .cross_attention = true};
  Random random(1);
  const EncoderDecoder<float> model(c, random);
  CHECK(message([&] { batches.check_model(model); }) == "the source of pair 1 has token 12: expected 0 to 9");
  pairs[1].source[0] = 2;
  EncoderDecoder<float> learner = model;
  Adam adam(learner);
  CHECK(message([&] { Trainer(learner, adam, batches, {.shards = 1, .span_penalty = 0.1}); }) ==
        "span_penalty: expected 0 for a model without learned spans, found 0.1");
}
