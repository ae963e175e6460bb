// Checkpoints of the public PyTorch implementations, both ways:
//   official    facebookresearch/transformer-sequential, feedback transformer
//   labml       labml_nn.transformers.feedback, FeedbackTransformer and FeedbackTransformerKV
//   lucidrains  lucidrains/feedback-transformer-pytorch
// Everything is told from the names and shapes in the file, except lucidrains' memory length. PyTorch saves tensors that share
// storage once; __metadata__ maps each dropped name to the kept one. Files that hold the copies as well are read too.
//
// The one description of a layout is foreign_tensors(): it pairs every tensor of the file with coefficients of the model, and
// serves import, export, and the comparison of gradients.
#pragma once

#include "fbt/io/model_file.hpp"
#include "fbt/models/feedback_transformer.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace fbt {

enum class Layout { fbt, official, labml, lucidrains };

template <>
struct Names<Layout> {
  static constexpr std::array<std::pair<std::string_view, Layout>, 4> list{
      {{"fbt", Layout::fbt}, {"official", Layout::official}, {"labml", Layout::labml}, {"lucidrains", Layout::lucidrains}}};
};

/// Throws std::runtime_error when the file is of no known layout.
inline Layout recognise_layout(const TensorFile& file) {
  const auto has = [&](const char* name) { return file.find(name) || file.metadata().contains(name); };
  if (has("fbt.config")) return Layout::fbt;
  if (has("in_emb.weight") || has("single_memory_attn_params")) return Layout::official;
  if (has("src_embed.weight") || has("transformer.weights")) return Layout::labml;
  if (has("token_emb.weight") || has("layer_weight")) return Layout::lucidrains;
  throw std::runtime_error(fmt::format(
      "{}: expected a model of fbt (fbt.config in __metadata__), of the official implementation (in_emb.weight), of labml "
      "(src_embed.weight) or of lucidrains (token_emb.weight), found {}; if every name has a prefix that none of these has "
      "(module. of a wrapped model, say), save the model without it",
      file.name(), file.tensors().empty() ? "no tensors" : "tensors such as " + file.tensors().front().name));
}

/// A tensor of a foreign file and the coefficients of a model (or a twin) that it holds.
template <class Scalar>
struct ForeignTensor {
  std::vector<std::string> names;  ///< the name it is written under, then those that share its storage
  std::vector<std::uint64_t> shape;
  std::function<Scalar&(std::uint64_t)> at;  ///< coefficient i in row-major order; null for what the model does not have

  std::uint64_t size() const {
    std::uint64_t n = 1;
    for (const auto s : shape) n *= s;
    return n;
  }
};

/// What a layout leaves open beside the config.
struct LayoutDetails {
  std::string attention = ".0.fn.fn";  ///< lucidrains: where attention's norm lives; seq_len > 1 has one .fn less
};

