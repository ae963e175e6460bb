// Functions over the named parameters of a layer.
//
// A layer is its parameters; its gradient and its optimiser moments are further objects of the same class.
// Each layer names its tensors in one static function,
//
//   template <class F, class... Same> static void visit(F&& f, Same&... layers);   // f("weight", a.weight, b.weight, ...)
//
// and everything else (zeroing, norms, counting, the optimiser, saving, loading, the gradient check) is a function over it.
// Tensors are Eigen matrices or vectors that own their storage. A layer may skip a tensor that its options leave out,
// as long as all objects of a model agree. A visitor that has a member enter(name, layers...) is told of every layer within
// the visited one, by its dotted name, before its tensors.
#pragma once

#include "fbt/core/types.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace fbt {

/// Calls f(name, the tensor of each...) for every parameter of the layers, which are of one class and one size.
template <class F, class First, class... Rest>
void visit(F&& f, First& first, Rest&... rest) {
  std::remove_const_t<First>::visit(f, first, rest...);
}

namespace detail {

/// A visitor of what is within a child.
template <class F>
struct WithinChild {
  std::string_view child;
  F& f;

  template <class... Tensors>
  void operator()(std::string_view name, Tensors&... tensors) {
    f(fmt::format("{}.{}", child, name), tensors...);
  }
  template <class... Layers>
  void enter(std::string_view name, Layers&... layers) {
    if constexpr (requires { f.enter(name, layers...); }) f.enter(fmt::format("{}.{}", child, name), layers...);
  }
};

}  // namespace detail

/// For the visit of a composite: the parameters of a child, under the dotted name "child.parameter".
template <class F, class First, class... Rest>
void visit_child(std::string_view child, F&& f, First& first, Rest&... rest) {
  if constexpr (requires { f.enter(child, first, rest...); }) f.enter(child, first, rest...);
  detail::WithinChild<std::remove_reference_t<F>> within{child, f};
  std::remove_const_t<First>::visit(within, first, rest...);
}

/// For the visit of a composite: children held in vectors of equal length, as "child.0.parameter", "child.1.parameter", ...
template <class F, class First, class... Rest>
void visit_children(std::string_view child, F&& f, First& first, Rest&... rest) {
  for (std::size_t i = 0; i < first.size(); ++i) visit_child(fmt::format("{}.{}", child, i), f, first[i], rest[i]...);
}

/// All coefficients of a tensor as one vector, in storage order.
template <class Tensor>
auto flat(Tensor& tensor) {
  using Scalar = typename std::remove_const_t<Tensor>::Scalar;
  using Plain = std::conditional_t<std::is_const_v<Tensor>, const Vector<Scalar>, Vector<Scalar>>;
  return Eigen::Map<Plain>(tensor.data(), tensor.size());
}

/// Sets every parameter to zero.
template <class Layer>
void set_zero(Layer& layer) {
  visit([](std::string_view, auto& tensor) { tensor.setZero(); }, layer);
}

/// A layer of the same size with every parameter zero: a gradient to add to, or an optimiser moment.
template <class Layer>
Layer zeros_like(const Layer& layer) {
  Layer zeros = layer;
  set_zero(zeros);
  return zeros;
}

namespace detail {

struct ParameterCounter {
  Index count = 0;

  template <class Tensor>
  void operator()(std::string_view, const Tensor& tensor) {
    count += tensor.size();
  }
  template <class Layer>
  void enter(std::string_view, const Layer& layer) {
    if constexpr (requires { layer.compact->blocks(); }) count += layer.compact ? layer.outputs() * layer.inputs() : 0;
  }
};

}  // namespace detail

/// The number of parameters; those of layers within a model count also where they are kept in another form than tensors.
template <class Layer>
Index count_parameters(const Layer& layer) {
  detail::ParameterCounter counter;
  visit(counter, layer);
  return counter.count;
}

/// Calls f(piece) for one piece of a vector after the other. A sum over the pieces of all parameters is the same whoever
/// has summed which of them.
template <class AnyVector, class F>
void for_each_piece(AnyVector&& vector, F&& f) {
  constexpr Index size = 4096;
  for (Index first = 0; first < vector.size(); first += size)
    f(vector.segment(first, std::min(size, vector.size() - first)));
}

/// The sum of the squares, squared and added up in double: that of large floats is finite, too.
template <class AnyVector>
double sum_of_squares(const AnyVector& vector) {
  return vector.template cast<double>().squaredNorm();
}

/// The sum of the squares of all parameters. Not finite when any of them is not.
template <class Layer>
double squared_norm(const Layer& layer) {
  double sum = 0;
  visit([&](std::string_view,
            const auto& tensor) { for_each_piece(flat(tensor), [&](const auto& piece) { sum += sum_of_squares(piece); }); },
        layer);
  return sum;
}

/// sum += layer, parameter by parameter.
template <class Layer>
void add(Layer& sum, const Layer& layer) {
  visit([](std::string_view, auto& a, const auto& b) { a += b; }, sum, layer);
}

}  // namespace fbt
