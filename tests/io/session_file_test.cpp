#include "fbt/io/session_file.hpp"

#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/changed_file.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/scratch.hpp"

#include <string>
#include <vector>

using namespace fbt;

namespace {

template <class Model, class AnyConfig>
Model make_model(AnyConfig config, std::uint64_t seed = 1) {
  config.vocabulary = 11;
  config.width = 8;
  config.layers = 2;
  config.heads = 2;
  config.window = 5;
  Random random(seed);
  Model model(config, random);
  fill_normal(model.head.linear.weight, 1, random);
  return model;
}

GenerationOptions options_of(std::uint64_t seed) {
  GenerationOptions options;
  options.length = 25;
  options.sampling = SamplingOptions::softmax(seed);
  options.sampling.repetition_penalty = 1.2;
  return options;
}

template <class Model>
std::vector<Token> write(Session<Model>& session, const GenerationOptions& options) {
  std::vector<Token> written;
  session.write(options, [&](Token token) {
    written.push_back(token);
    return true;
  });
  return written;
}

template <class Model>
void check_round_trip(const Model& model) {
  const ScratchFolder folder;
  for (const Index size : {1, 3, 40}) {
    Random random(7);
    Session<Model> session(model);
    session.read(random_tokens(size, 11, random));
    if (size > 1) write(session, options_of(4));
    save_session(folder / "s", session, {{"note", "kept"}});
    auto [loaded, metadata] = load_session(folder / "s", model);
    CHECK(metadata.at("note") == "kept");
    CHECK(loaded.text() == session.text());
    CHECK((loaded.logits() - session.logits()).cwiseAbs().maxCoeff() == 0);
    CHECK(write(loaded, options_of(5)) == write(session, options_of(5)));
    CHECK((loaded.logits() - session.logits()).cwiseAbs().maxCoeff() == 0);
  }
}

/// A session that has read three tokens, and its file.
struct Saved {
  ScratchFolder folder;
  std::filesystem::path path = folder / "s";
  FeedbackTransformer<float> model = make_model<FeedbackTransformer<float>>(Config{});
  Session<FeedbackTransformer<float>> session{model};

  Saved() {
    session.read(std::vector<Token>{1, 2, 3});
    save_session(path, session);
  }
};

}  // namespace

TEST_CASE("session file: goes on as if it had never been put away") {
  check_round_trip(make_model<FeedbackTransformer<float>>(Config{}));
  check_round_trip(make_model<FeedbackTransformer<double>>(Config{.span_ramp = 2}));
  check_round_trip(make_model<FeedbackTransformer<float>>(Config{.empty_memory = EmptyMemory::zero_slots}));
  check_round_trip(
      make_model<FeedbackTransformer<float>>(Config{.memory_rule = MemoryRule::recurrent, .share_key_value = false}));
  check_round_trip(make_model<LstmModel<float>>(LstmConfig{.attention = true}));
  check_round_trip(make_model<LstmModel<double>>(LstmConfig{}));
}

TEST_CASE("session file: another model is refused") {
  const ScratchFolder folder;
  using Model = FeedbackTransformer<float>;
  const auto model = make_model<Model>(Config{});
  Session<Model> session(model);
  CHECK_THAT(message_of<std::invalid_argument>([&] { save_session(folder / "s", session); }),
             ContainsSubstring("a session that has read nothing has nothing to keep"));
  session.read(std::vector<Token>{1, 2, 3});
  save_session(folder / "s", session);
  const auto message = [&](const auto& other) {
    return message_of<std::runtime_error>([&] { load_session(folder / "s", other); });
  };
  const std::string expected = "the session belongs to another model: expected one of ";
  CHECK_THAT(message(make_model<Model>(Config{}, 2)), ContainsSubstring(expected));
  CHECK_THAT(message(make_model<Model>(Config{.dropout = 0.1})), ContainsSubstring(expected));
  CHECK_THAT(message(make_model<FeedbackTransformer<double>>(Config{})), ContainsSubstring(expected));
  auto changed = model;
  changed.head.linear.bias(3) += 1e-6f;
  CHECK_THAT(message(changed), ContainsSubstring(expected));
  CHECK(message(model) == "[nothing was thrown]");
}

TEST_CASE("session file: a session that cannot go on is not kept") {
  Saved saved;
  const std::string before = read_all(saved.path);
  CHECK_THROWS_AS(saved.session.write({.length = 5}, [](const Drawn&) -> bool { throw std::runtime_error("full"); }),
                  std::runtime_error);
  CHECK_THAT(message_of<std::invalid_argument>([&] { save_session(saved.path, saved.session); }),
             ContainsSubstring("s: a session whose write() ended with an exception cannot be kept"));
  CHECK(read_all(saved.path) == before);
}

TEST_CASE("session file: damage is noticed") {
  const Saved saved;
  const auto message = [&](auto&& change) {
    const auto path = changed_file(saved.folder, saved.path, change);
    return message_of<std::runtime_error>([&] { load_session(path, saved.model); });
  };
  CHECK(message([](Metadata&, Views&) {}) == "[nothing was thrown]");
  CHECK_THAT(message([](Metadata& m, Views&) { m.clear(); }), ContainsSubstring("expected a session written by fbt"));
  for (const char* name : {"text", "logits", "memory.0.keys", "memory.0.values"})
    CHECK_THAT(message([&](Metadata&, Views& v) { v.erase(name); }),
               ContainsSubstring(fmt::format("expected a tensor named {}, found none", name)));
  const std::int32_t outside[] = {11, -1};
  for (const std::int32_t& token : outside)
    CHECK_THAT(message([&](Metadata&, Views& v) {
                 v["text"].shape = {1};
                 v["text"].bytes = {reinterpret_cast<const char*>(&token), 4};
               }),
               ContainsSubstring(fmt::format("text: expected tokens from 0 to 10, found {}", token)));
  CHECK_THAT(message([](Metadata&, Views& v) {
               v["text"].shape = {0};
               v["text"].bytes = {};
             }),
             ContainsSubstring("text: expected at least 1 token of dtype I32, found shape (0) of I32"));
  CHECK_THAT(message([](Metadata&, Views& v) { v["logits"].dtype = Dtype::i32; }),
             ContainsSubstring("logits: expected shape (11) of dtype F32, found (11) of I32"));
  CHECK_THAT(message([](Metadata&, Views& v) {
               v["logits"].shape = {11, 1};
             }),
             ContainsSubstring("logits: expected shape (11) of dtype F32, found (11, 1) of F32"));
  CHECK_THAT(message([](Metadata&, Views& v) { v["memory.0.values"].dtype = Dtype::i32; }),
             ContainsSubstring("of dtype F32, found ") && ContainsSubstring(" of I32"));
  CHECK_THAT(message([](Metadata&, Views& v) { std::swap(v["memory.0.keys"].shape[0], v["memory.0.keys"].shape[1]); }),
             ContainsSubstring("memory.0.keys: "));
}
