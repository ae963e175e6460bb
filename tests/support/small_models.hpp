// Small models for the tests of models/.
#pragma once

#include "fbt/models/sequence_model.hpp"
#include "support/helpers.hpp"

#include <string>

namespace fbt {

inline Config small_config() {
  Config c;
  c.vocabulary = 5;
  c.width = 4;
  c.layers = 2;
  c.heads = 2;
  c.feed_forward = 3;
  c.window = 3;
  c.activation = Activation::gelu;
  return c;
}

/// A model whose parameters are all away from their starting values.
template <class Scalar>
FeedbackTransformer<Scalar> scattered_model(const Config& config, Random& random) {
  FeedbackTransformer<double> model(config, random);
  scatter(model, random);
  if constexpr (std::is_same_v<Scalar, double>) {
    return model;
  } else {
    FeedbackTransformer<Scalar> rounded(config, random);
    std::vector<double> values;
    visit([&](std::string_view, auto& tensor) { values.insert(values.end(), tensor.data(), tensor.data() + tensor.size()); },
          model);
    const double* from = values.data();
    visit(
        [&](std::string_view, auto& tensor) {
          for (Index i = 0; i < tensor.size(); ++i) flat(tensor)(i) = static_cast<Scalar>(*from++);
        },
        rounded);
    return rounded;
  }
}

inline std::string describe(const Config& config) {
  std::string text;
  visit_config(
      [&](std::string_view name, const auto& value) {
        if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(value)>>) {
          text += fmt::format("{} = {}, ", name, static_cast<int>(value));
        } else {
          text += fmt::format("{} = {}, ", name, value);
        }
      },
      config);
  return text;
}

}  // namespace fbt
