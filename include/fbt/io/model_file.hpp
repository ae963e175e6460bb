// Model files, as safetensors files: every parameter under its dotted name, the config (JSON) in __metadata__ beside
// whatever the caller adds (a vocabulary, say), and on demand a probe that the model is tested with when it is loaded. A
// model of compact weights is written as it is, and loaded without memory (though with addresses) for the full ones.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/io/compact_tensors.hpp"
#include "fbt/io/safetensors.hpp"
#include "fbt/layers/compact_weights.hpp"
#include "fbt/models/config.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fbt {

namespace detail {

struct ParameterWriter {
  TensorWriter& writer;
  const std::string& prefix;

  template <class Tensor>
  void operator()(std::string_view name, const Tensor& tensor) {
    writer.add(fmt::format("{}{}", prefix, name), tensor);
  }
  template <class Layer>
  void enter(std::string_view name, const Layer& layer) {
    if constexpr (is_linear<Layer>)
      if (layer.compact) add_compact(writer, fmt::format("{}{}", prefix, name), *layer.compact);
  }
};

/// Whether a file has what a model wants, whose matrices are full still.
struct ParameterChecker {
  const TensorFile& file;
  const std::string& prefix;
  WeightFormat format;
  std::vector<std::string> problems = {};
  std::set<std::string, std::less<>> expected = {};

  template <class Tensor>
  void operator()(std::string_view name, const Tensor& tensor) {
    const std::string full = fmt::format("{}{}", prefix, name);
    if (expected.contains(full)) return;  // a compact one
    if (const TensorView* const found = find(full, shape_of(tensor)); found && !dtype_info(found->dtype).parameters)
      problems.push_back(
          fmt::format("{}: expected dtype F16, BF16, F32 or F64, found {}", full, dtype_info(found->dtype).name));
  }
  template <class Layer>
  void enter(std::string_view name, const Layer& layer) {
    if constexpr (is_linear<Layer>) {
      if (format == WeightFormat::full) return;
      for (const auto& [full, dtype, shape] :
           compact_tensors(fmt::format("{}{}", prefix, name), format, layer.outputs(), layer.inputs()))
        if (const TensorView* const found = find(full, shape); found && found->dtype != dtype)
          problems.push_back(
              fmt::format("{}: expected dtype {}, found {}", full, dtype_info(dtype).name, dtype_info(found->dtype).name));
    }
  }
  /// The tensor, if it is there and has the shape.
  const TensorView* find(const std::string& full, const std::vector<std::uint64_t>& shape) {
    expected.insert(full);
    const TensorView* const found = file.find(full);
    if (!found) {
      problems.push_back(fmt::format("missing {} of shape {}", full, shape_text(shape)));
    } else if (found->shape != shape) {
      problems.push_back(fmt::format("{}: expected shape {}, found {}", full, shape_text(shape), shape_text(found->shape)));
      return nullptr;
    }
    return found;
  }
};

struct ParameterReader {
  const TensorFile& file;
  const std::string& prefix;
  WeightFormat format;

  template <class Tensor>
  void operator()(std::string_view name, Tensor& tensor) {
    const TensorView& found = file.get(fmt::format("{}{}", prefix, name));
    for (Index i = 0; i < tensor.rows(); ++i)
      for (Index j = 0; j < tensor.cols(); ++j)
        tensor(i, j) = static_cast<typename Tensor::Scalar>(found.number(static_cast<std::uint64_t>(i * tensor.cols() + j)));
  }
  /// Before its tensors are visited, of which the matrix is none then.
  template <class Layer>
  void enter(std::string_view name, Layer& layer) {
    if constexpr (is_linear<Layer>) {
      if (format == WeightFormat::full) return;
      layer.compact = read_compact(file, fmt::format("{}{}", prefix, name), format, layer.outputs(), layer.inputs());
      layer.weight.resize(0, 0);
    }
  }
};

}  // namespace detail

/// Adds every parameter of a layer under prefix + name.
template <class Layer>
void add_parameters(TensorWriter& writer, const std::string& prefix, const Layer& layer) {
  detail::ParameterWriter visitor{writer, prefix};
  visit(visitor, layer);
}