/// All tensors of a layout, for a model of the right config.
template <class Scalar>
std::vector<ForeignTensor<Scalar>> foreign_tensors(Layout layout, FeedbackTransformer<Scalar>& model,
                                                   const LayoutDetails& details = {}) {
  const Config& c = model.config();
  const auto L = static_cast<std::size_t>(c.layers);
  std::vector<ForeignTensor<Scalar>> list;
  const auto size = [](Index n) { return static_cast<std::uint64_t>(n); };

  using Names = std::vector<std::string>;
  const auto add = [&](Names names, auto& tensor) {  // a matrix (rows, columns) or a vector (n) as it is
    const Index columns = tensor.cols();
    list.push_back({std::move(names), shape_of(tensor), [&tensor, columns](std::uint64_t i) -> Scalar& {
                      return tensor(static_cast<Index>(i) / columns, static_cast<Index>(i) % columns);
                    }});
  };
  const auto add_linear = [&](const std::string& name, Linear<Scalar>& linear) {
    add({name + ".weight"}, linear.weight);
    if (linear.bias.size() > 0) add({name + ".bias"}, linear.bias);
  };
  const auto add_norm = [&](const std::string& name, LayerNorm<Scalar>& norm) {
    add({name + ".weight"}, norm.weight);
    add({name + ".bias"}, norm.bias);
  };
  const auto layer = [](const std::string& prefix, std::size_t l, const std::string& suffix) {
    return fmt::format("{}{}{}", prefix, l, suffix);
  };
  // the same tensor in every layer
  const auto each_layer = [&](const std::string& prefix, const std::string& suffix) {
    Names names;
    for (std::size_t l = 0; l < L; ++l) names.push_back(layer(prefix, l, suffix));
    return names;
  };
  const auto reshaped = [&](Names names, std::vector<std::uint64_t> shape, std::function<Scalar&(std::uint64_t)> at) {
    list.push_back({std::move(names), std::move(shape), std::move(at)});
  };

  if (layout == Layout::official) {
    add({"in_emb.weight"}, model.embedding.weight);
    Matrix<Scalar>& table = model.positions[0].weight;  // (S, e), as (1, e, S)
    reshaped(each_layer("layers.", ".attn.attn.key_pe"), {1, size(table.cols()), size(table.rows())},
             [&table](std::uint64_t i) -> Scalar& {
               return table(static_cast<Index>(i) % table.rows(), static_cast<Index>(i) / table.rows());
             });
    for (std::size_t i = 0; i < model.key_values.size(); ++i) {
      KeyValue<Scalar>& kv = model.key_values[i];
      const auto names = [&](const std::string& suffix) {
        return c.share_key_value ? each_layer("layers.", suffix) : Names{layer("layers.", i, suffix)};
      };
      add(names(".attn.proj_key.weight"), kv.key.weight);
      add(names(".attn.proj_val.weight"), kv.value.weight);
      if (kv.norm) {
        add(names(".norm1.weight"), kv.norm->weight);
        add(names(".norm1.bias"), kv.norm->bias);
      }
    }
    for (std::size_t l = 0; l < L; ++l) {
      Block<Scalar>& block = model.blocks[l];
      add_linear(layer("layers.", l, ".attn.proj_query"), block.attention.query);
      add_linear(layer("layers.", l, ".attn.proj_out"), block.attention.output);
      add_linear(layer("layers.", l, ".ff.fc1"), block.feed_forward.first);
      add_linear(layer("layers.", l, ".ff.fc2"), block.feed_forward.second);
      if (block.norm1.weight.size() > 0) add_norm(layer("layers.", l, ".norm1"), block.norm1);
      add_norm(layer("layers.", l, ".norm2"), block.norm2);
    }
    if (c.pre_norm) add_norm("out_norm", model.norm_out);
    add_linear("out.out_emb", model.head);
    Vector<Scalar>& mix = model.mix.weight;
    reshaped({"single_memory_attn_params"}, {1, size(mix.size())},
             [&mix](std::uint64_t i) -> Scalar& { return mix(static_cast<Index>(i)); });
    reshaped({"single_memory_attn_buf"}, {1, size(mix.size())}, nullptr);  // the implementation logs into it
  } else if (layout == Layout::labml) {
    add({"src_embed.weight"}, model.embedding.weight);
    for (std::size_t l = 0; l < L; ++l) {
      Block<Scalar>& block = model.blocks[l];
      Position<Scalar>& position = model.positions[l];
      const std::string prefix = layer("transformer.layers.", l, ".");
      add_linear(prefix + "attn.query.linear", block.attention.query);
      add_linear(prefix + "attn.output", block.attention.output);
      const Index S = c.window, H = c.heads, e = c.head_columns();
      reshaped({prefix + "attn.key_pos_embeddings"}, {size(S), size(H), size(e)},
               [&position, H, e](std::uint64_t i) -> Scalar& {
                 return position.weight(static_cast<Index>(i) / (H * e), static_cast<Index>(i) % (H * e));
               });
      reshaped({prefix + "attn.key_pos_bias"}, {size(S), size(H)}, [&position, S, H](std::uint64_t i) -> Scalar& {
        return position.bias(static_cast<Index>(i) % H * S + static_cast<Index>(i) / H);
      });
      reshaped({prefix + "attn.query_pos_bias"}, {size(H), size(e)},
               [&position](std::uint64_t i) -> Scalar& { return position.query_bias(static_cast<Index>(i)); });
      add_linear(prefix + "feed_forward.layer1", block.feed_forward.first);
      add_linear(prefix + "feed_forward.layer2", block.feed_forward.second);
      add_norm(prefix + "norm_self_attn", block.norm1);
      add_norm(prefix + "norm_ff", block.norm2);
    }
    for (std::size_t i = 0; i < model.key_values.size(); ++i) {
      const std::string prefix = c.share_key_value ? "transformer." : layer("transformer.layers.", i, ".attn.");
      add_linear(prefix + "key.linear", model.key_values[i].key);
      add_linear(prefix + "value.linear", model.key_values[i].value);
    }
    add_norm("transformer.norm", model.norm_out);
    add({"transformer.weights"}, model.mix.weight);
    add_linear("generator", model.head);
  } else if (layout == Layout::lucidrains) {
    add({"token_emb.weight"}, model.embedding.weight);
    reshaped({"pos_emb.relative_attention_bias.weight"}, {32, size(c.heads)},
             nullptr);  // the same for every slot: no effect
    Names names = each_layer("layers.", details.attention + ".fn.to_kv.weight");
    names.push_back("shared_kv_proj.weight");
    KeyValue<Scalar>& kv = model.key_values[0];
    const Index half = kv.key.weight.size(), d = c.width;
    reshaped(std::move(names), {size(2 * kv.key.outputs()), size(d)}, [&kv, half, d](std::uint64_t i) -> Scalar& {
      const Index k = static_cast<Index>(i) % half;
      return (static_cast<Index>(i) < half ? kv.key : kv.value).weight(k / d, k % d);
    });
    for (std::size_t l = 0; l < L; ++l) {
      Block<Scalar>& block = model.blocks[l];
      const std::string attention = layer("layers.", l, details.attention), rest = layer("layers.", l, ".1.fn");
      add_norm(attention + ".norm", block.norm1);
      add_linear(attention + ".fn.to_q", block.attention.query);
      add_linear(attention + ".fn.to_out", block.attention.output);
      add_norm(rest + ".norm", block.norm2);
      add_linear(rest + ".fn.net.0", block.feed_forward.first);
      add_linear(rest + ".fn.net.3", block.feed_forward.second);
    }
    add({"layer_weight"}, model.mix.weight);
    add_norm("to_logits.0", model.norm_out);
    add_linear("to_logits.1", model.head);
  } else {
    visit([&](std::string_view name, auto& tensor) { add({std::string(name)}, tensor); }, model);
  }
  return list;
}

