#include "fbt/generation/session.hpp"

#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"

#include <string>
#include <vector>

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

template <class Model>
std::vector<Token> write(Session<Model>& session, const GenerationOptions& options) {
  std::vector<Token> written;
  const Index emitted = session.write(options, [&](Token token) {
    written.push_back(token);
    return true;
  });
  CHECK(emitted == static_cast<Index>(written.size()));
  return written;
}

/// What a session writes is what one that reads its whole text anew writes, and generate() for the text as a prompt.
template <class Model>
void check_goes_on(const Model& model, const Session<Model>& session, const GenerationOptions& options) {
  Session<Model> on = session, anew(model);
  anew.read(session.text());
  CHECK(anew.text() == session.text());
  CHECK((anew.logits() - session.logits()).cwiseAbs().maxCoeff() == 0);
  const auto written = write(on, options);
  CHECK(written == write(anew, options));
  std::vector<Token> generated;
  generate(model, session.text(), options, [&](Token token) {
    generated.push_back(token);
    return true;
  });
  CHECK(written == generated);
}

template <class Model>
void check_sessions(const Model& model) {
  GenerationOptions options;
  options.length = 20;
  options.sampling = SamplingOptions::softmax(3);
  options.sampling.repetition_penalty = 1.3;
  options.sampling.repetition_window = 30;  // reaches back over the pieces
  Session<Model> session(model);
  session.read(std::vector<Token>{3, 1, 4});
  session.read({});
  session.read(std::vector<Token>{1, 5});
  CHECK(session.text() == std::vector<Token>{3, 1, 4, 1, 5});
  check_goes_on(model, session, options);
  auto text = session.text();
  for (std::uint64_t turn = 0; turn < 4; ++turn) {
    options.sampling.seed = turn;
    options.length = turn == 2 ? 0 : 9;
    const auto written = write(session, options);
    text.insert(text.end(), written.begin(), written.end());
    CHECK(session.text() == text);
    check_goes_on(model, session, options);
    if (turn == 1) continue;  // two in a row
    session.read(std::vector<Token>{7, static_cast<Token>(turn)});
    text.insert(text.end(), {7, static_cast<Token>(turn)});
  }
}

}  // namespace

TEST_CASE("Session: goes on as if the whole text were read anew") {
  check_sessions(make_model<FeedbackTransformer<float>>(Config{}));
  check_sessions(make_model<FeedbackTransformer<double>>(Config{.span_ramp = 2}));
  check_sessions(make_model<FeedbackTransformer<float>>(Config{.empty_memory = EmptyMemory::zero_slots}));
  check_sessions(
      make_model<FeedbackTransformer<float>>(Config{.memory_rule = MemoryRule::transformer, .share_key_value = false}));
  check_sessions(make_model<LstmModel<float>>(LstmConfig{.attention = true}));
}

TEST_CASE("Session: a stop sequence is no part of what is remembered") {
  const auto model = make_model<FeedbackTransformer<float>>(Config{});
  GenerationOptions options;
  options.length = 30;
  options.sampling = SamplingOptions::softmax(8);
  Session<FeedbackTransformer<float>> first(model);
  first.read(std::vector<Token>{1, 2});
  auto whole = first;
  const auto all = write(whole, options);
  REQUIRE(all.size() == 30);
  for (const std::size_t size : {1u, 2u, 3u}) {  // what follows token 12 of the text
    for (const std::size_t place : {0u, 12u}) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(place);
      options.stop = {{begin, begin + static_cast<std::ptrdiff_t>(size)}, {all[place], 99}};
      auto session = first;
      const auto written = write(session, options);
      CHECK(written.size() <= place);
      CHECK(std::equal(written.begin(), written.end(), all.begin()));
      CHECK(session.text().size() == 2 + written.size());
      check_goes_on(model, session, options);
    }
  }
}

TEST_CASE("Session: emit ends a piece, and the text goes on after it") {
  const auto model = make_model<FeedbackTransformer<float>>(Config{});
  GenerationOptions options;
  options.length = 30;
  options.sampling = SamplingOptions::softmax(2);
  for (const bool with_stop : {false, true}) {
    if (with_stop) options.stop = {{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 0}};
    Session<FeedbackTransformer<float>> session(model);
    session.read(std::vector<Token>{1, 2});
    Index count = 0;
    session.write(options, [&](Token) { return ++count < 7; });
    CHECK(session.text().size() == 9);
    check_goes_on(model, session, options);
  }
}

TEST_CASE("Session: the log-probabilities are those of the model") {
  const auto model = make_model<FeedbackTransformer<double>>(Config{});
  GenerationOptions options;
  options.length = 12;
  options.sampling.temperature = 0.3;
  options.stop = {{1, 2, 3}};
  Session<FeedbackTransformer<double>> session(model), reader(model);
  session.read(std::vector<Token>{1, 2});
  reader.read(std::vector<Token>{1, 2});
  session.write(options, [&](const Drawn& drawn) {
    const Vector<double> z = reader.logits();
    CHECK(drawn.log_probability == Approx(z(drawn.token) - std::log(z.array().exp().sum())));
    reader.read({&drawn.token, 1});
    return true;
  });
  CHECK(reader.text() == session.text());
}

TEST_CASE("Session: errors") {
  const auto model = make_model<FeedbackTransformer<float>>(Config{});
  Session<FeedbackTransformer<float>> session(model);
  CHECK(message_of<std::invalid_argument>([&] { write(session, {}); }) ==
        "the prompt must hold at least 1 token, found none");
  CHECK_THAT(message_of<std::invalid_argument>([&] {
               session.read(std::vector<Token>{1, 11});
             }),
             ContainsSubstring("token 11 is outside the vocabulary"));
  CHECK(session.text().empty());
  using S = Session<FeedbackTransformer<float>>;
  CHECK_THAT(message_of<std::invalid_argument>([&] { S(model, {1}, model.make_memory(1), Vector<float>::Zero(10)); }),
             ContainsSubstring("expected 11 logits, found 10"));
  CHECK_THAT(message_of<std::invalid_argument>([&] { S(model, {1}, model.make_memory(2), Vector<float>::Zero(11)); }),
             ContainsSubstring("the memory has 2 lanes, expected 1"));
}

TEST_CASE("Session: reads its own text again") {
  const auto model = make_model<FeedbackTransformer<float>>(Config{});
  Session<FeedbackTransformer<float>> session(model), other(model);
  session.read(std::vector<Token>{1, 2, 3});
  session.read(session.text());
  other.read(std::vector<Token>{1, 2, 3, 1, 2, 3});
  CHECK(session.text() == other.text());
  CHECK(session.logits() == other.logits());
}

TEST_CASE("Session: after an exception of emit it cannot go on") {
  const auto model = make_model<FeedbackTransformer<float>>(Config{});
  Session<FeedbackTransformer<float>> session(model);
  session.read(std::vector<Token>{1, 2});
  CHECK_THROWS_AS(session.write({.length = 0, .sampling = {.temperature = -1}}, [](const Drawn&) { return true; }),
                  std::invalid_argument);
  CHECK(session.can_go_on());  // nothing was read
  CHECK_THROWS_WITH(session.write({.length = 5}, [](const Drawn&) -> bool { throw std::runtime_error("full"); }), "full");
  CHECK_FALSE(session.can_go_on());
  constexpr const char* message =
      "session: what is remembered is not its text, as an exception ended write(); begin another";
  CHECK_THROWS_WITH(session.read(std::vector<Token>{1}), message);
  CHECK_THROWS_WITH(write(session, {.length = 1}), message);
}
