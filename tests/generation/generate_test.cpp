#include "fbt/generation/generate.hpp"

#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <limits>

using namespace fbt;

namespace {

/// A model that writes a given text, whatever it reads, and notes what that was.
struct Scripted {
  struct Stepper {
    struct {
      Matrix<double> outputs;
    } trace;
    std::size_t steps = 0;
  };
  std::vector<Token> text;
  std::size_t prompt = 1;
  std::vector<Token>* read = nullptr;

  Stepper start(Index, const Execution&) const { return {{Matrix<double>::Zero(200, 1)}, 0}; }
  const Matrix<double>& step(Tokens tokens, Stepper& stepper) const {
    if (read) read->push_back(tokens[0]);
    ++stepper.steps;
    stepper.trace.outputs.setZero();
    if (stepper.steps >= prompt) stepper.trace.outputs(text.at(stepper.steps - prompt), 0) = 1;
    return stepper.trace.outputs;
  }
};

std::vector<Token> tokens_of(const std::string& text) { return {text.begin(), text.end()}; }

struct Result {
  std::string text;
  Index emitted;
};
/// What generate() emits when the model writes the given text.
Result run(const std::string& text, const std::vector<std::string>& stops, Index length = 100, Index quit = 1000) {
  GenerationOptions options;
  options.length = std::min(length, static_cast<Index>(text.size()));
  options.sampling.temperature = 0;
  for (const auto& stop : stops) options.stop.push_back(tokens_of(stop));
  Result result;
  result.emitted = generate(Scripted{tokens_of(text)}, std::vector<Token>{0}, options, [&](Token token) {
    result.text.push_back(static_cast<char>(token));
    return static_cast<Index>(result.text.size()) < quit;
  });
  CHECK(result.emitted == static_cast<Index>(result.text.size()));
  return result;
}

}  // namespace

TEST_CASE("generate: stop sequences") {
  CHECK(run("hello world", {}).text == "hello world");
  CHECK(run("hello world", {"xyz"}).text == "hello world");
  CHECK(run("hello world", {"o"}).text == "hell");
  CHECK(run("hello world", {"h"}).text == "");
  CHECK(run("hello world", {"o w"}).text == "hell");
  CHECK(run("hello world", {"world"}).text == "hello ");
  CHECK(run("hello world", {"worldly"}).text == "hello world");    // begun, and released at the end
  CHECK(run("hello world", {"lx", "lly"}).text == "hello world");  // begun, and released on the way
  CHECK(run("aaab.", {"aab"}).text == "a");
  CHECK(run("abababc.", {"ababc"}).text == "ab");
  CHECK(run("aabaabaac.", {"aabaac"}).text == "aab");
  CHECK(run("xx\n\nyy", {"\n\n"}).text == "xx");
}

TEST_CASE("generate: several stop sequences") {
  // a shorter one inside the beginning of a longer one ends the text, in any order
  CHECK(run("xabcy", {"abcd", "bc"}).text == "xa");
  CHECK(run("xabcy", {"bc", "abcd"}).text == "xa");
  CHECK(run("xabcdy", {"abcde", "d", "cdy"}).text == "xabc");
  // when two end at the same token the longer one is cut, so that no stop sequence is left in the text
  CHECK(run("xabc", {"bc", "abc"}).text == "x");
  CHECK(run("xabc", {"abc", "bc"}).text == "x");
  // the longest beginning is held back, whichever comes first
  CHECK(run("xabqabcd", {"b?", "abcd"}).text == "xabq");
  CHECK(run("xabqabcd", {"abcd", "b?"}).text == "xabq");
}

TEST_CASE("generate: a token is emitted as soon as it can be no part of a stop sequence") {
  GenerationOptions options;
  options.sampling.temperature = 0;
  options.stop = {tokens_of("bcd"), tokens_of("q")};
  const auto text = tokens_of("abcabxq");
  std::vector<Token> read;
  std::vector<std::pair<std::size_t, char>> emitted;  // and how much the model had read by then
  generate(Scripted{text, 1, &read}, std::vector<Token>{7}, options, [&](Token token) {
    emitted.emplace_back(read.size(), static_cast<char>(token));
    return true;
  });
  CHECK(emitted == std::vector<std::pair<std::size_t, char>>{{1, 'a'}, {4, 'b'}, {4, 'c'}, {4, 'a'}, {6, 'b'}, {6, 'x'}});
  CHECK(read == std::vector<Token>{7, 'a', 'b', 'c', 'a', 'b', 'x'});  // each written token was read, but the last
}

TEST_CASE("generate: length") {
  CHECK(run("abcdef", {}, 3).text == "abc");
  CHECK(run("abcdef", {"cd"}, 3).text == "abc");  // what is held at the end is released
  CHECK(run("abcdef", {"cd"}, 4).text == "ab");
  CHECK(run("abcdef", {}, 1).text == "a");
  CHECK(run("abcdef", {}, 0).text == "");
}

TEST_CASE("generate: emit ends the text") {
  CHECK(run("abcdef", {}, 100, 1).text == "a");
  CHECK(run("abcdef", {}, 100, 4).text == "abcd");
  CHECK(run("abcdef", {"bcx"}, 100, 2).text == "ab");  // in the middle of what was held back
  CHECK(run("abcdef", {"efg"}, 100, 5).text == "abcde");
  CHECK(run("abcdef", {"ef"}, 100, 4).text == "abcd");
}

