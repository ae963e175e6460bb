#include "fbt/training/adam.hpp"

#include "fbt/testing/gradient_check.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace fbt;

namespace {

struct Toy {
  using Scalar = double;
  Matrix<double> weight;
  RowMatrix<double> table;
  Vector<double> bias;

  explicit Toy(double fill, Index rows = 2)
      : weight(Matrix<double>::Constant(rows, 3, fill)),
        table(Matrix<double>::Constant(rows, 2, fill)),
        bias(Vector<double>::Constant(rows, fill)) {}

  template <class F, class... Same>
  static void visit(F&& f, Same&... toys) {
    f("weight", toys.weight...);
    f("table", toys.table...);
    f("bias", toys.bias...);
  }
};

}  // namespace

TEST_CASE("Adam: the first two updates by hand") {
  Toy model(1), grad(0);
  Adam<Toy> adam(model, AdamOptions{0.9, 0.99, 0.5, 0.1, {}});
  CHECK(adam.updates == 0);

  // n = 1, g = 2: m = 0.2, v = 0.04; m / (1 - 0.9) = 2, v / (1 - 0.99) = 4; step 2 / (2 + 0.5) = 0.8, decay 0.1 * 1
  visit([](std::string_view, auto& tensor) { tensor.setConstant(2); }, grad);
  adam.update(model, grad, 0.25);
  CHECK(adam.updates == 1);
  CHECK(model.weight.isApproxToConstant(1 - 0.25 * (0.8 + 0.1), 1e-14));
  CHECK(model.table.isApproxToConstant(1 - 0.25 * (0.8 + 0.1), 1e-14));
  CHECK(model.bias.isApproxToConstant(1 - 0.25 * 0.8, 1e-14));  // a vector does not decay
  CHECK(adam.m.weight.isApproxToConstant(0.2, 1e-14));
  CHECK(adam.v.bias.isApproxToConstant(0.04, 1e-14));

  // n = 2, g = -1: m = 0.18 - 0.1 = 0.08, v = 0.0396 + 0.01 = 0.0496
  visit([](std::string_view, auto& tensor) { tensor.setConstant(-1); }, grad);
  const double step = (0.08 / (1 - 0.81)) / (std::sqrt(0.0496 / (1 - 0.9801)) + 0.5);
  adam.update(model, grad, 0.5);
  CHECK(adam.updates == 2);  // one counter, however many tensors there are
  CHECK(model.weight.isApproxToConstant(0.775 - 0.5 * (step + 0.1 * 0.775), 1e-14));
  CHECK(model.bias.isApproxToConstant(0.8 - 0.5 * step, 1e-14));
}

TEST_CASE("Adam: every entry of a large tensor is updated once") {
  Random random(1);
  const Index rows = 1777;
  Toy model(0, rows), grad(0, rows);
  fill_normal(grad.weight, 1, random);
  fill_normal(grad.table, 1, random);
  fill_normal(grad.bias, 1, random);
  Adam<Toy> adam(model, AdamOptions{0.9, 0.99, 1e-300, 0, {}});
  adam.update(model, grad, 1);
  adam.update(model, grad, 1);  // with a constant gradient every update is a step of the rate against its sign
  const auto worst = [](const auto& parameter, const auto& gradient) {
    return (parameter.array() + 2 * gradient.array().sign()).abs().maxCoeff();
  };
  CHECK(worst(model.weight, grad.weight) < 1e-12);
  CHECK(worst(model.table, grad.table) < 1e-12);
  CHECK(worst(model.bias, grad.bias) < 1e-12);
}

TEST_CASE("Adam: the gradient scale") {
  Toy a(1), b(1), grad(0.3), scaled(0.3 * 0.125);
  Adam<Toy> adam_a(a, AdamOptions{0.9, 0.99, 0.01, 0.1, {}}), adam_b(b, AdamOptions{0.9, 0.99, 0.01, 0.1, {}});
  for (int i = 0; i < 3; ++i) {
    adam_a.update(a, grad, 0.1, 0.125);
    adam_b.update(b, scaled, 0.1);
  }
  CHECK(a.weight == b.weight);
  CHECK(a.bias == b.bias);
  CHECK(adam_a.v.bias == adam_b.v.bias);
  CHECK(a.bias(0) != Approx(1));
}

