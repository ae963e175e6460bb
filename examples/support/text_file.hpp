// Reads a text from a file.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/io/system.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

namespace example {

/// The bytes of a file. Throws std::runtime_error when it is missing, a folder, unreadable or empty.
inline std::string read_text_file(const std::filesystem::path& path) {
  fbt::ensure(!std::filesystem::is_directory(path), "{}: expected a text file, found a folder", path.string());
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(fbt::detail::open_to_read(path), &std::fclose);
  fbt::ensure(file != nullptr, "{}: cannot open the text file: {}", path.string(), std::strerror(errno));
  std::string text;
  std::error_code unknown;  // of a pipe, say
  if (const auto size = std::filesystem::file_size(path, unknown); !unknown) text.reserve(size);
  char buffer[1 << 16];
  while (const std::size_t size = std::fread(buffer, 1, sizeof(buffer), file.get())) text.append(buffer, size);
  fbt::ensure(!std::ferror(file.get()), "{}: cannot read the text file: {}", path.string(), std::strerror(errno));
  fbt::ensure(!text.empty(), "{}: expected a text, found an empty file", path.string());
  return text;
}

}  // namespace example
