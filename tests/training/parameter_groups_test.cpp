#include "fbt/training/parameter_groups.hpp"

#include "fbt/core/types.hpp"
#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"

#include <limits>
#include <string>
#include <vector>

using namespace fbt;

namespace {

struct Toy {
  using Scalar = double;
  Matrix<double> weight = Matrix<double>::Zero(1, 1);
  Vector<double> bias = Vector<double>::Zero(1);

  template <class F, class... Same>
  static void visit(F&& f, Same&... toys) {
    f("weight", toys.weight...);
    f("bias", toys.bias...);
  }
};

}  // namespace

TEST_CASE("fits: names and patterns") {
  CHECK(fits("head.weight", "head.weight"));
  CHECK_FALSE(fits("head.weight", "head.weigh"));
  CHECK_FALSE(fits("head.weight", "head.weights"));
  CHECK_FALSE(fits("head.weight", "ead.weight"));
  CHECK(fits("", ""));
  CHECK_FALSE(fits("a", ""));
  CHECK_FALSE(fits("", "a"));
  CHECK(fits("", "*"));
  CHECK(fits("", "**"));
  CHECK(fits("head.weight", "*"));
  CHECK(fits("head.weight", "head*"));
  CHECK(fits("head.weight", "*weight"));
  CHECK(fits("head.weight", "head.weight*"));
  CHECK(fits("blocks.10.norm1.weight", "blocks.*.norm*"));
  CHECK(fits("blocks.0.norm2.bias", "blocks.*.norm*"));
  CHECK_FALSE(fits("norm_out.bias", "blocks.*.norm*"));
  CHECK(fits("blocks.0.attention.query.weight", "blocks.*weight"));  // dots are among any characters
  CHECK(fits("aXbXc", "a*X*c"));
  CHECK(fits("abcbc", "a*bc"));  // the first bc is not the last
  CHECK_FALSE(fits("abcb", "a*bc"));
  CHECK_FALSE(fits("head?weight", "head.weight"));  // nothing but * is special
  CHECK_FALSE(fits("headXweight", "head.weight"));
}

TEST_CASE("assign_groups: the first group that fits, for every parameter in order") {
  Config config;
  config.vocabulary = 5;
  config.width = 4;
  config.layers = 2;
  config.heads = 2;
  config.window = 3;
  Random random(1);
  const FeedbackTransformer<float> model(config, random);
  const std::vector<ParameterGroup> groups{{.pattern = "blocks.1.*norm*"}, {.pattern = "*norm*"}, {.pattern = "head.*"}};
  const auto assigned = assign_groups(model, groups);
  std::size_t number = 0;
  visit(
      [&](std::string_view name, const auto&) {
        INFO(name);
        const bool norm = name.find("norm") != std::string_view::npos;
        const ParameterGroup* const expected = norm && name.starts_with("blocks.1.") ? &groups[0]
                                               : norm                                ? &groups[1]
                                               : name.starts_with("head.")           ? &groups[2]
                                                                                     : nullptr;
        CHECK(assigned.at(number++) == expected);
      },
      model);
  CHECK(number == assigned.size());
  for (const auto* const none : assign_groups(model, {})) CHECK(none == nullptr);
}

TEST_CASE("assign_groups: errors") {
  const auto message = [](const std::vector<ParameterGroup>& groups) {
    return message_of<std::invalid_argument>([&] { assign_groups(Toy{}, groups); });
  };
  CHECK(message({{.pattern = "weight"}, {.pattern = "norm*"}}) ==
        "parameter group \"norm*\": expected a pattern that a parameter's name fits, found none among weight, bias");
  CHECK_THAT(message({{.pattern = ""}}), ContainsSubstring("expected a pattern that a parameter's name fits"));
  CHECK_NOTHROW(assign_groups(Toy{}, {{.pattern = "*"}, {.pattern = "bias"}}));  // in the shadow of another, but in use
  CHECK(message({{.pattern = "bias", .rate = -1}}) ==
        "parameter group \"bias\": the factor of the rate must be at least 0, found -1");
  CHECK_THAT(message({{.pattern = "bias", .rate = std::numeric_limits<double>::infinity()}}),
             ContainsSubstring("the factor of the rate must be at least 0, found inf"));
  CHECK(message({{.pattern = "bias", .weight_decay = -0.5}}) ==
        "parameter group \"bias\": weight decay must be at least 0, found -0.5");
  CHECK_THAT(message({{.pattern = "bias", .weight_decay = std::numeric_limits<double>::quiet_NaN()}}),
             ContainsSubstring("weight decay must be at least 0, found nan"));
}
