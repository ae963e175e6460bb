// AdamW: Adam with decoupled weight decay (Kingma and Ba, 2015; Loshchilov and Hutter, 2019):
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
//   p = p - rate * (m / (1 - beta1^n) / (sqrt(v / (1 - beta2^n)) + epsilon) + weight_decay * p)        after n updates
// Matrices decay; vectors (norms, biases, layer weights) do not. Parameter groups change rate and decay, or freeze, by name.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/training/parameter_groups.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace fbt {

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.99;  ///< below the usual 0.999: a training of some thousand updates gains from the shorter memory
  double epsilon = 1e-8;
  double weight_decay = 0;                  ///< decoupled (AdamW), not a part of the gradient
  std::vector<ParameterGroup> groups = {};  ///< the first that a name fits counts

  void validate() const {
    check(beta1 >= 0 && beta1 < 1, "beta1 must be at least 0 and below 1, found {}", beta1);
    check(beta2 >= 0 && beta2 < 1, "beta2 must be at least 0 and below 1, found {}", beta2);
    check(epsilon > 0 && is_finite(epsilon), "epsilon must be above 0 and finite, found {}", epsilon);
    check(weight_decay >= 0 && is_finite(weight_decay), "weight decay must be at least 0 and finite, found {}",
          weight_decay);
  }
};

/// Model: anything with a Scalar and visit(), a struct of two models too. An optimiser has update(), drop_frozen(), updates,
/// and for files visit_moments() and check_moments().
template <class Model>
class Adam {
 public:
  Model m, v;                ///< running means of the gradient and of its square
  std::int64_t updates = 0;  ///< n

  /// Throws std::invalid_argument for an option out of range, and for a group that no parameter is in.
  explicit Adam(const Model& model, const AdamOptions& options = {});

  const AdamOptions& options() const { return options_; }

  /// One update of the model with gradient_scale * grad (the scale is for norm clipping). Throws std::invalid_argument for
  /// the gradient of a model of another number of tensors.
  void update(Model& model, const Model& grad, double rate, double gradient_scale = 1);

  /// Sets the gradient of frozen parameters to zero, so that it has no part in its norm. Throws as update().
  void drop_frozen(Model& grad) const;

  /// Calls f(name, moment) for what a training file keeps, with the names it has there.
  template <class F>
  void visit_moments(F&& f) {
    f("adam.m", m);
    f("adam.v", v);
  }
  template <class F>
  void visit_moments(F&& f) const {
    f("adam.m", m);
    f("adam.v", v);
  }
  /// Throws std::runtime_error for moments that cannot be; name is for messages.
  void check_moments(std::string_view name) const;

 private:
  /// Before tensors are told by their numbers.
  void check_tensors(const Model& grad) const;
  const ParameterGroup* group_of(std::size_t parameter) const {
    return groups_[parameter] < 0 ? nullptr : &options_.groups[static_cast<std::size_t>(groups_[parameter])];
  }

  AdamOptions options_;
  std::vector<int> groups_;  // of every parameter, or -1
};

template <class Model>
Adam<Model>::Adam(const Model& model, const AdamOptions& options)
    : m(zeros_like(model)), v(m), options_((options.validate(), options)) {
  check(static_cast<typename Model::Scalar>(options.epsilon * std::sqrt(1 - options.beta2)) > 0,
        "epsilon: {} is 0 in the numbers of the model", options.epsilon);
  check(static_cast<typename Model::Scalar>(options.beta1) < 1, "beta1: {} is 1 in the numbers of the model", options.beta1);
  check(static_cast<typename Model::Scalar>(options.beta2) < 1, "beta2: {} is 1 in the numbers of the model", options.beta2);
  for (const ParameterGroup* const group : assign_groups(model, options_.groups))
    groups_.push_back(group ? static_cast<int>(group - options_.groups.data()) : -1);
}

template <class Model>
void Adam<Model>::update(Model& model, const Model& grad, double rate, double gradient_scale) {
  using Scalar = typename Model::Scalar;
  check_tensors(grad);
  ++updates;
  const auto n = static_cast<double>(updates);
  const double root2 = std::sqrt(1 - std::pow(options_.beta2, n)), corrected1 = 1 - std::pow(options_.beta1, n);
  const auto epsilon = static_cast<Scalar>(options_.epsilon * root2);
  const auto beta1 = static_cast<Scalar>(options_.beta1), beta2 = static_cast<Scalar>(options_.beta2);
  const auto scale = static_cast<Scalar>(gradient_scale);
  std::size_t number = 0;
  visit(
      [&]<class Tensor>(std::string_view, Tensor& parameter, const Tensor& gradient, Tensor& mean, Tensor& square) {
        const ParameterGroup* const group = group_of(number++);
        if (group && group->frozen) return;
        const double own_rate = rate * (group ? group->rate : 1);
        const double decay = group && group->weight_decay     ? *group->weight_decay
                             : Tensor::ColsAtCompileTime != 1 ? options_.weight_decay
                                                              : 0;
        const auto step = static_cast<Scalar>(own_rate * root2 / corrected1);
        const auto keep = static_cast<Scalar>(1 - own_rate * decay);
        constexpr Index piece = 1024;  // small enough to stay in the first-level cache between the lines below
        for (Index first = 0; first < parameter.size(); first += piece) {
          const Index size = std::min(piece, parameter.size() - first);
          const auto g = flat(gradient).segment(first, size).array() * scale;
          auto mp = flat(mean).segment(first, size).array();
          auto vp = flat(square).segment(first, size).array();
          auto p = flat(parameter).segment(first, size).array();
          mp = beta1 * mp + (1 - beta1) * g;
          vp = beta2 * vp + (1 - beta2) * g.square();
          p = keep * p - step * mp / (vp.sqrt() + epsilon);
        }
      },
      model, grad, m, v);
}

template <class Model>
void Adam<Model>::drop_frozen(Model& grad) const {
  check_tensors(grad);
  std::size_t number = 0;
  visit(
      [&](std::string_view, auto& gradient) {
        if (const ParameterGroup* const group = group_of(number++); group && group->frozen) gradient.setZero();
      },
      grad);
}

template <class Model>
void Adam<Model>::check_tensors(const Model& grad) const {
  std::size_t found = 0;
  visit([&](std::string_view, const auto&) { ++found; }, grad);
  check(found == groups_.size(),
        "the optimiser was made for a model of {} tensors, found one of {}: after set_memory_rule() make another",
        groups_.size(), found);
}

template <class Model>
void Adam<Model>::check_moments(std::string_view name) const {
  visit(
      [&](std::string_view parameter, const auto& square) {
        ensure((square.array() >= 0).all(), "{}: adam.v.{}: expected means of squares, found others", name, parameter);
      },
      v);
}

/// The factor that brings a gradient of the given norm down to the limit; 1 when it is below, or when the limit is 0 (no
/// clipping).
inline double clip_scale(double norm, double limit) { return limit > 0 && norm > limit ? limit / norm : 1; }

}  // namespace fbt
