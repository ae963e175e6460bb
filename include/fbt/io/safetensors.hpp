// Reader and writer of safetensors files: an 8-byte little-endian header length, a JSON header that maps each tensor's name
// to dtype, shape and data offsets (and "__metadata__" to strings), then the data, row-major, without holes.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"
#include "fbt/io/atomic_file.hpp"
#include "fbt/io/json.hpp"
#include "fbt/io/system.hpp"
#include "fbt/io/tensor_view.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace fbt {

/// A safetensors file in memory.
class TensorFile {
 public:
  static constexpr std::uint64_t largest_header = 100'000'000;

  /// Reads a file. Throws std::runtime_error that says what is wrong with it.
  static TensorFile read(const std::filesystem::path& path) {
    std::error_code error;
    ensure(!std::filesystem::is_directory(path, error), "{}: expected a file, found a folder", path.string());
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(detail::open_to_read(path), &std::fclose);
    ensure(file != nullptr, "{}: cannot open the file: {}", path.string(), std::strerror(errno));
    // of what is open, which is not the file at the path any more when another takes its place
    const auto size = detail::size_of(file.get());
    ensure(size.has_value(), "{}: expected a file, found something else", path.string());
    std::string content(*size, '\0');
    ensure(std::fread(content.data(), 1, content.size(), file.get()) == *size, "{}: cannot read the file: expected {} bytes",
           path.string(), *size);
    return parse(std::move(content), path.string());
  }

  /// Takes the content of a file; name is for messages.
  static TensorFile parse(std::string content, const std::string& name) {
    TensorFile result;
    result.name_ = name;
    result.content_ = std::make_unique<const std::string>(std::move(content));
    result.parse_header();
    return result;
  }

  const std::string& name() const { return name_; }
  const Metadata& metadata() const { return metadata_; }
  /// In the order of their data.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// Null when there is none of the name.
  const TensorView* find(std::string_view name) const {
    const auto found = index_.find(name);
    return found == index_.end() ? nullptr : &tensors_[found->second];
  }
  const TensorView& get(std::string_view name) const {
    const TensorView* const found = find(name);
    ensure(found != nullptr, "{}: expected a tensor named {}, found none", name_, name);
    return *found;
  }

 private:
  void parse_header() {
    check_byte_order(name_);
    const std::string& content = *content_;
    ensure(content.size() >= 8, "{}: expected a safetensors file, found only {} bytes", name_, content.size());
    std::uint64_t length = 0;
    std::memcpy(&length, content.data(), 8);
    ensure(length <= largest_header, "{}: expected a safetensors header of at most {} bytes, found a length of {}", name_,
           largest_header, length);
    ensure(length <= content.size() - 8, "{}: expected a header of {} bytes, found only {} bytes after its length", name_,
           length, content.size() - 8);
    const std::string_view text = std::string_view(content).substr(8, static_cast<std::size_t>(length));
    const std::string_view data = std::string_view(content).substr(8 + text.size());
    ensure(text.starts_with('{'), "{}: expected a safetensors header that starts with {{, found something else", name_);
    ensure(text.find('\0') == text.npos, "{}: expected a JSON object in UTF-8 as header, found a zero byte in it",
           name_);  // the parser would take it for the end
    HeaderContent header = parse_header_json(text, name_);
    metadata_ = std::move(header.metadata);

    std::sort(header.entries.begin(), header.entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
      return std::tie(a.offsets, a.name) < std::tie(b.offsets, b.name);
    });
    std::uint64_t position = 0;
    for (HeaderEntry& entry : header.entries) {
      const std::uint64_t begin = entry.offsets[0], end = entry.offsets[1];
      ensure(begin <= end && end <= data.size(),
             "{}: tensor {}: expected data_offsets inside the {} bytes of data, found {}", name_, entry.name, data.size(),
             shape_text(entry.offsets));
      ensure(begin == position, "{}: tensor {}: expected its data to begin at {}, where the one before ends, found {}",
             name_, entry.name, position, begin);
      const auto info =
          std::find_if(dtypes.begin(), dtypes.end(), [&](const DtypeInfo& i) { return i.name == entry.dtype; });
      ensure(info != dtypes.end(), "{}: tensor {}: expected a dtype of the safetensors format, found {:?}", name_,
             entry.name, entry.dtype);
      const auto bytes = tensor_bytes(info->dtype, entry.shape);
      ensure(bytes.has_value(), "{}: tensor {}: the shape {} is too large", name_, entry.name, shape_text(entry.shape));
      ensure(*bytes == end - begin, "{}: tensor {}: expected {} bytes for {} of shape {}, found {}", name_, entry.name,
             *bytes, entry.dtype, shape_text(entry.shape), end - begin);
      position = end;
      index_.emplace(entry.name, tensors_.size());
      tensors_.push_back({std::move(entry.name), info->dtype, std::move(entry.shape),
                          data.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(*bytes))});
    }
    ensure(position == data.size(), "{}: expected {} bytes of data, found {}", name_, position, data.size());
  }

  std::string name_;
  std::unique_ptr<const std::string> content_;
  Metadata metadata_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

