// Many prompts side by side.
#include "fbt/generation/generate.hpp"

#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/helpers.hpp"

using namespace fbt;

namespace {

constexpr Index vocabulary = 11;

template <class Model, class AnyConfig>
Model make_model(AnyConfig config) {
  config.vocabulary = vocabulary;
  config.width = 8;
  config.layers = 2;
  config.heads = 2;
  config.window = 5;
  Random random(1);
  Model model(config, random);
  fill_normal(model.head.linear.weight, 1, random);
  return model;
}

/// Requests of many lengths, seeds and stops.
std::vector<GenerationRequest> make_requests() {
  Random random(5);
  std::vector<GenerationRequest> requests;
  for (Index i = 0; i < 9; ++i) {
    GenerationRequest& r = requests.emplace_back();
    r.prompt = random_tokens(1 + i % 4, vocabulary, random);
    r.options.length = 3 * i + (i == 5 ? 60 : 0);
    r.options.sampling.seed = static_cast<std::uint64_t>(i);
    r.options.sampling.temperature = 1.5;
    r.options.sampling.top_k = 0;
    if (i % 3 == 1) r.options.stop = {{static_cast<Token>(i)}, {1, 2}};
  }
  return requests;
}

template <class Model>
std::vector<std::vector<Token>> texts_of(const Model& model, std::span<const GenerationRequest> requests, Index lanes,
                                         Index threads = 1) {
  std::vector<std::vector<Token>> texts(requests.size());
  const auto emitted = generate(
      model, requests, lanes,
      [&](std::size_t i, Token token) {
        texts.at(i).push_back(token);
        return true;
      },
      threads);
  REQUIRE(emitted.size() == requests.size());
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(emitted[i] == static_cast<Index>(texts[i].size()));
  return texts;
}

template <class Model>
void check_independence(const Model& model) {
  const auto requests = make_requests();
  std::vector<std::vector<Token>> alone;
  for (const GenerationRequest& request : requests) alone.push_back(texts_of(model, {&request, 1}, 1)[0]);
  CHECK(alone[0].empty());
  CHECK(alone[5].size() > 30);
  CHECK(alone[5] != alone[8]);
  for (const Index lanes : {1, 2, 3, 4, 9, 20}) CHECK(texts_of(model, requests, lanes) == alone);
  CHECK(texts_of(model, requests, 4, 2) == alone);
  auto reversed = requests;
  std::reverse(reversed.begin(), reversed.end());
  auto texts = texts_of(model, reversed, 3);
  std::reverse(texts.begin(), texts.end());
  CHECK(texts == alone);
}

}  // namespace

TEST_CASE("generate many: a text depends on its request alone") {
  check_independence(make_model<FeedbackTransformer<float>>(Config{}));
  Config recurrent;
  recurrent.memory_rule = MemoryRule::recurrent;
  recurrent.share_key_value = false;
  check_independence(make_model<FeedbackTransformer<float>>(recurrent));
  check_independence(make_model<LstmModel<float>>(LstmConfig{.attention = true}));
}

TEST_CASE("generate many: the texts are those of single prompts") {
  const auto model = make_model<FeedbackTransformer<double>>(Config{});
  const auto requests = make_requests();
  const auto texts = texts_of(model, requests, 4);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    std::vector<Token> single;
    generate(model, requests[i].prompt, requests[i].options, [&](Token token) {
      single.push_back(token);
      return true;
    });
    CHECK(texts[i] == single);
  }
}

TEST_CASE("generate many: emit ends one text, and the others go on") {
  const auto model = make_model<FeedbackTransformer<float>>(Config{});
  const auto requests = make_requests();
  const auto all = texts_of(model, requests, 3);
  std::vector<std::vector<Token>> texts(requests.size());
  const auto emitted = generate(model, std::span<const GenerationRequest>(requests), 3, [&](std::size_t i, Token token) {
    texts[i].push_back(token);
    return i != 5 || texts[i].size() < 7;
  });
  CHECK(emitted[5] == 7);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i == 5) {
      CHECK(texts[i] == std::vector<Token>(all[i].begin(), all[i].begin() + 7));
    } else {
      CHECK(texts[i] == all[i]);
    }
  }
}

TEST_CASE("generate many: nothing is emitted when a request does not hold") {
  const auto model = make_model<FeedbackTransformer<float>>(Config{});
  const auto refused = [&](const std::vector<GenerationRequest>& requests, Index lanes, const std::string& message) {
    CHECK_THROWS_WITH(generate(model, std::span<const GenerationRequest>(requests), lanes,
                               [](std::size_t, Token) {
                                 FAIL_CHECK("emitted");
                                 return true;
                               }),
                      ContainsSubstring(message));
  };
  auto requests = make_requests();
  refused(requests, 0, "lanes must be at least 1, found 0");
  requests[8].prompt.back() = 11;
  refused(requests, 3, "token 11 is outside the vocabulary");
  requests[8].prompt.clear();
  refused(requests, 3, "the prompt must hold at least 1 token");
  requests = make_requests();
  requests[7].options.length = -1;
  refused(requests, 3, "length must be at least 0 tokens, found -1");
  CHECK(texts_of(model, {}, 3).empty());

  const auto zeros = make_model<FeedbackTransformer<float>>(Config{.empty_memory = EmptyMemory::zero_slots});
  requests = make_requests();
  CHECK_THROWS_WITH(
      generate(zeros, std::span<const GenerationRequest>(requests), 3, [](std::size_t, Token) { return true; }),
      "generate: a model with empty_memory zero_slots continues one prompt at a time");
}
