// AdamW: Adam with decoupled weight decay (Kingma and Ba, 2015; Loshchilov and Hutter, 2019):
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
//   p = p - rate * (m / (1 - beta1^n) / (sqrt(v / (1 - beta2^n)) + epsilon) + weight_decay * p)        after n updates
// Matrices decay; vectors (norms, biases, layer weights) do not.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/visit.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace fbt {

struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.99;  ///< below the usual 0.999: a training of some thousand updates gains from the shorter memory
  double epsilon = 1e-8;
  double weight_decay = 0;  ///< decoupled (AdamW), not a part of the gradient

  void validate() const {
    check(beta1 >= 0 && beta1 < 1, "beta1 must be at least 0 and below 1, found {}", beta1);
    check(beta2 >= 0 && beta2 < 1, "beta2 must be at least 0 and below 1, found {}", beta2);
    check(epsilon > 0 && std::isfinite(epsilon), "epsilon must be above 0 and finite, found {}", epsilon);
    check(weight_decay >= 0 && std::isfinite(weight_decay), "weight decay must be at least 0 and finite, found {}",
          weight_decay);
  }
};

template <class Model>
struct Adam {
  AdamOptions options;
  Model m, v;                ///< twins of the model: running means of the gradient and of its square
  std::int64_t updates = 0;  ///< n

  Adam(const Model& model, const AdamOptions& options_) : options(options_), m(zeros_like(model)), v(m) {
    options.validate();
  }

  /// One update of the model with gradient_scale * grad (the scale is for norm clipping).
  void update(Model& model, const Model& grad, double rate, double gradient_scale = 1) {
    using Scalar = typename Model::Scalar;
    ++updates;
    const auto n = static_cast<double>(updates);
    const double root2 = std::sqrt(1 - std::pow(options.beta2, n));
    const auto step = static_cast<Scalar>(rate * root2 / (1 - std::pow(options.beta1, n)));
    const auto epsilon = static_cast<Scalar>(options.epsilon * root2);
    const auto beta1 = static_cast<Scalar>(options.beta1), beta2 = static_cast<Scalar>(options.beta2);
    const auto scale = static_cast<Scalar>(gradient_scale);
    visit(
        [&]<class Tensor>(std::string_view, Tensor& parameter, const Tensor& gradient, Tensor& mean, Tensor& square) {
          const bool decays = Tensor::ColsAtCompileTime != 1;
          const auto keep = static_cast<Scalar>(decays ? 1 - rate * options.weight_decay : 1);
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
};

/// The factor that brings a gradient of the given norm down to the limit; 1 when it is below, or when the limit is 0 (no clipping).
inline double clip_scale(double norm, double limit) { return limit > 0 && norm > limit ? limit / norm : 1; }

}  // namespace fbt
