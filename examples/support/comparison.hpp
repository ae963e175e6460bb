// Compares a model with what another implementation computed from the same parameters.
#pragma once

#include "fbt/io/pytorch/import.hpp"
#include "fbt/training/losses.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace example {

/// The largest differences.
struct Comparison {
  double logits = 0, loss = 0;
  double gradients = 0;  ///< over the largest gradient of the tensor, or of all where the tensor's is zero
  std::string worst_tensor;
  std::size_t tensors = 0;  ///< gradients that were compared
};

namespace detail {

/// Zero when both agree, infinite when one is not a number.
inline double distance(double a, double b) { return std::isnan(a - b) ? INFINITY : std::abs(a - b); }

/// (B, T) in the file, step after step here.
inline std::vector<fbt::Token> read_tokens(const fbt::TensorView& view, fbt::Index lanes, fbt::Index steps,
                                           const std::string& file) {
  fbt::ensure(view.shape == std::vector<std::uint64_t>{static_cast<std::uint64_t>(lanes), static_cast<std::uint64_t>(steps)},
              "{}: {}: expected shape ({}, {}), found {}", file, view.name, lanes, steps, fbt::shape_text(view.shape));
  std::vector<fbt::Token> tokens(static_cast<std::size_t>(lanes * steps));
  for (fbt::Index b = 0; b < lanes; ++b) {
    for (fbt::Index t = 0; t < steps; ++t) {
      const double value = view.number(static_cast<std::uint64_t>(b * steps + t));
      fbt::ensure(value == std::floor(value) && std::abs(value) < 0x1p31, "{}: {}: expected whole numbers, found {}", file,
                  view.name, value);
      tokens[static_cast<std::size_t>(t * lanes + b)] = static_cast<fbt::Token>(value);
    }
  }
  return tokens;
}

}  // namespace detail

/// Runs the model forward and backward over tokens (B, T) with targets (B, T), and compares with logits (B, T, V), the mean
/// cross-entropy `loss`, and grad.NAME for every parameter. Throws std::runtime_error when one is missing or misshapen.
template <class Scalar>
Comparison compare(const fbt::ImportedModel<Scalar>& imported, const fbt::TensorFile& expected) {
  const auto& model = imported.model;
  const std::string& file = expected.name();
  const fbt::TensorView& logits = expected.get("logits");
  fbt::ensure(logits.shape.size() == 3 && logits.size() > 0, "{}: logits: expected shape (B, T, V), found {}", file,
              fbt::shape_text(logits.shape));
  const auto B = static_cast<fbt::Index>(logits.shape[0]), T = static_cast<fbt::Index>(logits.shape[1]);
  const auto V = static_cast<fbt::Index>(logits.shape[2]);
  fbt::ensure(V == model.config().vocabulary, "{}: logits: expected a vocabulary of {}, found {}", file,
              model.config().vocabulary, V);
  const auto tokens = detail::read_tokens(expected.get("tokens"), B, T, file);
  const auto targets = detail::read_tokens(expected.get("targets"), B, T, file);
  const auto scored = std::count_if(targets.begin(), targets.end(), [](fbt::Token t) { return t >= 0; });
  fbt::ensure(scored > 0, "{}: targets: expected at least one that is not negative, found none", file);

  Comparison result;
  auto memory = model.make_memory(B);
  typename fbt::FeedbackTransformer<Scalar>::Trace trace;
  const fbt::Matrix<Scalar>& found = model.forward(tokens, {T, B, true, 0}, memory, trace);
  for (fbt::Index b = 0; b < B; ++b)
    for (fbt::Index t = 0; t < T; ++t)
      for (fbt::Index v = 0; v < V; ++v)
        result.logits =
            std::max(result.logits,
                     detail::distance(found(v, t * B + b), logits.number(static_cast<std::uint64_t>((b * T + t) * V + v))));

  fbt::Matrix<Scalar> dlogits(V, T * B);
  const auto loss = fbt::CrossEntropy{}.operator()<Scalar>(found, targets,
                                                           static_cast<Scalar>(1.0 / static_cast<double>(scored)), dlogits);
  const fbt::TensorView& expected_loss = expected.get("loss");
  fbt::ensure(expected_loss.size() == 1, "{}: loss: expected 1 number, found {}", file, expected_loss.size());
  result.loss = detail::distance(loss.mean(), expected_loss.number(0));

  auto grad = fbt::zeros_like(model);
  model.backward(dlogits, memory, trace, grad);
  double largest_of_all = 0;
  for (const fbt::TensorView& tensor : expected.tensors())
    if (tensor.name.starts_with("grad."))
      for (std::uint64_t i = 0; i < tensor.size(); ++i)
        largest_of_all = std::max(largest_of_all, std::abs(tensor.number(i)));
  for (const auto& tensor : fbt::foreign_tensors(imported.layout, grad, imported.details)) {
    const fbt::TensorView* view = nullptr;
    for (const std::string& name : tensor.names)
      if (!view) view = expected.find("grad." + name);
    if (!view) {
      fbt::ensure(!tensor.at, "{}: expected a tensor named grad.{}, found none", file, tensor.names.front());
      continue;
    }
    fbt::ensure(view->shape == tensor.shape, "{}: {}: expected shape {}, found {}", file, view->name,
                fbt::shape_text(tensor.shape), fbt::shape_text(view->shape));
    double difference = 0, largest = 0;
    for (std::uint64_t i = 0; i < tensor.size(); ++i) {
      const double wanted = view->number(i);
      difference = std::max(difference, detail::distance(tensor.at ? tensor.at(i) : 0, wanted));
      largest = std::max(largest, std::abs(wanted));
    }
    const double scale = largest > 1e-12 * largest_of_all ? largest : largest_of_all;  // below: rounding around zero
    const double error = difference > 0 ? difference / scale : 0;
    if (result.tensors++ == 0 || error > result.gradients) {
      result.gradients = error;
      result.worst_tensor = view->name;
    }
  }
  return result;
}

}  // namespace example