template <class Scalar>
struct ImportedModel {
  FeedbackTransformer<Scalar> model;
  Metadata metadata;
  Layout layout = Layout::fbt;
  LayoutDetails details;
  std::vector<std::string> warnings;  ///< what the model does not reproduce, for the user to read
};

namespace detail {

/// Reads shapes and follows aliases.
class ForeignFile {
 public:
  explicit ForeignFile(const TensorFile& file) : file_(file) {}

  /// The tensor of the name, or of the name that __metadata__ says was kept for it; null when there is none.
  const TensorView* find(const std::string& name) const {
    if (const TensorView* found = file_.find(name)) return found;
    const auto alias = file_.metadata().find(name);
    return alias == file_.metadata().end() ? nullptr : file_.find(alias->second);
  }
  bool has(const std::string& name) const { return find(name) != nullptr; }

  /// A dimension of a tensor.
  struct Place {
    std::string name;
    std::size_t rank, dimension;
  };
  /// What most of the places say, the first of them when none has a majority: so a tensor that is missing or has a wrong shape
  /// is found when all are compared with the model, instead of giving the model a wrong shape.
  Index size(const std::vector<Place>& places) const {
    std::vector<std::uint64_t> sizes;
    for (const Place& place : places)
      if (const TensorView* found = find(place.name); found && found->shape.size() == place.rank)
        sizes.push_back(found->shape[place.dimension]);
    ensure(!sizes.empty(), "{}: {}: expected a tensor of {} dimensions, found none", file_.name(), places.front().name,
           places.front().rank);
    const std::uint64_t most = *std::max_element(sizes.begin(), sizes.end(), [&](std::uint64_t a, std::uint64_t b) {
      return std::count(sizes.begin(), sizes.end(), a) < std::count(sizes.begin(), sizes.end(), b);
    });
    ensure(most >= 1 && most <= static_cast<std::uint64_t>(largest_dimension),
           "{}: {}: expected dimensions from 1 to {}, found {}", file_.name(), places.front().name, largest_dimension, most);
    return static_cast<Index>(most);
  }
  /// Whether there is prefix + n + suffix for any of so many layers.
  bool in_any_layer(Index layers, const std::string& prefix, const std::string& suffix) const {
    for (Index n = 0; n < layers; ++n)
      if (has(fmt::format("{}{}{}", prefix, n, suffix))) return true;
    return false;
  }
  /// The number of layers: one more than the largest n for which there is prefix + n + one of the suffixes.
  Index layers(const std::string& prefix, const std::vector<std::string>& suffixes) const {
    Index layers = 0;
    for (Index n = 0; n < static_cast<Index>(file_.tensors().size()); ++n)
      for (const std::string& suffix : suffixes)
        if (has(fmt::format("{}{}{}", prefix, n, suffix))) layers = n + 1;
    return layers;
  }
  /// Rows of projections over heads of one size, or over the size of each head.
  Index divide(Index rows, Index divisor, const char* what) const {
    ensure(rows % divisor == 0, "{}: expected projections to a multiple of the {} {}, found {} rows", file_.name(), what,
           divisor, rows);
    return rows / divisor;
  }
  enum class Twins { missing, same, different };
  /// Whether two names stand for one tensor: kept once, or in equal copies.
  Twins twins(const std::string& a, const std::string& b) const {
    const TensorView* const x = find(a);
    const TensorView* const y = find(b);
    if (!x || !y) return Twins::missing;
    return x == y || equal(*x, *y) ? Twins::same : Twins::different;
  }
  static bool equal(const TensorView& a, const TensorView& b) {
    return a.dtype == b.dtype && a.shape == b.shape && a.bytes == b.bytes;
  }

