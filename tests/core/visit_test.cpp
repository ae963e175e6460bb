#include "fbt/core/visit.hpp"

#include "support/catch.hpp"

#include <limits>
#include <vector>

using namespace fbt;

namespace {

struct Leaf {
  Matrix<double> weight = Matrix<double>::Constant(2, 3, 1);
  Vector<double> bias = Vector<double>::Constant(2, 2);

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
    f("bias", layers.bias...);
  }
};

struct Tree {
  Leaf root;
  std::vector<Leaf> leaves = std::vector<Leaf>(2);
  RowMatrix<float> table = RowMatrix<float>::Constant(2, 2, 3);

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    visit_child("root", f, layers.root...);
    visit_children("leaves", f, layers.leaves...);
    f("table", layers.table...);
  }
};

}  // namespace

TEST_CASE("visit: dotted names, in order") {
  std::vector<std::string> names;
  const Tree tree;
  visit([&](std::string_view name, const auto&) { names.emplace_back(name); }, tree);
  CHECK(names == std::vector<std::string>{"root.weight", "root.bias", "leaves.0.weight", "leaves.0.bias", "leaves.1.weight",
                                          "leaves.1.bias", "table"});
}

TEST_CASE("visit: twins, const or not, side by side") {
  Tree a, b;
  const Tree c;
  b.leaves[1].bias << 10, 20;
  visit([](std::string_view, auto& x, auto& y, const auto& z) { x = y + z; }, a, b, c);
  CHECK(a.leaves[1].bias == Vector<double>{{12, 22}});
  CHECK(a.leaves[0].bias == Vector<double>{{4, 4}});
  CHECK(a.table == RowMatrix<float>::Constant(2, 2, 6));
}

namespace {

struct Entering {
  std::vector<std::string> seen = {};

  template <class Tensor>
  void operator()(std::string_view name, Tensor&) {
    seen.emplace_back(name);
  }
  void enter(std::string_view name, const Leaf&) { seen.push_back(std::string(name) + ":"); }
};
struct Trunk {
  Tree tree;

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    visit_child("tree", f, layers.tree...);
  }
};

}  // namespace

TEST_CASE("visit: a visitor is told of the layers that it can enter, before their tensors") {
  Entering visitor;
  const Trunk trunk;
  visit(visitor, trunk);
  CHECK(visitor.seen == std::vector<std::string>{"tree.root:", "tree.root.weight", "tree.root.bias",
                                                 "tree.leaves.0:", "tree.leaves.0.weight", "tree.leaves.0.bias",
                                                 "tree.leaves.1:", "tree.leaves.1.weight", "tree.leaves.1.bias",
                                                 "tree.table"});
}

TEST_CASE("visit: functions over all parameters") {
  const Tree tree;
  CHECK(count_parameters(tree) == 3 * 8 + 4);
  CHECK(squared_norm(tree) == 3 * (6 * 1 + 2 * 4) + 4 * 9);
  const Tree zeros = zeros_like(tree);
  CHECK(squared_norm(zeros) == 0);
  CHECK(count_parameters(zeros) == 28);
  CHECK(squared_norm(tree) != 0);  // the original is as it was

  Tree sum = tree;
  add(sum, tree);
  CHECK(squared_norm(sum) == 4 * squared_norm(tree));
  set_zero(sum);
  CHECK(squared_norm(sum) == 0);

  Tree large = tree;
  large.table(1, 1) = 1e30f;  // its square is beyond float
  CHECK(squared_norm(large) == Approx(1e60).epsilon(1e-6));

  Tree broken = tree;
  broken.leaves[1].weight(1, 2) = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(squared_norm(broken)));
}

TEST_CASE("flat: the coefficients in storage order") {
  Matrix<double> m(2, 2);
  m << 1, 2, 3, 4;
  RowMatrix<double> r = m;
  CHECK(flat(m) == Vector<double>{{1, 3, 2, 4}});
  CHECK(flat(std::as_const(r)) == Vector<double>{{1, 2, 3, 4}});
  flat(m)(1) = 30;
  CHECK(m(1, 0) == 30);
}
