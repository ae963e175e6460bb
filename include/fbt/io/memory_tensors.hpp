// What a memory holds as tensors of a file: each matrix of its save() under a prefix and its name.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"
#include "fbt/io/safetensors.hpp"
#include "fbt/io/tensor_view.hpp"

#include <fmt/format.h>

#include <cstdint>
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
    ensure(view.shape == std::vector<std::uint64_t>{static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns)},
           "{}: {}: expected shape ({}, {}), found {}", file.name(), view.name, rows, columns, shape_text(view.shape));
    Matrix<Scalar> m(rows, columns);
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < columns; ++c)
        m(r, c) = static_cast<Scalar>(view.number(static_cast<std::uint64_t>(r * columns + c)));
    return m;
  }
};

}  // namespace detail

template <class AnyMemory>
void add_memory(TensorWriter& writer, const std::string& prefix, const AnyMemory& memory) {
  memory.save([&](std::string_view name, const auto& matrix) { writer.add(fmt::format("{}{}", prefix, name), matrix); });
}

/// Fills an empty memory with what add_memory() kept. Throws std::runtime_error when it does not fit, or is missing.
template <class Scalar, class AnyMemory>
void read_memory(const TensorFile& file, const std::string& prefix, AnyMemory& memory) {
  memory.load(detail::MemorySource<Scalar>{file, prefix});
}

}  // namespace fbt