/// Fills every parameter of a layer from the tensor prefix + name. Throws std::runtime_error that lists every missing or
/// misshapen tensor, and every tensor with the prefix that the layer does not have; the layer is then untouched. Names that
/// begin with "fbt." are not those of parameters. From compact weights, that of its Linear layers, which are full, become
/// compact.
template <class Layer>
void read_parameters(const TensorFile& file, const std::string& prefix, Layer& layer) {
  const WeightFormat format = stored_weights(file);
  detail::ParameterChecker checker{file, prefix, format};
  visit(checker, std::as_const(layer));
  auto& problems = checker.problems;
  for (const TensorView& tensor : file.tensors())
    if (tensor.name.starts_with(prefix) && !tensor.name.starts_with("fbt.") && !checker.expected.contains(tensor.name))
      problems.push_back(fmt::format("unexpected {} of shape {}", tensor.name, shape_text(tensor.shape)));
  ensure(problems.empty(), "{}: the tensors do not fit the model:\n  {}", file.name(), fmt::join(problems, "\n  "));
  detail::ParameterReader reader{file, prefix, format};
  visit(reader, layer);
}

/// Whether a model's file gets a probe: a few tokens, and the logits that the model gave for them. load_model() runs them
/// again and so notices weights that were damaged, and a machine, compiler or library that computes something else.
enum class Probe { none, store };

