// What the layouts of the public PyTorch implementations have in common. Each layout has a header of its own, with a class
// of static members that says all there is to know about it:
//   marks         by which tensors its files are recognised
//   config        the config of the model, told from names and shapes
//   tensors       the one description of a file: pairs every tensor with coefficients of the model. It serves import,
//                 export, and the comparison of gradients
//   visit_fixed   which configs have a place in its files
//   set_sizes     the sizes that the Python class has, whatever its files could hold
// PyTorch saves tensors that share storage once; __metadata__ maps each dropped name to the kept one. Files that hold the
// copies as well are read too.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"
#include "fbt/io/safetensors.hpp"
#include "fbt/models/config.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fbt {

enum class Layout { fbt, official, labml, lucidrains };

template <>
struct Names<Layout> {
  static constexpr std::array<std::pair<std::string_view, Layout>, 4> list{
      {{"fbt", Layout::fbt}, {"official", Layout::official}, {"labml", Layout::labml}, {"lucidrains", Layout::lucidrains}}};
};

/// A tensor of a foreign file and the coefficients of a model, or of its gradient, that it holds.
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

/// Collects the tensors of a layout.
template <class Scalar>
class ForeignTensors {
 public:
  using Names = std::vector<std::string>;
  std::vector<ForeignTensor<Scalar>> tensors;

  /// A matrix (rows, columns) or a vector (n) as it is.
  template <class Tensor>
  void add(Names names, Tensor& tensor) {
    const Index columns = tensor.cols();
    tensors.push_back({std::move(names), shape_of(tensor), [&tensor, columns](std::uint64_t i) -> Scalar& {
                         return tensor(static_cast<Index>(i) / columns, static_cast<Index>(i) % columns);
                       }});
  }
  template <class Linear>
  void add_linear(const std::string& name, Linear& linear) {
    add({name + ".weight"}, linear.weight);
    if (linear.bias.size() > 0) add({name + ".bias"}, linear.bias);
  }
  template <class LayerNorm>
  void add_norm(const std::string& name, LayerNorm& norm) {
    add({name + ".weight"}, norm.weight);
    add({name + ".bias"}, norm.bias);
  }
  /// Coefficients in another shape or order.
  void add_reshaped(Names names, const std::vector<Index>& shape, std::function<Scalar&(std::uint64_t)> at) {
    tensors.push_back({std::move(names), {shape.begin(), shape.end()}, std::move(at)});
  }
};

/// The name that a tensor has in layer l.
inline std::string layer_name(const std::string& prefix, std::size_t l, const std::string& suffix) {
  return fmt::format("{}{}{}", prefix, l, suffix);
}
/// The names of one tensor that is the same in every layer.
inline std::vector<std::string> each_layer(Index layers, const std::string& prefix, const std::string& suffix) {
  std::vector<std::string> names;
  for (Index l = 0; l < layers; ++l) names.push_back(layer_name(prefix, static_cast<std::size_t>(l), suffix));
  return names;
}

/// Reads shapes and follows aliases.
class ForeignFile {
 public:
  explicit ForeignFile(const TensorFile& file) : file_(file) {}

  const std::string& name() const { return file_.name(); }

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
  /// What most of the places say, the first of them when none has a majority: so a tensor that is missing or has a wrong
  /// shape is found when all are compared with the model, instead of giving the model a wrong shape.
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
  enum class Copies { missing, same, different };
  /// Whether two names stand for one tensor: kept once, or in equal copies.
  Copies copies(const std::string& a, const std::string& b) const {
    const TensorView* const x = find(a);
    const TensorView* const y = find(b);
    if (!x || !y) return Copies::missing;
    return x == y || equal(*x, *y) ? Copies::same : Copies::different;
  }
  static bool equal(const TensorView& a, const TensorView& b) {
    return a.dtype == b.dtype && a.shape == b.shape && a.bytes == b.bytes;
  }

 private:
  const TensorFile& file_;
};

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
      } else if (tensor.at && !dtype_info(found->dtype).parameters) {
        problems.push_back(
            fmt::format("{}: expected dtype F16, BF16, F32 or F64, found {}", name, dtype_info(found->dtype).name));
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

/// What the models of a layout have in common: each call throws std::invalid_argument when a field of a config is not as
/// expected.
struct ExpectedField {
  Layout layout;

  template <class T>
  void operator()(const char* field, const T& found, const T& expected) const {
    const auto text = [](const T& value) {
      if constexpr (std::is_enum_v<T>) {
        return name_of(value);
      } else {
        return fmt::format("{}", value);
      }
    };
    check(found == expected, "export: a file of {} holds models with {} {}, found {}", name_of(layout), field,
          text(expected), text(found));
  }
};

}  // namespace fbt