TEST_CASE("Adam: a zero gradient only decays") {
  Toy model(2), grad(0);
  Adam<Toy> adam(model, AdamOptions{0.9, 0.99, 1e-8, 0.5, {}});
  adam.update(model, grad, 0.1);
  CHECK(model.weight.isApproxToConstant(2 * 0.95, 1e-14));
  CHECK(model.bias == Vector<double>::Constant(2, 2));
}

TEST_CASE("clip_scale") {
  CHECK(clip_scale(4, 1) == 0.25);
  CHECK(clip_scale(1, 1) == 1);
  CHECK(clip_scale(0.5, 1) == 1);
  CHECK(clip_scale(0, 1) == 1);
  CHECK(clip_scale(1e30, 0) == 1);  // 0: none
}

TEST_CASE("AdamOptions: validation") {
  const auto message = [](const AdamOptions& o) { return message_of<std::invalid_argument>([&] { Adam<Toy>(Toy(0), o); }); };
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  CHECK_NOTHROW(Adam<Toy>(Toy(0), AdamOptions{0, 0, 1e-300, 0, {}}));
  CHECK(message(AdamOptions{1, 0.9, 1, 0, {}}) == "beta1 must be at least 0 and below 1, found 1");
  CHECK(message(AdamOptions{-0.1, 0.9, 1, 0, {}}) == "beta1 must be at least 0 and below 1, found -0.1");
  CHECK(message(AdamOptions{0.9, 1, 1, 0, {}}) == "beta2 must be at least 0 and below 1, found 1");
  CHECK(message(AdamOptions{0.9, nan, 1, 0, {}}) == "beta2 must be at least 0 and below 1, found nan");
  CHECK(message(AdamOptions{0.9, 0.9, 0, 0, {}}) == "epsilon must be above 0 and finite, found 0");
  CHECK(message(AdamOptions{0.9, 0.9, infinity, 0, {}}) == "epsilon must be above 0 and finite, found inf");
  CHECK(message(AdamOptions{0.9, 0.9, 1, -1, {}}) == "weight decay must be at least 0 and finite, found -1");
  CHECK(message(AdamOptions{0.9, 0.9, 1, infinity, {}}) == "weight decay must be at least 0 and finite, found inf");
}

TEST_CASE("Adam: groups by hand: the rate's factor, the decay, and what is frozen") {
  Toy model(1), grad(2);
  AdamOptions options{0.9, 0.99, 0.5, 0.1, {}};
  options.groups = {{.pattern = "weight", .rate = 0.5, .weight_decay = 0.4},
                    {.pattern = "bias", .weight_decay = 0.2},
                    {.pattern = "t*", .frozen = true}};
  Adam<Toy> adam(model, options);
  // as by hand above: the step of the first update is 0.8
  adam.update(model, grad, 0.25);
  CHECK(model.weight.isApproxToConstant(1 - 0.25 * 0.5 * (0.8 + 0.4), 1e-14));
  CHECK(model.bias.isApproxToConstant(1 - 0.25 * (0.8 + 0.2), 1e-14));  // a vector decays where its group says so
  CHECK(model.table == Toy(1).table);                                   // bit for bit
  CHECK(adam.m.table.isZero(0));
  CHECK(adam.v.table.isZero(0));
  CHECK(adam.m.weight.isApproxToConstant(0.2, 1e-14));

  // what is in no group is as ever, and a group may take the decay away
  Toy plain(1), grouped(1);
  options.groups = {{.pattern = "table", .weight_decay = 0}};
  Adam<Toy>(plain, AdamOptions{0.9, 0.99, 0.5, 0.1, {}}).update(plain, grad, 0.25);
  Adam<Toy>(grouped, options).update(grouped, grad, 0.25);
  CHECK(grouped.weight == plain.weight);
  CHECK(grouped.bias == plain.bias);
  CHECK(grouped.table.isApproxToConstant(1 - 0.25 * 0.8, 1e-14));
}

