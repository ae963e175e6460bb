// Reads a checkpoint of a public PyTorch implementation, says what it is, compares it with numbers that PyTorch computed, and
// converts it.
#include "fbt/io/import.hpp"
#include "fbt/training/cross_entropy.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace {

struct Options {
  std::string weights, out, export_path, verify;
  fbt::Index window = 0;
  bool use_double = false;
  double logit_error = 1e-4, loss_error = 1e-5, gradient_error = 1e-3;
};

/// (B, T) in the file, step after step here.
std::vector<fbt::Token> read_tokens(const fbt::TensorView& view, fbt::Index lanes, fbt::Index steps,
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

/// Runs forward and backward and prints the largest differences from the expected numbers. False when one is too large.
template <class Scalar>
bool verify(fbt::ImportedModel<Scalar>& imported, const Options& options) {
  const fbt::TensorFile expected = fbt::TensorFile::read(options.verify);
  auto& model = imported.model;
  const fbt::TensorView& logits = expected.get("logits");
  fbt::ensure(logits.shape.size() == 3 && logits.size() > 0, "{}: logits: expected shape (B, T, V), found {}",
              options.verify, fbt::shape_text(logits.shape));
  const auto B = static_cast<fbt::Index>(logits.shape[0]), T = static_cast<fbt::Index>(logits.shape[1]);
  const auto V = static_cast<fbt::Index>(logits.shape[2]);
  fbt::ensure(V == model.config().vocabulary, "{}: logits: expected a vocabulary of {}, found {}", options.verify,
              model.config().vocabulary, V);
  const auto tokens = read_tokens(expected.get("tokens"), B, T, options.verify);
  const auto targets = read_tokens(expected.get("targets"), B, T, options.verify);

  typename fbt::FeedbackTransformer<Scalar>::State state{model.make_memory(B), {}};
  const fbt::Matrix<Scalar>& found = model.forward(tokens, {T, B, true, 0}, state);
  double logit_error = 0;
  for (fbt::Index b = 0; b < B; ++b)
    for (fbt::Index t = 0; t < T; ++t)
      for (fbt::Index v = 0; v < V; ++v) {
        const double difference = found(v, t * B + b) - logits.number(static_cast<std::uint64_t>((b * T + t) * V + v));
        logit_error = std::max(logit_error, std::isnan(difference) ? INFINITY : std::abs(difference));
      }

  fbt::Matrix<Scalar> dlogits(V, T * B);
  const auto scored = std::count_if(targets.begin(), targets.end(), [](fbt::Token t) { return t >= 0; });
  const auto loss =
      fbt::cross_entropy<Scalar>(found, targets, static_cast<Scalar>(1.0 / static_cast<double>(scored)), dlogits);
  const fbt::TensorView& expected_loss = expected.get("loss");
  fbt::ensure(expected_loss.size() == 1, "{}: loss: expected 1 number, found {}", options.verify, expected_loss.size());
  const double loss_error = std::abs(loss.mean() - expected_loss.number(0));

  model.backward(dlogits, state);
  auto grad = fbt::zeros_like(model);
  model.accumulate(state, grad);
  // error over the largest gradient of the tensor, or of the file where the tensor's is zero
  double largest_of_file = 0;
  for (const fbt::TensorView& tensor : expected.tensors())
    if (tensor.name.starts_with("grad."))
      for (std::uint64_t i = 0; i < tensor.size(); ++i)
        largest_of_file = std::max(largest_of_file, std::abs(tensor.number(i)));
  double gradient_error = 0;
  std::string worst = "none";
  std::size_t compared = 0;
  for (const auto& tensor : fbt::foreign_tensors(imported.layout, grad, imported.details)) {
    const fbt::TensorView* view = nullptr;
    for (const std::string& name : tensor.names)
      if (!view) view = expected.find("grad." + name);
    if (!view) {
      fbt::ensure(!tensor.at, "{}: expected a tensor named grad.{}, found none", options.verify, tensor.names.front());
      continue;
    }
    fbt::ensure(view->shape == tensor.shape, "{}: {}: expected shape {}, found {}", options.verify, view->name,
                fbt::shape_text(tensor.shape), fbt::shape_text(view->shape));
    double difference = 0, largest = 0;
    for (std::uint64_t i = 0; i < tensor.size(); ++i) {
      const double e = view->number(i), f = tensor.at ? static_cast<double>(tensor.at(i)) : 0;
      difference = std::max(difference, std::isnan(f - e) ? INFINITY : std::abs(f - e));
      largest = std::max(largest, std::abs(e));
    }
    const double scale = largest > 1e-12 * largest_of_file ? largest : largest_of_file;  // below: rounding around zero
    const double error = difference > 0 ? difference / scale : 0;
    ++compared;
    if (!(error <= gradient_error) || worst == "none") {
      gradient_error = error;
      worst = view->name;
    }
  }
  fmt::print("max |logit error|: {:.3g}\n", logit_error);
  fmt::print("|loss error|: {:.3g}\n", loss_error);
  fmt::print("max relative gradient error (worst of {} tensors: {}): {:.3g}\n", compared, worst, gradient_error);
  const bool good =
      logit_error <= options.logit_error && loss_error <= options.loss_error && gradient_error <= options.gradient_error;
  if (!good)
    fmt::print(stderr, "error: {}: expected errors of at most {:g}, {:g} and {:g}\n", options.weights, options.logit_error,
               options.loss_error, options.gradient_error);
  return good;
}

template <class Scalar>
bool run(const Options& options) {
  auto imported = fbt::import_model<Scalar>(fbt::TensorFile::read(options.weights), options.window);
  const fbt::Config& c = imported.model.config();
  fmt::print("{}: layout {}, {} parameters\n{}\n", options.weights, fbt::layout_name(imported.layout),
             fbt::count_parameters(imported.model), fbt::write_config(c));
  for (const std::string& warning : imported.warnings) fmt::print(stderr, "warning: {}: {}\n", options.weights, warning);
  bool good = true;
  if (!options.verify.empty()) good = verify(imported, options);
  if (!options.out.empty()) {
    fbt::Metadata metadata = imported.layout == fbt::Layout::fbt ? imported.metadata : fbt::Metadata{};
    fbt::save_model(options.out, imported.model, metadata);
    fmt::print("wrote {}\n", options.out);
  }
  if (!options.export_path.empty()) {
    fbt::export_model(options.export_path, imported.model, imported.layout, imported.details);
    fmt::print("wrote {}\n", options.export_path);
  }
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Reads checkpoints of the public PyTorch feedback transformers.");
  app.option_defaults()->always_capture_default();
  app.add_option("--weights", options.weights, "the safetensors file to read")->required();
  app.add_option("--window", options.window,
                 "slots a step may see; only lucidrains files do not tell (mem_len); 0: as the file says");
  app.add_option("--out", options.out, "write the model as a file of fbt");
  app.add_option("--export", options.export_path, "write the model in the layout it came in, for PyTorch");
  app.add_option("--verify", options.verify,
                 "compare with tokens, targets, logits, loss and grad.* in this safetensors file; exit code 1 when an error "
                 "is too large");
  app.add_flag("--double", options.use_double, "compute in double");
  app.add_option("--max-logit-error", options.logit_error, "absolute");
  app.add_option("--max-loss-error", options.loss_error, "absolute");
  app.add_option("--max-gradient-error", options.gradient_error, "relative to the largest gradient of the tensor");
  try {
    app.parse(argc, argv);
    return (options.use_double ? run<double>(options) : run<float>(options)) ? 0 : 1;
  } catch (const CLI::ParseError& e) {
    return e.get_exit_code() == 0 ? app.exit(e) : (fmt::print(stderr, "error: {}\n", e.what()), 1);
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return 1;
  }
}