namespace detail {

constexpr Index probe_steps = 8;

/// Whether models of this class read a source beside their tokens (EncoderDecoder).
template <class Model>
constexpr bool reads_source = requires(const typename Model::Values& values) {
  values.source;
};
template <class Model>
constexpr bool reads_tokens = reads_source<Model> || std::is_same_v<typename Model::Values, Tokens>;

/// Whether there is a probe for models of this class: those that read tokens or vectors.
template <class Model>
constexpr bool has_probe = reads_tokens<Model> || std::is_same_v<typename Model::Values, In<typename Model::Scalar>>;

/// What reads the tokens or vectors.
template <class Model>
const auto& probed_part(const Model& model) {
  if constexpr (reads_source<Model>) {
    return model.decoder;
  } else {
    return model;
  }
}

/// Whether running the probe takes room in proportion to the parameters; a decoder without its encoder has none.
template <class Model>
bool can_probe(const Model& model) {
  const auto& config = probed_part(model).config();
  if constexpr (requires { config.cross_attention; })
    if (config.cross_attention != reads_source<Model>) return false;
  return config.attention_numbers(probe_steps) <= 4 * config.parameters() + 65536;
}

/// What a probe reads: tokens from all over the vocabulary, or vectors of numbers between -1 and 1.
inline std::vector<Token> probe_tokens(Index vocabulary) {
  std::vector<Token> tokens;
  for (Index t = 0; t < probe_steps; ++t) tokens.push_back(static_cast<Token>(t * vocabulary / probe_steps));
  return tokens;
}
template <class Model>
auto probe_values(const Model& model) {
  if constexpr (reads_tokens<Model>) {
    return probe_tokens(probed_part(model).config().vocabulary);
  } else {
    Matrix<typename Model::Scalar> vectors(model.config().inputs, probe_steps);
    for (Index i = 0; i < vectors.size(); ++i)
      vectors(i % vectors.rows(), i / vectors.rows()) =
          static_cast<typename Model::Scalar>(static_cast<double>(i * 5 % 9 - 4) / 4);
    return vectors;
  }
}

/// The outputs (rows, T) of one lane; a source is always the same.
template <class Model, class Values>
Matrix<typename Model::Scalar> probe_outputs(const Model& model, const Values& values, Index steps) {
  auto memory = model.make_memory(1);
  typename Model::Trace trace;
  const Segment segment{steps, 1, false, 0};
  if constexpr (reads_source<Model>) {
    const std::vector<Token> source = probe_tokens(model.config().source_tokens());
    const std::vector<Index> lengths{probe_steps};
    return model.forward({{source, lengths}, values}, segment, memory, trace);
  } else {
    return model.forward(values, segment, memory, trace);
  }
}

template <class Model>
void add_probe(TensorWriter& writer, const Model& model) {
  if (!can_probe(model)) return;
  const auto values = probe_values(model);
  const auto outputs = probe_outputs(model, values, probe_steps);
  const auto finite = outputs.unaryExpr([](typename Model::Scalar y) { return is_finite(static_cast<double>(y)); });
  if (!finite.all()) return;  // nothing to compare with
  if constexpr (reads_tokens<Model>) {
    writer.add("fbt.probe.tokens", values);
  } else {
    writer.add("fbt.probe.vectors", values.transpose());
  }
  writer.add("fbt.probe.logits", outputs.transpose());
}

/// The tokens of a probe. Throws std::runtime_error for any that are not in the vocabulary.
inline std::vector<Token> read_probe_tokens(const TensorFile& file, const TensorView& stored, Index vocabulary) {
  ensure(stored.dtype == Dtype::i32, "{}: the probe: expected tokens of dtype I32, found {}", file.name(),
         dtype_info(stored.dtype).name);
  std::vector<Token> tokens;
  for (std::uint64_t t = 0; t < stored.size(); ++t) {
    tokens.push_back(stored.at<Token>(t));
    ensure(tokens.back() >= 0 && tokens.back() < vocabulary, "{}: the probe: expected tokens below {}, found {}",
           file.name(), vocabulary, tokens.back());
  }
  return tokens;
}

/// The vectors (inputs, T) of a probe.
template <class Scalar>
Matrix<Scalar> read_probe_vectors(const TensorFile& file, const TensorView& stored, Index inputs) {
  ensure(stored.shape.size() == 2 && stored.shape[1] == static_cast<std::uint64_t>(inputs) &&
             dtype_info(stored.dtype).parameters,
         "{}: the probe: expected vectors of {} numbers, found shape {} of dtype {}", file.name(), inputs,
         shape_text(stored.shape), dtype_info(stored.dtype).name);
  Matrix<Scalar> vectors(inputs, static_cast<Index>(stored.shape[0]));
  for (Index i = 0; i < vectors.size(); ++i)
    vectors(i % inputs, i / inputs) = static_cast<Scalar>(stored.number(static_cast<std::uint64_t>(i)));
  return vectors;
}

template <class Model>
void check_probe(const TensorFile& file, const Model& model) {
  constexpr bool tokens = reads_tokens<Model>;
  const TensorView* const stored = file.find(tokens ? "fbt.probe.tokens" : "fbt.probe.vectors");
  if (!stored) return;
  const TensorView& expected = file.get("fbt.probe.logits");
  const auto& part = probed_part(model);
  const Index rows = part.head.outputs();
  const std::uint64_t steps = stored->shape.empty() ? 0 : stored->shape[0];
  ensure(stored->shape.size() == (tokens ? 1 : 2) && steps >= 1 && steps <= probe_steps &&
             expected.shape == std::vector<std::uint64_t>{steps, static_cast<std::uint64_t>(rows)} && can_probe(model),
         "{}: the probe: expected up to {} {} and their logits, found shapes {} and {}", file.name(), probe_steps,
         tokens ? "tokens of dtype I32" : "vectors", shape_text(stored->shape), shape_text(expected.shape));
  const auto logits = [&] {
    const auto count = static_cast<Index>(steps);
    if constexpr (tokens) {
      return probe_outputs(model, read_probe_tokens(file, *stored, part.config().vocabulary), count);
    } else {
      using Scalar = typename Model::Scalar;
      return probe_outputs(model, read_probe_vectors<Scalar>(file, *stored, part.config().inputs), count);
    }
  }();
  double largest = 0, difference = 0;
  for (std::uint64_t i = 0; i < expected.size(); ++i) {
    const double wanted = expected.number(i);
    ensure(is_finite(wanted), "{}: the probe: expected finite logits, found {}", file.name(), wanted);
    const auto found = static_cast<double>(logits(static_cast<Index>(i) % rows, static_cast<Index>(i) / rows));
    largest = std::max(largest, std::abs(wanted));
    difference = is_nan(found) ? std::numeric_limits<double>::infinity() : std::max(difference, std::abs(found - wanted));
  }
  // Other compilers, vectors and scalar types round differently, by about 1e-6 of the largest logit in float, and the
  // feedback may enlarge that; a wrong number anywhere in the arithmetic is far above a thousandth.
  constexpr double tolerance = 1e-3;
  ensure(difference <= tolerance * largest,
         "{}: the model does not give the logits that were stored with it: expected them to {:g} of the largest, {:.4g}, "
         "found a difference of {:.4g}. The weights are damaged, or this program computes something else than the one that "
         "wrote the file. If they were changed on purpose, remove the tensors whose names begin with fbt.probe",
         file.name(), tolerance, largest, difference);
}

}  // namespace detail