TEST_CASE("Adam: a rate of 0 in a group leaves its parameters, and the first group that fits counts") {
  Toy model(1), grad(2);
  AdamOptions options;
  options.groups = {{.pattern = "weight", .rate = 0}, {.pattern = "*", .frozen = true}};
  Adam<Toy> adam(model, options);
  adam.update(model, grad, 0.25);
  CHECK(model.weight == Toy(1).weight);
  CHECK(model.table == Toy(1).table);
  CHECK_FALSE(adam.m.weight.isZero(0));  // it has moments, unlike what is frozen
  CHECK(adam.m.table.isZero(0));
}

TEST_CASE("Adam: drop_frozen takes frozen parameters out of a gradient") {
  Toy model(1), grad(2);
  AdamOptions options;
  options.groups = {{.pattern = "weight", .frozen = true}, {.pattern = "bias", .rate = 0.5}};
  const Adam<Toy> adam(model, options);
  adam.drop_frozen(grad);
  CHECK(grad.weight.isZero(0));
  CHECK(grad.table == Toy(2).table);
  CHECK(grad.bias == Toy(2).bias);
  CHECK(squared_norm(grad) == 4 * (4 + 2));
}

namespace {

struct FloatToy {
  using Scalar = float;
  Vector<float> bias = Vector<float>::Ones(2);

  template <class F, class... Same>
  static void visit(F&& f, Same&... toys) {
    f("bias", toys.bias...);
  }
};

}  // namespace

TEST_CASE("Adam: a decay that is 1 in the numbers of the model is refused") {
  const auto message = [](const AdamOptions& options) {
    return message_of<std::invalid_argument>([&] { Adam<FloatToy>(FloatToy(), options); });
  };
  AdamOptions first, second;
  first.beta1 = second.beta2 = 1 - 1e-9;
  CHECK(message(first) == "beta1: 0.999999999 is 1 in the numbers of the model");
  CHECK(message(second) == "beta2: 0.999999999 is 1 in the numbers of the model");
  CHECK_NOTHROW(Adam<Toy>(Toy(1), first));
}

TEST_CASE("Adam: an epsilon that is 0 in the numbers of the model is refused") {
  AdamOptions options;
  options.epsilon = 1e-50;
  CHECK(message_of<std::invalid_argument>([&] { Adam<FloatToy>(FloatToy(), options); }) ==
        "epsilon: 1e-50 is 0 in the numbers of the model");
  CHECK_NOTHROW(Adam<Toy>(Toy(1), options));
}

TEST_CASE("Adam: the groups of a copy are those of the copy") {
  Toy model(1), grad(2);
  AdamOptions options;
  options.groups = {{.pattern = "weight", .frozen = true}};
  auto first = std::make_unique<Adam<Toy>>(model, options);
  Adam<Toy> second = *first;
  first.reset();
  second.update(model, grad, 0.25);
  CHECK(model.weight == Toy(1).weight);
  CHECK(model.table != Toy(1).table);
  CHECK(second.options().groups.size() == 1);
}

TEST_CASE("Adam: moments for a file, under their names") {
  Toy model(1), grad(2);
  Adam<Toy> adam(model);
  adam.update(model, grad, 0.1);
  std::vector<std::string> names;
  std::as_const(adam).visit_moments([&](std::string_view name, const Toy& moment) {
    names.emplace_back(name);
    CHECK(moment.bias == (names.size() == 1 ? adam.m.bias : adam.v.bias));
  });
  CHECK(names == std::vector<std::string>{"adam.m", "adam.v"});
  CHECK_NOTHROW(adam.check_moments("file"));
  adam.visit_moments([](std::string_view name, Toy& moment) {
    if (name == "adam.v") moment.table(1, 1) = -1e-9;
  });
  CHECK(message_of<std::runtime_error>([&] { adam.check_moments("file"); }) ==
        "file: adam.v.table: expected means of squares, found others");
  adam.v.table(1, 1) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(adam.check_moments("file"), std::runtime_error);
}
