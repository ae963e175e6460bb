#include "fbt/models/mimetic.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/small_models.hpp"

#include <limits>
#include <stdexcept>

using namespace fbt;

TEST_CASE("initialize_mimetic: queries like keys, outputs against values, larger positions, all else as it was") {
  Config c = small_config();
  c.layers = 3;
  c.memory_rule = GENERATE(MemoryRule::feedback, MemoryRule::transformer);
  c.share_key_value = !c.remembers_per_layer() && GENERATE(true, false);
  c.position = GENERATE(PositionTerm::relative_key, PositionTerm::per_head);
  Random random(1);
  const FeedbackTransformer<double> before(c, random);
  FeedbackTransformer<double> model = before;
  initialize_mimetic(model, 3);

  for (std::size_t l = 0; l < 3; ++l) {
    const auto& read = before.core.aggregator.key_values[c.share_key_value ? 0 : l];
    CHECK(model.core.blocks[l].attention.query.weight == 3 * read.key.weight);
    CHECK(model.core.blocks[l].attention.output.weight == -3 * read.value.weight.transpose());
  }
  for (std::size_t i = 0; i < before.core.positions.size(); ++i)
    CHECK(model.core.positions[i].weight == 4 * before.core.positions[i].weight);
  Index same = 0, changed = 0;
  visit([&](std::string_view, const auto& a, const auto& b) { ++(a == b ? same : changed); }, before, std::as_const(model));
  CHECK(changed == 2 * c.layers + c.positions());
  CHECK(same > changed);
}

TEST_CASE("initialize_mimetic: a token attends to the slot of a token like itself") {
  Config c = small_config();
  c.width = 32;
  c.window = 4;
  c.embedding_deviation = 1;
  c.position = PositionTerm::none;
  c.layers = 1;
  c.memory_rule = MemoryRule::transformer;  // the slot of a token is its embedding
  c.share_key_value = false;
  double before = 0, after = 0;  // mean attention to the slot of token 1 of four, when token 1 comes again
  constexpr int trials = 20;
  for (std::uint64_t seed = 0; seed < trials; ++seed) {
    Random random(seed);
    FeedbackTransformer<double> model(c, random);
    const auto attention = [&] {
      auto state = model.start(1);
      for (const Token token : {0, 1, 2, 3, 1}) model.step(std::vector<Token>{token}, state);
      return model.attention(0, state).row(1).mean() / trials;
    };
    before += attention();
    initialize_mimetic(model, 3);
    after += attention();
  }
  CHECK(before < 0.35);
  CHECK(after > 0.8);
}

TEST_CASE("initialize_mimetic: a strength that is out of range") {
  Random random(1);
  FeedbackTransformer<double> model(small_config(), random);
  const auto message = [&](double strength) {
    return message_of<std::invalid_argument>([&] { initialize_mimetic(model, strength); });
  };
  CHECK(message(0) == "mimetic initialization: the strength must be above 0 and finite, found 0");
  CHECK(message(-1) == "mimetic initialization: the strength must be above 0 and finite, found -1");
  CHECK(message(std::numeric_limits<double>::infinity()) ==
        "mimetic initialization: the strength must be above 0 and finite, found inf");
}