 private:
  const TensorFile& file_;
};

inline Config foreign_config(const TensorFile& file, Layout layout, Index window, LayoutDetails& details) {
  const ForeignFile shapes(file);
  Config c;
  c.memory_norm = MemoryNorm::none;
  if (layout == Layout::official) {
    const std::string first = "layers.0.";
    c.vocabulary = shapes.size({{"in_emb.weight", 2, 0}, {"out.out_emb.weight", 2, 0}, {"out.out_emb.bias", 1, 0}});
    c.width = shapes.size({{"in_emb.weight", 2, 1}, {"out.out_emb.weight", 2, 1}, {first + "norm2.weight", 1, 0}});
    c.layers = shapes.layers("layers.", {".attn.proj_query.weight", ".ff.fc1.weight"});
    c.head_size = shapes.size({{first + "attn.attn.key_pe", 3, 1}});
    c.window = shapes.size({{first + "attn.attn.key_pe", 3, 2}});
    c.heads = shapes.divide(shapes.size({{first + "attn.proj_query.weight", 2, 0},
                                         {first + "attn.proj_out.weight", 2, 1},
                                         {first + "attn.proj_key.weight", 2, 0}}),
                            c.head_size, "head size");
    c.feed_forward =
        shapes.size({{first + "ff.fc1.weight", 2, 0}, {first + "ff.fc1.bias", 1, 0}, {first + "ff.fc2.weight", 2, 1}});
    c.pre_norm = shapes.has("out_norm.weight") || shapes.has("out_norm.bias");
    // Shared projections come with a shared norm1. Norms may be equal by chance, as all are before training; projections are not.
    bool differ = false, shared = false;
    for (Index l = 1; l < c.layers; ++l) {
      for (const std::string part : {"attn.proj_key.weight", "attn.proj_val.weight", "norm1.weight", "norm1.bias"}) {
        const bool norm = part.starts_with("norm");
        if (norm && !c.pre_norm) continue;
        const auto twins = shapes.twins(first + part, fmt::format("layers.{}.{}", l, part));
        differ = differ || twins == ForeignFile::Twins::different;
        shared = shared || (!norm && twins == ForeignFile::Twins::same);
      }
    }
    c.share_key_value = shared || !differ;
    c.memory_norm = c.pre_norm ? MemoryNorm::block : MemoryNorm::none;
    c.empty_memory = EmptyMemory::zero_slots;
    c.output_bias = false;
    c.log_probabilities = true;
  } else if (layout == Layout::labml) {
    const std::string first = "transformer.layers.0.", attention = first + "attn.";
    c.vocabulary = shapes.size({{"src_embed.weight", 2, 0}, {"generator.weight", 2, 0}, {"generator.bias", 1, 0}});
    c.width = shapes.size({{"src_embed.weight", 2, 1}, {"generator.weight", 2, 1}, {"transformer.norm.weight", 1, 0}});
    c.layers = shapes.layers("transformer.layers.", {".attn.query.linear.weight", ".feed_forward.layer1.weight"});
    c.window = shapes.size({{attention + "key_pos_embeddings", 3, 0}, {attention + "key_pos_bias", 2, 0}});
    c.heads = shapes.size({{attention + "key_pos_embeddings", 3, 1},
                           {attention + "key_pos_bias", 2, 1},
                           {attention + "query_pos_bias", 2, 0}});
    c.head_size = shapes.size({{attention + "key_pos_embeddings", 3, 2}, {attention + "query_pos_bias", 2, 1}});
    c.feed_forward = shapes.size({{first + "feed_forward.layer1.weight", 2, 0},
                                  {first + "feed_forward.layer1.bias", 1, 0},
                                  {first + "feed_forward.layer2.weight", 2, 1}});
    c.share_key_value = shapes.has("transformer.key.linear.weight") || shapes.has("transformer.value.linear.weight");
    c.value_bias = c.share_key_value ? shapes.has("transformer.value.linear.bias")
                                     : shapes.in_any_layer(c.layers, "transformer.layers.", ".attn.value.linear.bias");
    c.position = PositionTerm::per_head;
  } else {
    if (shapes.has("layers.0.0.fn.norm.weight") || shapes.has("layers.0.0.fn.fn.to_q.weight")) details.attention = ".0.fn";
    const std::string attention = "layers.0" + details.attention + ".fn.";
    c.vocabulary = shapes.size({{"token_emb.weight", 2, 0}, {"to_logits.1.weight", 2, 0}, {"to_logits.1.bias", 1, 0}});
    c.width = shapes.size({{"token_emb.weight", 2, 1}, {"to_logits.1.weight", 2, 1}, {"to_logits.0.weight", 1, 0}});
    c.layers = shapes.layers("layers.", {details.attention + ".fn.to_q.weight", ".1.fn.fn.net.0.weight"});
    c.heads = shapes.size({{"pos_emb.relative_attention_bias.weight", 2, 1}});
    c.head_size = shapes.divide(shapes.size({{attention + "to_q.weight", 2, 0}, {attention + "to_out.weight", 2, 1}}),
                                c.heads, "number of heads");
    c.feed_forward = shapes.size({{"layers.0.1.fn.fn.net.3.weight", 2, 1}, {"layers.1.1.fn.fn.net.3.weight", 2, 1}});
    c.activation = Activation::geglu;
    c.position = PositionTerm::none;
    check(window > 0, "{}: a lucidrains file does not tell its memory length: give it as window (mem_len in Python)",
          file.name());
    c.window = window;
  }
  check(window == 0 || window == c.window, "{}: expected window {}, as the file's position tables have it, found {}",
        file.name(), c.window, window);
  c.validate();
  return c;
}

/// Throws std::runtime_error that lists everything missing, misshapen, contradictory or left over.
template <class Scalar>
void check_foreign_tensors(const TensorFile& file, const std::vector<ForeignTensor<Scalar>>& tensors) {
  const ForeignFile shapes(file);
  std::vector<std::string> problems;
  std::set<std::string, std::less<>> known;
  std::set<std::string> reported;
  const auto compare = [&](const std::string& name, const TensorView& found, const TensorView& kept) {
    if (ForeignFile::equal(found, kept)) return;
    const std::string problem = fmt::format("{}: expected the same values as {}, found others", name, kept.name);
    if (reported.insert(problem).second) problems.push_back(problem);
  };
  for (const ForeignTensor<Scalar>& tensor : tensors) {
    const TensorView* first = nullptr;
    bool present = false;
    for (const std::string& name : tensor.names) {
      known.insert(name);
      const TensorView* const found = shapes.find(name);
      if (!found) continue;
      known.insert(found->name);
      present = true;
      if (found->shape != tensor.shape) {
        problems.push_back(
            fmt::format("{}: expected shape {}, found {}", name, shape_text(tensor.shape), shape_text(found->shape)));
      } else if (tensor.at && !dtype_info(found->dtype).floating) {
        problems.push_back(
            fmt::format("{}: expected floating-point numbers, found dtype {}", name, dtype_info(found->dtype).name));
      } else if (!first) {
        first = found;
      } else {
        compare(name, *found, *first);
      }
    }
    if (!present && tensor.at)
      problems.push_back(fmt::format("missing {} of shape {}", tensor.names.front(), shape_text(tensor.shape)));
  }
  for (const auto& [name, kept_name] : file.metadata())  // a copy of a tensor that was kept under another name
    if (const auto* found = file.find(name), *kept = file.find(kept_name); found && kept) compare(name, *found, *kept);
  for (const TensorView& tensor : file.tensors())
    if (!known.contains(tensor.name))
      problems.push_back(fmt::format("unexpected {} of shape {}", tensor.name, shape_text(tensor.shape)));
  ensure(problems.empty(), "{}: the tensors do not fit the model:\n  {}", file.name(), fmt::join(problems, "\n  "));
}

}  // namespace detail

