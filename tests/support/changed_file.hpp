// What tests of files compare and change.
#pragma once

#include "fbt/core/visit.hpp"
#include "fbt/io/safetensors.hpp"
#include "support/scratch.hpp"

#include <filesystem>
#include <map>
#include <string>

namespace fbt {

/// Whether two models have equal parameters.
template <class Layer>
bool same(const Layer& a, const Layer& b) {
  bool equal = true;
  visit([&](std::string_view, const auto& x, const auto& y) { equal = equal && x == y; }, a, b);
  return equal;
}

using Views = std::map<std::string, TensorView>;

/// change(metadata, tensors) changes what is read from a file before it is written again, to the folder.
template <class F>
std::filesystem::path changed_file(const ScratchFolder& folder, const std::filesystem::path& path, F&& change) {
  const TensorFile file = TensorFile::read(path);
  Metadata metadata = file.metadata();
  std::map<std::string, TensorView> tensors;
  for (const TensorView& t : file.tensors()) tensors[t.name] = t;
  change(metadata, tensors);
  TensorWriter writer;
  writer.metadata = metadata;
  for (const auto& [name, t] : tensors) writer.add(name, t.dtype, t.shape, t.bytes);
  writer.write(folder / "changed");
  return folder / "changed";
}

}  // namespace fbt
