// Compact weights: the matrices of a model's Linear layers kept as 16, 8 or 4 bits an entry alone, in memory and in files.
// Such a model takes less room, and steps as one of full weights that is started with the same format; it cannot be trained.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/execution.hpp"
#include "fbt/core/parallel.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/kernels/compact.hpp"
#include "fbt/layers/linear.hpp"

#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace fbt {

/// Whether a layer that a visitor enters is a Linear.
template <class Layer>
inline constexpr bool is_linear = false;
template <class Scalar>
inline constexpr bool is_linear<Linear<Scalar>> = true;

namespace detail {

template <class F>
struct LinearVisitor {
  F& f;

  template <class Tensor>
  void operator()(std::string_view, Tensor&) {}
  template <class Layer>
  void enter(std::string_view name, Layer& layer) {
    if constexpr (is_linear<std::remove_const_t<Layer>>) f(name, layer);
  }
};

}  // namespace detail

/// Calls f(name, layer) for every Linear within a model, or for a Linear itself, without a name.
template <class Model, class F>
void visit_linear(Model& model, F&& f) {
  if constexpr (is_linear<std::remove_const_t<Model>>) return f("", model);
  detail::LinearVisitor<std::remove_reference_t<F>> visitor{f};
  visit(visitor, model);
}

/// As what the matrices of a model are kept. Throws std::invalid_argument unless all are of one format.
template <class Model>
WeightFormat weights_of(const Model& model) {
  std::optional<WeightFormat> format;
  visit_linear(model, [&](std::string_view name, const auto& linear) {
    const WeightFormat own = linear.compact ? linear.compact->format() : WeightFormat::full;
    check(format.value_or(own) == own, "expected weights of one format in all of a model, found {} and, in {}, {}",
          name_of(format.value_or(own)), name, name_of(own));
    format = own;
  });
  return format.value_or(WeightFormat::full);
}

/// Rounds the matrices of a model of float, and gives the room of the full ones free, one after the other. Throws
/// std::invalid_argument, and changes nothing, when they are not full.
template <class Model>
void compact_weights(Model& model, WeightFormat format, Team* team = nullptr) {
  check(format != WeightFormat::full, "compact weights: expected bf16, int8 or int4, found full");
  const WeightFormat found = weights_of(model);
  check(found == WeightFormat::full, "compact weights: expected a model of full weights, found weights of {}",
        name_of(found));
  visit_linear(model, [&](std::string_view, Linear<float>& linear) {
    auto compact = std::make_shared<CompactMatrix>();
    compact->pack(linear.weight, format, team);
    linear.compact = std::move(compact);
    linear.weight.resize(0, 0);
  });
}

}  // namespace fbt
