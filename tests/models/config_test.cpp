#include "fbt/models/config.hpp"

#include "support/catch.hpp"

#include <limits>
#include <set>

using namespace fbt;

namespace {

Config valid() {
  Config c;
  c.vocabulary = 10;
  return c;
}

struct Fault {
  void (*make)(Config&);
  const char* text;
};

}  // namespace

TEST_CASE("Config: the default needs only a vocabulary") {
  CHECK_NOTHROW(valid().validate());
  CHECK_THROWS_WITH(Config{}.validate(), "config: vocabulary must be between 1 and 16777216, found 0");
}

TEST_CASE("Config: each field out of range has its own message") {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const Fault faults[] = {
      {[](Config& c) { c.vocabulary = -1; }, "config: vocabulary must be between 1 and 16777216, found -1"},
      {[](Config& c) { c.vocabulary = (1 << 24) + 1; }, "config: vocabulary must be between 1 and 16777216, found 16777217"},
      {[](Config& c) { c.width = 0; }, "config: width must be between 1 and 16777216, found 0"},
      {[](Config& c) { c.layers = 0; }, "config: layers must be between 1 and 4096, found 0"},
      {[](Config& c) { c.layers = 4097; }, "config: layers must be between 1 and 4096, found 4097"},
      {[](Config& c) { c.heads = 0; }, "config: heads must be between 1 and 16777216, found 0"},
      {[](Config& c) { c.head_size = -1; }, "config: head_size must be between 0 and 16777216, found -1"},
      {[](Config& c) { c.feed_forward = -5; }, "config: feed_forward must be between 0 and 16777216, found -5"},
      {[](Config& c) { c.window = 0; }, "config: window must be between 1 and 16777216, found 0"},
      {[](Config& c) { c.dropout = 1; }, "config: dropout must be at least 0 and below 1, found 1"},
      {[](Config& c) { c.dropout = -0.5; }, "config: dropout must be at least 0 and below 1, found -0.5"},
      {[](Config& c) { c.dropout = nan; }, "config: dropout must be at least 0 and below 1, found nan"},
      {[](Config& c) { c.norm_epsilon = 0; }, "config: norm_epsilon must be above 0 and below 1, found 0"},
      {[](Config& c) { c.norm_epsilon = nan; }, "config: norm_epsilon must be above 0 and below 1, found nan"},
      {[](Config& c) { c.embedding_deviation = 0; }, "config: embedding_deviation must be above 0 and at most 100, found 0"},
      {[](Config& c) { c.embedding_deviation = 101; },
       "config: embedding_deviation must be above 0 and at most 100, found 101"},
  };
  for (const Fault& fault : faults) {
    Config c = valid();
    fault.make(c);
    CHECK_THROWS_AS(c.validate(), std::invalid_argument);
    CHECK_THROWS_WITH(c.validate(), fault.text);
  }
}

TEST_CASE("Config: fields that do not fit each other") {
  Config c = valid();
  c.width = 10;
  CHECK_THROWS_WITH(c.validate(), "config: width 10 is not divisible by heads 4; choose them so, or give head_size");
  c.head_size = 3;
  CHECK_NOTHROW(c.validate());
  c.heads = 1 << 20;
  c.head_size = 17;
  CHECK_THROWS_WITH(c.validate(), "config: heads * head_size must be at most 16777216, found 1048576 * 17");
}

TEST_CASE("Config: a model reads tokens or vectors") {
  Config c;
  c.inputs = 3;
  CHECK_THROWS_WITH(c.validate(), "config: outputs must be between 1 and 16777216, found 0");
  c.outputs = 2;
  CHECK_NOTHROW(c.validate());
  CHECK(c.output_rows() == 2);
  c.vocabulary = 5;
  CHECK_THROWS_WITH(c.validate(), "config: a model reads tokens or vectors: expected a vocabulary or inputs, found 5 and 3");
  c.inputs = 0;
  CHECK_NOTHROW(c.validate());  // labels of other classes than the vocabulary
  CHECK(c.output_rows() == 2);
  c.outputs = 0;
  CHECK(c.output_rows() == 5);
  c.inputs = -1;
  CHECK_THROWS_WITH(c.validate(), "config: inputs must be between 0 and 16777216, found -1");
  c.inputs = 0;
  c.outputs = -1;
  CHECK_THROWS_WITH(c.validate(), "config: outputs must be between 0 and 16777216, found -1");
  c.vocabulary = -1;
  c.inputs = 3;
  CHECK_THROWS_WITH(c.validate(), "config: vocabulary must be between 0 and 16777216, found -1");
}

TEST_CASE("Config: the limits themselves are accepted") {
  Config c = valid();
  c.vocabulary = largest_dimension;
  c.layers = 4096;
  c.window = 1;
  c.dropout = 0.999;
  c.embedding_deviation = 100;
  CHECK_NOTHROW(c.validate());
}

TEST_CASE("Config: sizes that are left at 0") {
  Config c = valid();
  c.width = 12;
  c.heads = 3;
  CHECK(c.head_columns() == 4);
  CHECK(c.hidden_units() == 48);
  CHECK(c.key_values() == 1);
  c.head_size = 7;
  c.feed_forward = 5;
  c.share_key_value = false;
  c.layers = 6;
  CHECK(c.head_columns() == 7);
  CHECK(c.hidden_units() == 5);
  CHECK(c.key_values() == 6);
}

