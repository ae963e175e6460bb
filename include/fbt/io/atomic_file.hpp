// Writing a file so that no reader ever finds half of it.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace fbt {

/// Writes a file so that at every moment the path holds either all of the old content or all of the new: into the path with
/// ".part" added, flushed to the disk, then renamed. Only one writer of a path at a time. Throws std::runtime_error, with
/// the temporary file removed.
inline void write_atomically(const std::filesystem::path& path, const std::vector<std::string_view>& pieces) {
  const std::filesystem::path temporary = path.string() + ".part";
  bool opened = false;
  const auto require = [&](bool good) {
    if (good) return;
    const std::string reason = std::strerror(errno);
    std::error_code ignored;
    if (opened) std::filesystem::remove(temporary, ignored);
    throw std::runtime_error(fmt::format("{}: cannot write the file: {}", path.string(), reason));
  };
  struct Descriptor {
    int number;
    ~Descriptor() {
      if (number >= 0) ::close(number);
    }
  } file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
  require(file.number >= 0);
  opened = true;
  for (std::string_view piece : pieces) {
    while (!piece.empty()) {
      const ssize_t written = ::write(file.number, piece.data(), piece.size());
      if (written < 0 && errno == EINTR) continue;
      require(written >= 0);
      piece.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  require(::fsync(file.number) == 0);
  require(::close(std::exchange(file.number, -1)) == 0);
  require(std::rename(temporary.c_str(), path.c_str()) == 0);
}

}  // namespace fbt
