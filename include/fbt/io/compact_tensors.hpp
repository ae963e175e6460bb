// Compact weights in a safetensors file (layers/compact_weights.hpp), which do not depend on how a machine's products want
// them. The file's __metadata__ has "fbt.weights", and in the place of a matrix "name.weight" (out, in) stand with
//   bf16   "name.weight" BF16 (out, in)
//   int8   "name.weight" I8 (out, in), and "name.weight_scale" F32 (out, ceil(in / 32)) for every 32 columns: w = scale * q
//   int4   "name.weight" U8 (out, ceil(in / 2)): columns 2j and 2j + 1 as q + 8 in the lower and the upper half; and scales
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"
#include "fbt/io/safetensors.hpp"
#include "fbt/kernels/compact.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace fbt {

inline constexpr const char* weights_key = "fbt.weights";

/// As what the matrices in a file are kept. Throws std::runtime_error for a format that there is not.
inline WeightFormat stored_weights(const TensorFile& file) {
  const auto found = file.metadata().find(weights_key);
  if (found == file.metadata().end()) return WeightFormat::full;
  for (const auto& [name, format] : Names<WeightFormat>::list)
    if (name == found->second && format != WeightFormat::full) return format;
  throw std::runtime_error(
      fmt::format("{}: {}: expected bf16, int8 or int4, found \"{}\"", file.name(), weights_key, found->second));
}

namespace detail {

/// A tensor that stands for a part of a matrix (rows, columns) "name.weight".
struct CompactTensor {
  std::string name;
  Dtype dtype;
  std::vector<std::uint64_t> shape;
};
inline std::vector<CompactTensor> compact_tensors(const std::string& name, WeightFormat format, Index rows, Index columns) {
  const auto out = static_cast<std::uint64_t>(rows), in = static_cast<std::uint64_t>(columns);
  const std::string weight = name + ".weight";
  if (format == WeightFormat::bf16) return {{weight, Dtype::bf16, {out, in}}};
  const CompactTensor scale{name + ".weight_scale", Dtype::f32, {out, (in + compact_depth - 1) / compact_depth}};
  if (format == WeightFormat::int8) return {{weight, Dtype::i8, {out, in}}, scale};
  return {{weight, Dtype::u8, {out, (in + 1) / 2}}, scale};
}

inline void add_compact(TensorWriter& writer, const std::string& name, const CompactMatrix& matrix) {
  std::string entries, scales;
  for (Index row = 0; row < matrix.rows(); ++row) {
    for (Index b = 0; b < matrix.blocks(); ++b) {
      const CompactRow block = matrix.row(row, b);
      const auto count = static_cast<std::size_t>(std::min(compact_depth, matrix.depth() - b * compact_depth));
      scales.append(reinterpret_cast<const char*>(&block.scale), sizeof(block.scale));
      switch (matrix.format()) {
        case WeightFormat::int8:
          for (std::size_t k = 0; k < count; ++k) entries += static_cast<char>(block.entries[k]);
          break;
        case WeightFormat::int4:
          for (std::size_t k = 0; k < count; k += 2)
            entries += static_cast<char>((block.entries[k] + 8) | (k + 1 < count ? block.entries[k + 1] + 8 : 0) << 4);
          break;
        default: entries.append(reinterpret_cast<const char*>(block.entries.data()), count * sizeof(std::int16_t));
      }
    }
  }
  const auto tensors = compact_tensors(name, matrix.format(), matrix.rows(), matrix.depth());
  writer.add(tensors[0].name, tensors[0].dtype, tensors[0].shape, entries);
  if (tensors.size() > 1) writer.add(tensors[1].name, tensors[1].dtype, tensors[1].shape, scales);
}

/// The matrix of tensors that are there, and of the right dtype and shape.
inline std::shared_ptr<const CompactMatrix> read_compact(const TensorFile& file, const std::string& name,
                                                         WeightFormat format, Index rows, Index columns) {
  const auto tensors = compact_tensors(name, format, rows, columns);
  const TensorView& entries = file.get(tensors[0].name);
  const TensorView* const scales = tensors.size() > 1 ? &file.get(tensors[1].name) : nullptr;
  const Index blocks = (columns + compact_depth - 1) / compact_depth;
  auto matrix = std::make_shared<CompactMatrix>();
  matrix->pack(rows, columns, format, nullptr, [&](Index row, Index b) {
    CompactRow block;
    if (scales) block.scale = scales->at<float>(static_cast<std::uint64_t>(row * blocks + b));
    const Index first = b * compact_depth, count = std::min(compact_depth, columns - first);
    for (Index k = 0; k < count; ++k) {
      const Index column = first + k;
      std::int16_t& entry = block.entries[static_cast<std::size_t>(k)];
      if (format == WeightFormat::bf16) {
        entry = entries.at<std::int16_t>(static_cast<std::uint64_t>(row * columns + column));
      } else if (format == WeightFormat::int8) {
        entry = entries.at<std::int8_t>(static_cast<std::uint64_t>(row * columns + column));
      } else {
        const int both = entries.at<std::uint8_t>(static_cast<std::uint64_t>(row * ((columns + 1) / 2) + column / 2));
        entry = static_cast<std::int16_t>((column % 2 == 0 ? both & 15 : both >> 4) - 8);
      }
    }
    return block;
  });
  return matrix;
}

}  // namespace detail

}  // namespace fbt