TEST_CASE("generate: what was written counts as recent for the repetition penalty") {
  struct Constant {  // every step: 1 is likely, 2 less, 3 still less
    struct Stepper {
      Matrix<double> outputs;
    };
    Stepper start(Index, const Execution&) const { return {}; }
    const Matrix<double>& step(Tokens, Stepper& stepper) const {
      stepper.outputs.resize(4, 1);
      stepper.outputs << 0, 9, 8, 7;
      return stepper.outputs;
    }
  };
  GenerationOptions options;
  options.length = 5;
  options.sampling.temperature = 0;
  options.sampling.repetition_penalty = 3;
  options.sampling.repetition_window = 2;
  std::vector<Token> text;
  generate(Constant{}, std::vector<Token>{0}, options, [&](Token token) {
    text.push_back(token);
    return true;
  });
  CHECK(text == std::vector<Token>{1, 2, 3, 1, 2});
}

TEST_CASE("generate: errors") {
  const Scripted model{tokens_of("abc")};
  GenerationOptions options;
  const auto message = [&](const std::vector<Token>& prompt) {
    return message_of<std::invalid_argument>([&] { generate(model, prompt, options, [](Token) { return true; }); });
  };
  CHECK(message({}) == "the prompt must hold at least 1 token, found none");
  options.length = -1;
  CHECK(message({0}) == "length must be at least 0 tokens, found -1");
  options.length = 1;
  options.stop = {{1}, {}};
  CHECK(message({0}) == "a stop sequence must hold at least 1 token, found none");
  options.stop.clear();
  options.sampling.top_p = 0;
  CHECK(message({0}) == "top-p must be above 0 and at most 1, found 0");
}

TEST_CASE("generate: with a model") {
  Config config;
  config.vocabulary = 11;
  config.width = 8;
  config.layers = 2;
  config.heads = 2;
  config.window = 3;
  Random random(1);
  FeedbackTransformer<float> model(config, random);
  fill_normal(model.head.linear.weight, 1, random);
  const std::vector<Token> prompt{3, 1, 4, 1, 5};
  GenerationOptions options;
  options.length = 40;
  const auto text = [&] {
    std::vector<Token> result;
    const Index emitted = generate(model, prompt, options, [&](Token token) {
      result.push_back(token);
      return true;
    });
    CHECK(emitted == static_cast<Index>(result.size()));
    return result;
  };

  SECTION("greedy is the most likely token at every step") {
    options.sampling.temperature = 0;
    auto stepper = model.start(1);
    for (const Token token : prompt) model.step({&token, 1}, stepper);
    std::vector<Token> expected;
    for (int i = 0; i < 40; ++i) {
      Index best;
      stepper.trace.outputs.col(0).maxCoeff(&best);
      const auto token = static_cast<Token>(best);
      expected.push_back(token);
      model.step({&token, 1}, stepper);
    }
    CHECK(text() == expected);
  }
  SECTION("the prompt counts as recent for the repetition penalty") {
    options.sampling.temperature = 0;
    options.length = 1;
    model.head.linear.bias(1) += 1000;  // 1 is by far the most likely, and was read
    CHECK(text().at(0) == 1);
    options.sampling.repetition_penalty = 1e6;
    CHECK(text().at(0) != 1);
  }
  SECTION("the seed decides") {
    options.sampling.temperature = 1;
    const auto one = text();
    CHECK(one == text());
    options.sampling.seed = 2;
    CHECK(one != text());
  }
  SECTION("a token outside the vocabulary") {
    for (const Token bad : {-1, 11}) {
      const auto run_bad = [&] { generate(model, std::vector<Token>{0, bad}, options, [](Token) { return true; }); };
      CHECK_THAT(message_of<std::invalid_argument>(run_bad), ContainsSubstring("outside the vocabulary"));
    }
  }
  SECTION("a single logit that is not a number") {
    model.head.linear.bias(7) = std::numeric_limits<float>::quiet_NaN();
    options.sampling.temperature = GENERATE(0.0, 1.0);
    CHECK_THAT(message_of<std::runtime_error>([&] { text(); }),
               ContainsSubstring("expected finite logits, found nan for token 7"));
  }
  SECTION("a long text takes no more room than a short one") {
    auto stepper = model.start(1);
    const Token token = 2;
    for (int i = 0; i < 8; ++i) model.step({&token, 1}, stepper);
    const Index capacity = stepper.memory.banks[0].capacity;
    const auto* const keys = stepper.memory.banks[0].keys.data();
    Index largest = 0;
    for (int i = 0; i < 5000; ++i) {
      model.step({&token, 1}, stepper);
      largest = std::max(largest, stepper.memory.end);
    }
    CHECK(stepper.memory.banks[0].capacity == capacity);
    CHECK(stepper.memory.banks[0].keys.data() == keys);
    CHECK(largest <= capacity);
    CHECK(capacity <= 2 * config.window);
    CHECK(stepper.trace.outputs.allFinite());
  }
}