/// Writes a model file; extra goes into its __metadata__, apart from keys of fbt itself ("fbt."), which may be those of
/// another file. A model whose logits are not finite, or whose zero slots far outnumber its parameters, gets no probe, nor
/// does a decoder without its encoder. Throws std::runtime_error when the file cannot be written, and std::invalid_argument
/// when extra is not UTF-8; an old file is then left as it was.
template <class Model>
void save_model(const std::filesystem::path& path, const Model& model, const Metadata& extra = {},
                Probe probe = Probe::none) {
  TensorWriter writer;
  writer.metadata = detail::without_own(extra);
  writer.metadata[Model::config_key] = write_config(model.config());
  if (const WeightFormat weights = weights_of(model); weights != WeightFormat::full)
    writer.metadata[weights_key] = std::string(name_of(weights));
  add_parameters(writer, "", model);
  if constexpr (detail::has_probe<Model>)
    if (probe == Probe::store) detail::add_probe(writer, model);
  writer.write(path);
}

template <class Model>
struct LoadedModel {
  Model model;
  Metadata metadata;
};

namespace detail {

/// The model of a config in a file, whose tensors have names that begin with the prefix.
template <class Model>
LoadedModel<Model> load_parameters(const TensorFile& file, const std::string& stored_config, const std::string& prefix) {
  using AnyConfig = std::remove_cvref_t<decltype(std::declval<Model>().config())>;
  const auto config = read_config<AnyConfig>(stored_config, file.name());
  std::uint64_t elements = 0;
  for (const TensorView& tensor : file.tensors()) elements += tensor.size();
  // so that nothing is allocated that is much larger than the file
  ensure(config.parameters() <= 4 * static_cast<double>(elements) + 65536,
         "{}: expected {} parameters by its config, found {}", file.name(), config.parameters(), elements);
  const auto tensors = static_cast<Index>(file.tensors().size());
  ensure(config.depth() <= tensors / 4 + 64, "{}: expected {} layers by its config, found only {} tensors", file.name(),
         config.depth(), tensors);
  const WeightFormat weights = stored_weights(file);
  ensure((weights == WeightFormat::full || std::is_same_v<typename Model::Scalar, float>),
         "{}: expected a model of full weights, since it is to be one of double, found weights of {}", file.name(),
         name_of(weights));
  Random random = Random::idle();  // all is read
  try {
    LoadedModel<Model> result{Model(config, random), file.metadata()};
    read_parameters(file, prefix, result.model);
    return result;
  } catch (const std::invalid_argument& error) {  // a model of another kind, for which the config is one
    throw std::runtime_error(fmt::format("{}: {}", file.name(), error.what()));
  }
}

}  // namespace detail

/// The model in a file that save_model() wrote, for either scalar type: load_model<FeedbackTransformer<float>>(file), say.
/// Throws std::runtime_error that says what is wrong, also when the file has a probe and the model does not give its logits.
template <class Model>
LoadedModel<Model> load_model(const TensorFile& file) {
  const auto found = file.metadata().find(Model::config_key);
  ensure(found != file.metadata().end(), "{}: expected a model written by fbt, found no {} in its __metadata__", file.name(),
         Model::config_key);
  auto result = detail::load_parameters<Model>(file, found->second, "");
  if constexpr (detail::has_probe<Model>) detail::check_probe(file, result.model);
  return result;
}
template <class Model>
LoadedModel<Model> load_model(const std::filesystem::path& path) {
  return load_model<Model>(TensorFile::read(path));
}

}  // namespace fbt
