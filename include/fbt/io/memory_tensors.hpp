// What a memory holds as tensors of a file: each matrix of its save() under a prefix and its name.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"
#include "fbt/io/safetensors.hpp"
#include "fbt/io/tensor_view.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fbt {

namespace detail {

/// The matrices of a memory in a file (Memory::load).
template <class Scalar>
struct MemorySource {
  const TensorFile& file;
  std::string prefix;

  bool has(const std::string& name) const { return file.find(prefix + name) != nullptr; }
  Index slots(const std::string& name, Index most) const {
    const TensorView& view = file.get(prefix + name);
    ensure(view.shape.size() == 2 && view.shape[0] <= static_cast<std::uint64_t>(most),
           "{}: {}: expected at most {} slots, found shape {}", file.name(), view.name, most, shape_text(view.shape));
    return static_cast<Index>(view.shape[0]);
  }
  Matrix<Scalar> matrix(const std::string& name, Index rows, Index columns) const {
    const TensorView& view = file.get(prefix + name);
    ensure(view.dtype == dtype_of<Scalar>() && view.shape == std::vector<std::uint64_t>{static_cast<std::uint64_t>(rows),
                                                                                        static_cast<std::uint64_t>(columns)},
           "{}: {}: expected shape ({}, {}) of dtype {}, found {} of {}", file.name(), view.name, rows, columns,
           dtype_info(dtype_of<Scalar>()).name, shape_text(view.shape), dtype_info(view.dtype).name);
    Matrix<Scalar> m(rows, columns);
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < columns; ++c) m(r, c) = view.at<Scalar>(static_cast<std::uint64_t>(r * columns + c));
    return m;
  }
};

}  // namespace detail

template <class AnyMemory>
void add_memory(TensorWriter& writer, const std::string& prefix, const AnyMemory& memory) {
  memory.save([&](std::string_view name, const auto& matrix) { writer.add(fmt::format("{}{}", prefix, name), matrix); });
}

/// The memory of a model, of so many lanes, that add_memory() kept. Throws std::runtime_error when it does not fit, or is
/// missing.
template <class Model>
auto read_memory(const TensorFile& file, const std::string& prefix, const Model& model, Index lanes) {
  auto memory = model.make_memory(lanes);
  memory.load(detail::MemorySource<typename Model::Scalar>{file, prefix});
  if constexpr (requires { model.core.check_memory(memory, lanes); }) {
    try {
      model.core.check_memory(memory, lanes);
    } catch (const std::invalid_argument& error) {
      throw std::runtime_error(fmt::format("{}: {}", file.name(), error.what()));
    }
  }
  return memory;
}

}  // namespace fbt
