// Checkpoints of the public PyTorch implementations, both ways:
//   official    facebookresearch/transformer-sequential, feedback transformer
//   labml       labml_nn.transformers.feedback, FeedbackTransformer and FeedbackTransformerKV
//   lucidrains  lucidrains/feedback-transformer-pytorch
// Everything is told from the names and shapes in the file, except lucidrains' memory length.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/random.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/io/model_file.hpp"
#include "fbt/io/pytorch/labml.hpp"
#include "fbt/io/pytorch/layout.hpp"
#include "fbt/io/pytorch/lucidrains.hpp"
#include "fbt/io/pytorch/official.hpp"
#include "fbt/io/safetensors.hpp"
#include "fbt/models/sequence_model.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fbt {

/// Throws std::runtime_error when the file is of no known layout.
inline Layout recognise_layout(const TensorFile& file) {
  const auto has = [&](const char* name) { return file.find(name) || file.metadata().contains(name); };
  const auto has_any = [&](const auto& names) { return std::any_of(names.begin(), names.end(), has); };
  if (has("fbt.config")) return Layout::fbt;
  if (has_any(OfficialLayout::marks)) return Layout::official;
  if (has_any(LabmlLayout::marks)) return Layout::labml;
  if (has_any(LucidrainsLayout::marks)) return Layout::lucidrains;
  throw std::runtime_error(fmt::format(
      "{}: expected a model of fbt (fbt.config in __metadata__), of the official implementation (in_emb.weight), of labml "
      "(src_embed.weight) or of lucidrains (token_emb.weight), found {}; if every name has a prefix that none of these has "
      "(module. of a wrapped model, say), save the model without it",
      file.name(), file.tensors().empty() ? "no tensors" : "tensors such as " + file.tensors().front().name));
}

namespace detail {

/// Calls f with the class of a foreign layout.
template <class F>
auto with_layout(Layout layout, F&& f) {
  switch (layout) {
    case Layout::official: return f(OfficialLayout{});
    case Layout::labml: return f(LabmlLayout{});
    default: return f(LucidrainsLayout{});
  }
}

/// window: what the caller expects, or 0.
inline Config foreign_config(const TensorFile& file, Layout layout, Index window, LayoutDetails& details) {
  const Config c = with_layout(layout, [&](auto known) { return known.config(ForeignFile(file), window, details); });
  check(window == 0 || window == c.window, "{}: expected window {}, as the file's position tables have it, found {}",
        file.name(), c.window, window);
  c.validate();
  return c;
}

}  // namespace detail

/// All tensors of a layout, for a model of the right config.
template <class Scalar>
std::vector<ForeignTensor<Scalar>> foreign_tensors(Layout layout, FeedbackTransformer<Scalar>& model,
                                                   const LayoutDetails& details = {}) {
  if (layout != Layout::fbt) return detail::with_layout(layout, [&](auto known) { return known.tensors(model, details); });
  ForeignTensors<Scalar> own;
  visit([&](std::string_view name, auto& tensor) { own.add({std::string(name)}, tensor); }, model);
  return own.tensors;
}

template <class Scalar>
struct ImportedModel {
  FeedbackTransformer<Scalar> model;
  Metadata metadata;
  Layout layout = Layout::fbt;
  LayoutDetails details;
  std::vector<std::string> warnings;  ///< what the model does not reproduce, for the user to read
};