/// The model in a file of any known layout. window: lucidrains' memory length, or 0 for what the file says. Throws
/// std::runtime_error or std::invalid_argument that says what is wrong with the file, all tensors that do not fit in one message.
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
  detail::check_foreign_tensors(file, tensors);
  std::map<const TensorView*, std::string> users;
  for (const ForeignTensor<Scalar>& tensor : tensors) {
    if (!tensor.at) continue;
    const TensorView* found = nullptr;
    for (const std::string& name : tensor.names)
      if (!found) found = detail::ForeignFile(file).find(name);
    if (const auto [user, first] = users.emplace(found, tensor.names.front()); !first)
      result.warnings.push_back(fmt::format("{} and {} are one tensor in the file and two here: training moves them apart",
                                            user->second, tensor.names.front()));
    for (std::uint64_t i = 0; i < tensor.size(); ++i) tensor.at(i) = static_cast<Scalar>(found->number(i));
  }
  if (layout == Layout::lucidrains && details.attention == ".0.fn")
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
  const auto expect = [&]<class T>(const char* field, const T& found, const T& expected) {
    const auto text = [](const T& value) {
      if constexpr (std::is_enum_v<T>) {
        return name_of(value);
      } else {
        return fmt::format("{}", value);
      }
    };
    check(found == expected, "export: a file of {} holds models with {} {}, found {}", name_of(layout), field,
          text(expected), text(found));
  };
  const bool official = layout == Layout::official, labml = layout == Layout::labml;
  expect("activation", c.activation, official || labml ? Activation::relu : Activation::geglu);
  expect("position", c.position,
         official ? PositionTerm::relative_key
         : labml  ? PositionTerm::per_head
                  : PositionTerm::none);
  expect("empty_memory", c.empty_memory, official ? EmptyMemory::zero_slots : EmptyMemory::skip);
  expect("memory_rule", c.memory_rule, MemoryRule::feedback);
  expect("span_ramp", c.span_ramp, Index{0});
  expect("memory_norm", c.memory_norm, official && c.pre_norm ? MemoryNorm::block : MemoryNorm::none);
  expect("output_bias", c.output_bias, !official);
  expect("log_probabilities", c.log_probabilities, official);
  expect("norm_epsilon", c.norm_epsilon, Config{}.norm_epsilon);
  if (!official) expect("pre_norm", c.pre_norm, true);
  if (!labml) expect("value_bias", c.value_bias, false);
  if (layout == Layout::lucidrains) expect("share_key_value", c.share_key_value, true);
}

/// Writes a model in a foreign layout, as PyTorch's save_model would: names that share storage once, the others in __metadata__.
/// The model must have a config of that layout. Throws std::invalid_argument when it has not, std::runtime_error when the file
/// cannot be written.
template <class Scalar>
void export_model(const std::filesystem::path& path, const FeedbackTransformer<Scalar>& model, Layout layout,
                  const LayoutDetails& details = {}) {
  if (layout == Layout::fbt) return save_model(path, model);
  check_layout(model.config(), layout);
  FeedbackTransformer<Scalar> copy = model;
  TensorWriter writer;
  writer.metadata["format"] = "pt";
  for (const ForeignTensor<Scalar>& tensor : foreign_tensors(layout, copy, details)) {
    std::vector<Scalar> values(tensor.size(), Scalar(0));
    if (tensor.at)
      for (std::uint64_t i = 0; i < tensor.size(); ++i) values[i] = tensor.at(i);
    writer.add(tensor.names.front(), dtype_of<Scalar>(), tensor.shape,
               {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Scalar)});
    for (std::size_t i = 1; i < tensor.names.size(); ++i) writer.metadata[tensor.names[i]] = tensor.names.front();
  }
  writer.write(path);
}

}  // namespace fbt