TEST_CASE("Config: a norm shared with the blocks needs the pre-norm form") {
  Config c;
  c.vocabulary = 5;
  c.memory_norm = MemoryNorm::block;
  CHECK_NOTHROW(c.validate());
  c.pre_norm = false;
  CHECK_THROWS_WITH(c.validate(), ContainsSubstring("memory_norm block needs pre_norm"));
}

TEST_CASE("Config: a layer to remember needs the rule that remembers one") {
  Config c = valid();
  c.memory_layer = 1;
  CHECK_THROWS_WITH(c.validate(),
                    "config: memory_layer must be between 0 and 0, found 1; other than 0 it needs memory_rule layer");
  c.memory_rule = MemoryRule::layer;
  CHECK_NOTHROW(c.validate());
  c.memory_layer = c.layers + 1;
  CHECK_THROWS_WITH(c.validate(),
                    "config: memory_layer must be between 0 and 4, found 5; other than 0 it needs memory_rule layer");
}

TEST_CASE("Config: the ramp of learned spans") {
  Config c = valid();
  c.span_ramp = 1;
  CHECK_THROWS_WITH(c.validate(), ContainsSubstring("span_ramp must be at least 2, so that the newest slot is seen"));
  c.span_ramp = -1;
  CHECK_THROWS_WITH(c.validate(), ContainsSubstring("span_ramp must be between 0 and"));
  c.span_ramp = 2;
  CHECK_NOTHROW(c.validate());
}

TEST_CASE("Config: layers that remember vectors of their own cannot share keys and values") {
  Config c = valid();
  c.memory_rule = GENERATE(MemoryRule::recurrent, MemoryRule::transformer);
  CHECK_THROWS_WITH(c.validate(),
                    ContainsSubstring("needs share_key_value false: every layer remembers vectors of its own"));
  c.share_key_value = false;
  CHECK_NOTHROW(c.validate());
}

TEST_CASE("Config: visit_config meets every field once, under its public name") {
  std::set<std::string_view> names;
  Config a, b;
  visit_config(
      [&](std::string_view name, auto& in_a, const auto& in_b) {
        CHECK(names.insert(name).second);
        CHECK(in_a == in_b);
        using Field = std::remove_reference_t<decltype(in_a)>;
        in_a = std::is_same_v<Field, bool> ? static_cast<Field>(!static_cast<bool>(in_a))
                                           : static_cast<Field>(static_cast<int>(in_a) + 1);
        CHECK_FALSE(a == b);  // the field takes part in the comparison
        in_a = in_b;
      },
      a, b);
  CHECK(a == b);
  CHECK(names == std::set<std::string_view>{"vocabulary",
                                            "inputs",
                                            "outputs",
                                            "width",
                                            "layers",
                                            "heads",
                                            "head_size",
                                            "feed_forward",
                                            "window",
                                            "activation",
                                            "position",
                                            "span_ramp",
                                            "empty_memory",
                                            "pre_norm",
                                            "memory_rule",
                                            "memory_layer",
                                            "share_key_value",
                                            "memory_norm",
                                            "value_bias",
                                            "output_bias",
                                            "cross_attention",
                                            "log_probabilities",
                                            "dropout",
                                            "norm_epsilon",
                                            "embedding_deviation"});
}

TEST_CASE("Config: names of the enumerators") {
  CHECK(Names<Activation>::list[0] == std::pair<std::string_view, Activation>("relu", Activation::relu));
  CHECK(Names<Activation>::list[1] == std::pair<std::string_view, Activation>("gelu", Activation::gelu));
  CHECK(Names<Activation>::list[2] == std::pair<std::string_view, Activation>("geglu", Activation::geglu));
  CHECK(Names<PositionTerm>::list[0] == std::pair<std::string_view, PositionTerm>("none", PositionTerm::none));
  CHECK(Names<PositionTerm>::list[1] ==
        std::pair<std::string_view, PositionTerm>("relative_key", PositionTerm::relative_key));
  CHECK(Names<PositionTerm>::list[2] == std::pair<std::string_view, PositionTerm>("per_head", PositionTerm::per_head));
  CHECK(Names<PositionTerm>::list[3] == std::pair<std::string_view, PositionTerm>("buckets", PositionTerm::buckets));
  CHECK(names_of<MemoryRule>() == "feedback, average, top_only, layer, recurrent, transformer");
  for (std::size_t i = 0; i < 6; ++i) CHECK(Names<MemoryRule>::list[i].second == static_cast<MemoryRule>(i));
  CHECK(Names<MemoryNorm>::list[0] == std::pair<std::string_view, MemoryNorm>("none", MemoryNorm::none));
  CHECK(Names<MemoryNorm>::list[1] == std::pair<std::string_view, MemoryNorm>("own", MemoryNorm::own));
  CHECK(Names<MemoryNorm>::list[2] == std::pair<std::string_view, MemoryNorm>("block", MemoryNorm::block));
  CHECK(Names<MemoryNorm>::list[3] == std::pair<std::string_view, MemoryNorm>("soft", MemoryNorm::soft));
  CHECK(Names<EmptyMemory>::list[0] == std::pair<std::string_view, EmptyMemory>("skip", EmptyMemory::skip));
  CHECK(Names<EmptyMemory>::list[1] == std::pair<std::string_view, EmptyMemory>("zero_slots", EmptyMemory::zero_slots));
}
