// FolderLock: keeps two programs from writing to one folder.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/io/system.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

namespace fbt {

/// Holds a folder as long as it lives, or until the process ends in whatever way. Holds nothing where the file system knows
/// no locks.
class FolderLock {
 public:
  /// Makes the folder where there is none. Throws std::runtime_error when another process, or another FolderLock of this
  /// one, holds it, and when it cannot be made.
  explicit FolderLock(const std::filesystem::path& folder) : folder_(folder) {
    std::error_code error;
    for (auto missing = folder; !missing.empty() && !std::filesystem::exists(missing, error);
         missing = missing.parent_path())
      made_.push_back(missing);
    std::filesystem::create_directories(folder, error);
    ensure(!error, "{}: cannot make the folder: {}", folder.string(), error.message());
    lock_ = detail::lock_folder(folder);
    const int reason = errno;
    if (lock_ >= 0 || detail::knows_no_locks(reason)) return;
    if (!detail::is_locked(reason)) {
      remove_made();  // in use, it is another's
      ensure(false, "{}: cannot lock the folder: {}", folder.string(), std::strerror(reason));
    }
    const long owner = detail::folder_owner(folder);
    ensure(false, "{}: in use by {}", folder.string(),
           owner > 0 ? fmt::format("process {}", owner) : "another process, or another part of this one");
  }
  /// A folder that was made and in which there is nothing is removed.
  ~FolderLock() {
    if (lock_ >= 0) detail::unlock_folder(lock_, folder_);
    remove_made();
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  void remove_made() const {
    std::error_code none;
    for (const auto& folder : made_) std::filesystem::remove(folder, none);
  }

  std::filesystem::path folder_;
  std::vector<std::filesystem::path> made_;  // the innermost first
  int lock_ = -1;
};

}  // namespace fbt
