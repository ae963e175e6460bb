// Writing a file so that no reader ever finds half of it.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/io/system.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace fbt {

namespace detail {

[[noreturn]] inline void cannot_write(const std::filesystem::path& path, const std::string& reason) {
  throw std::runtime_error(fmt::format("{}: cannot write the file: {}", path.string(), reason));
}

/// A file that is written to a path. Each step throws std::runtime_error that says why it failed.
class OutputFile {
 public:
  /// number: of the open file; negative when it could not be opened.
  OutputFile(int number, const std::filesystem::path& path) : number_(number), path_(path) { require(number >= 0); }
  ~OutputFile() {
    if (number_ >= 0) close_file(number_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  int number() const { return number_; }
  void write(const std::vector<std::string_view>& pieces) {
    for (std::string_view piece : pieces) {
      while (!piece.empty()) {
        const std::ptrdiff_t written = write_some(number_, piece);
        if (written < 0 && errno == EINTR) continue;
        require(written >= 0);
        piece.remove_prefix(static_cast<std::size_t>(written));
      }
    }
  }
  void close() { require(close_file(std::exchange(number_, -1))); }
  /// The condition is that of a call which leaves its reason in errno.
  void require(bool good) const {
    if (!good) cannot_write(path_, std::strerror(errno));
  }

 private:
  int number_;
  const std::filesystem::path& path_;
};

/// Where the symbolic links at a path lead, whether or not there is a file.
inline std::filesystem::path follow_links(std::filesystem::path path) {
  std::error_code none;
  constexpr int most = 40;  // as the system follows
  for (int links = 0; links < most && std::filesystem::is_symlink(std::filesystem::symlink_status(path, none)); ++links)
    path = path.parent_path() / std::filesystem::read_symlink(path);
  return path;
}

/// A path that is free, and again when this ends.
struct TemporaryPath {
  std::filesystem::path path;

  explicit TemporaryPath(std::filesystem::path path_) : path(std::move(path_)) { remove(); }
  ~TemporaryPath() { remove(); }
  TemporaryPath(const TemporaryPath&) = delete;
  TemporaryPath& operator=(const TemporaryPath&) = delete;

 private:
  void remove() const {
    std::error_code none;
    std::filesystem::remove(path, none);
  }
};

/// Puts a file into the place of the one at the path, if there is one, with its mode and owner.
inline void replace_file(const std::filesystem::path& path, bool exists, const std::vector<std::string_view>& pieces) {
  const Access access = exists ? Access::user : Access::usual;
  const TemporaryPath temporary(std::filesystem::path(path) += ".part");
  const auto fill = [&](OutputFile& file) {
    if (exists) file.require(may_write(path) && take_over(file.number(), path));
    file.write(pieces);
    file.require(write_to_disk(file.number()));
  };
  const auto finish = [&](OutputFile& file) {
    file.close();
    std::error_code error;
    std::filesystem::rename(temporary.path, path, error);
    if (error) cannot_write(path, error.message());
  };
  // Of a file that has no name before it is whole, nothing is left when the program is killed.
  if (const int unnamed = create_unnamed_file(path.has_parent_path() ? path.parent_path() : ".", access); unnamed >= 0) {
    OutputFile file(unnamed, path);
    fill(file);
    if (name_file(unnamed, temporary.path)) return finish(file);
  }
  OutputFile file(create_file(temporary.path, access), path);
  fill(file);
  finish(file);
}

}  // namespace detail

/// Writes a file so that at every moment the path holds either all of the old content or all of the new, flushed to the
/// disk (which of the two it is after a power cut, the file system decides). A symbolic link stays, and what it leads to is
/// written; mode and owner of an old file stay, too (the owner as far as the process may), but a further hard link to it
/// keeps the old content. Into a FIFO, a character device or what the standard output or error stream goes to, the content
/// is written as it comes. Only one writer of a path at a time; a file PATH.part is removed. Throws std::runtime_error when
/// the file cannot be written, or when the path is that of a folder, or of anything else; an old file is then as it was.
inline void write_atomically(const std::filesystem::path& path, const std::vector<std::string_view>& pieces) {
  using enum std::filesystem::file_type;
  ensure(!path.empty(), "expected the path of a file to write, found an empty one");
  std::error_code error;
  const std::filesystem::file_type type = std::filesystem::status(path, error).type();
  if (type == none) detail::cannot_write(path, error.message());
  if (type == directory) detail::cannot_write(path, std::make_error_code(std::errc::is_a_directory).message());
  const int stream = detail::open_standard_stream(path);
  if (stream < 0 && (type == regular || type == not_found))
    return detail::replace_file(detail::follow_links(path), type == regular, pieces);
  if (stream < 0 && type != fifo && type != character)
    detail::cannot_write(path, "expected a file, a pipe or a character device, found something else");
  std::fflush(stdout);  // what has been printed comes first
  detail::OutputFile file(stream < 0 ? detail::open_to_write(path) : stream, path);
  file.write(pieces);
  file.close();
}

}  // namespace fbt