/// The model in a file of any known layout. window: lucidrains' memory length, or 0 for what the file says. Throws
/// std::runtime_error or std::invalid_argument that says what is wrong with the file, all tensors that do not fit in one
/// message.
template <class Scalar>
ImportedModel<Scalar> import_model(const TensorFile& file, Index window = 0) {
  const Layout layout = recognise_layout(file);
  if (layout == Layout::fbt) {
    auto loaded = load_model<FeedbackTransformer<Scalar>>(file);
    check(window == 0 || window == loaded.model.config().window,
          "{}: expected window {}, as the file's config has it, found {}", file.name(), loaded.model.config().window,
          window);
    return {std::move(loaded.model), std::move(loaded.metadata), layout, {}, {}};
  }
  LayoutDetails details;
  const Config config = detail::foreign_config(file, layout, window, details);
  const auto count = static_cast<Index>(file.tensors().size());
  ensure(config.layers <= count / 4, "{}: expected at least 4 tensors for each of its {} layers, found {}", file.name(),
         config.layers, count);
  double elements = 0;
  for (const TensorView& tensor : file.tensors()) elements += static_cast<double>(tensor.size());
  // so that nothing is allocated that is much larger than the file; tensors that are missing are listed below
  ensure(config.parameters() <= 4 * elements + 65536, "{}: expected {} parameters by its shapes, found {}", file.name(),
         config.parameters(), elements);
  Random random(0);
  ImportedModel<Scalar> result{FeedbackTransformer<Scalar>(config, random), file.metadata(), layout, details, {}};
  const auto tensors = foreign_tensors(layout, result.model, details);
  check_foreign_tensors(file, tensors);
  std::map<const TensorView*, std::string> users;
  for (const ForeignTensor<Scalar>& tensor : tensors) {
    if (!tensor.at) continue;
    const TensorView* found = nullptr;
    for (const std::string& name : tensor.names)
      if (!found) found = ForeignFile(file).find(name);
    if (const auto [user, first] = users.emplace(found, tensor.names.front()); !first)
      result.warnings.push_back(fmt::format("{} and {} are one tensor in the file and two here: training moves them apart",
                                            user->second, tensor.names.front()));
    for (std::uint64_t i = 0; i < tensor.size(); ++i) tensor.at(i) = static_cast<Scalar>(found->number(i));
  }
  if (layout == Layout::lucidrains && details.attention == LucidrainsLayout::segments)
    result.warnings.push_back(
        "the file was saved from a model with seq_len > 1: its attention among the tokens of one segment, and its position "
        "bias, are not reproduced");
  return result;
}
template <class Scalar>
ImportedModel<Scalar> import_model(const std::filesystem::path& path, Index window = 0) {
  return import_model<Scalar>(TensorFile::read(path), window);
}

/// Throws std::invalid_argument when models of the config have no place in the layout.
inline void check_layout(const Config& c, Layout layout) {
  if (layout == Layout::fbt) return;
  check(c.inputs == 0 && c.output_rows() == c.vocabulary,
        "export: a file of {} holds models whose outputs are their vocabulary of {}, found {} outputs", name_of(layout),
        c.vocabulary, c.output_rows());
  detail::with_layout(layout, [&](auto known) { known.visit_fixed(ExpectedField{layout}, c); });
}

/// Makes a config that of models which can be exported to the layout, and which its Python class takes.
inline void set_layout(Config& c, Layout layout) {
  if (layout == Layout::fbt) return;
  detail::with_layout(layout, [&](auto known) {
    known.visit_fixed([](const char*, auto& field, const auto& value) { field = value; }, c);
    known.set_sizes(c);
  });
}

/// Writes a model in a foreign layout, as PyTorch's save_model would: names that share storage once, the others in
/// __metadata__. The model must have a config of that layout. Throws std::invalid_argument when it has not,
/// std::runtime_error when the file cannot be written.
template <class Scalar>
void export_model(const std::filesystem::path& path, const FeedbackTransformer<Scalar>& model, Layout layout,
                  const LayoutDetails& details = {}) {
  if (layout == Layout::fbt) return save_model(path, model);
  check_layout(model.config(), layout);
  const WeightFormat weights = weights_of(model);
  check(weights == WeightFormat::full, "export: expected a model of full weights, found weights of {}", name_of(weights));
  FeedbackTransformer<Scalar> copy = model;
  TensorWriter writer;
  writer.metadata["format"] = "pt";
  for (const ForeignTensor<Scalar>& tensor : foreign_tensors(layout, copy, details)) {
    std::vector<Scalar> values(static_cast<std::size_t>(tensor.size()), Scalar(0));
    if (tensor.at)
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = tensor.at(i);
    writer.add(tensor.names.front(), dtype_of<Scalar>(), tensor.shape,
               {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Scalar)});
    for (std::size_t i = 1; i < tensor.names.size(); ++i) writer.metadata[tensor.names[i]] = tensor.names.front();
  }
  writer.write(path);
}

}  // namespace fbt