namespace detail {

/// The metadata of a file without what fbt itself has written there: the rest may go into a file of another kind, too.
inline Metadata without_own(Metadata metadata) {
  std::erase_if(metadata, [](const auto& entry) { return entry.first.starts_with("fbt."); });
  return metadata;
}

}  // namespace detail

/// Collects tensors and writes them as one file.
class TensorWriter {
 public:
  Metadata metadata;

  /// Copies a matrix or vector. Vectors have one dimension, matrices two (rows, columns).
  template <class Derived>
  void add(std::string name, const Eigen::DenseBase<Derived>& tensor) {
    using Scalar = typename Derived::Scalar;
    const RowMatrix<Scalar> rows = tensor;  // row-major
    add(std::move(name), dtype_of<Scalar>(), shape_of(tensor),
        {reinterpret_cast<const char*>(rows.data()), static_cast<std::size_t>(rows.size()) * sizeof(Scalar)});
  }
  /// Copies numbers.
  template <class T>
  void add(std::string name, const std::vector<T>& values) {
    add(std::move(name), dtype_of<T>(), {values.size()},
        {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }
  /// Copies row-major data. Throws std::invalid_argument unless there are as many bytes as the shape holds.
  void add(std::string name, Dtype dtype, std::vector<std::uint64_t> shape, std::string_view bytes) {
    const auto expected = tensor_bytes(dtype, shape);
    check(expected.has_value(), "tensor {}: the shape {} is too large", name, shape_text(shape));
    check(bytes.size() == *expected, "tensor {}: expected {} bytes for {} of shape {}, found {}", name, *expected,
          dtype_info(dtype).name, shape_text(shape), bytes.size());
    tensors_.push_back({std::move(name), dtype, std::move(shape), std::string(bytes)});
  }

  /// Throws std::runtime_error when the file cannot be written; an old one is then left as it was. Throws
  /// std::invalid_argument when a name comes twice, or when a name or the metadata is not UTF-8.
  void write(const std::filesystem::path& path) const {
    check_byte_order(path.string());
    // sorted by falling alignment, so that a reader may map the data; an ordered object keeps that order
    std::vector<const Tensor*> order;
    for (const Tensor& tensor : tensors_) order.push_back(&tensor);
    std::stable_sort(order.begin(), order.end(),
                     [](const Tensor* a, const Tensor* b) { return dtype_info(a->dtype).bits > dtype_info(b->dtype).bits; });
    std::vector<HeaderEntry> entries;
    std::uint64_t position = 0;
    std::set<std::string_view> names{"__metadata__"};
    for (const Tensor* tensor : order) {
      check(names.insert(tensor->name).second, "{}: expected every name once, found tensor {} twice", path.string(),
            tensor->name);
      entries.push_back({tensor->name,
                         std::string(dtype_info(tensor->dtype).name),
                         tensor->shape,
                         {position, position + tensor->bytes.size()}});
      position += tensor->bytes.size();
    }
    std::string text = write_header_json(metadata, entries, path.string());
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = text.size();
    ensure(length <= TensorFile::largest_header, "{}: expected a header of at most {} bytes, found {}", path.string(),
           TensorFile::largest_header, length);
    std::vector<std::string_view> pieces{{reinterpret_cast<const char*>(&length), sizeof(length)}, text};
    for (const Tensor* tensor : order) pieces.push_back(tensor->bytes);
    write_atomically(path, pieces);
  }

 private:
  struct Tensor {
    std::string name;
    Dtype dtype;
    std::vector<std::uint64_t> shape;
    std::string bytes;
  };
  std::vector<Tensor> tensors_;
};

}  // namespace fbt
