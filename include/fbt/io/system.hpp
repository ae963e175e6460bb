// What io asks of the operating system, POSIX or Windows. Files that are written go by their number; a call that fails leaves
// its reason in errno.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>

#if defined(_WIN32)
#include <io.h>
#include <process.h>
#include <share.h>
#else
#include <sys/file.h>
#include <unistd.h>
#endif

namespace fbt::detail {

/// Who may read and write a new file: all that the process allows, or the user alone.
enum class Access { usual, user };

#if defined(_WIN32)

inline std::FILE* open_to_read(const std::filesystem::path& path) { return ::_wfopen(path.c_str(), L"rb"); }
/// Of a regular file; nothing of anything else.
inline std::optional<std::size_t> size_of(std::FILE* file) {
  struct _stat64 status {};
  if (::_fstat64(::_fileno(file), &status) != 0 || (status.st_mode & _S_IFMT) != _S_IFREG) return std::nullopt;
  return static_cast<std::size_t>(status.st_size);
}

inline int open_to_write(const std::filesystem::path& path) { return ::_wopen(path.c_str(), _O_WRONLY | _O_BINARY); }
inline int create_file(const std::filesystem::path& path, Access) {
  return ::_wopen(path.c_str(), _O_WRONLY | _O_CREAT | _O_EXCL | _O_BINARY, _S_IREAD | _S_IWRITE);
}
inline int create_unnamed_file(const std::filesystem::path&, Access) { return -1; }
inline bool name_file(int, const std::filesystem::path&) { return false; }
inline std::ptrdiff_t write_some(int file, std::string_view bytes) {
  return ::_write(file, bytes.data(), static_cast<unsigned>(bytes.substr(0, 1 << 30).size()));
}
inline bool write_to_disk(int file) { return ::_commit(file) == 0; }
inline bool close_file(int file) { return ::_close(file) == 0; }
inline bool may_write(const std::filesystem::path& path) { return ::_waccess(path.c_str(), 2) == 0; }
inline bool take_over(int, const std::filesystem::path&) { return true; }
inline int open_standard_stream(const std::filesystem::path&) { return -1; }

inline std::filesystem::path folder_lock_file(const std::filesystem::path& folder) { return folder / "lock"; }
inline int lock_folder(const std::filesystem::path& folder) {
  const int file = ::_wsopen(folder_lock_file(folder).c_str(), _O_WRONLY | _O_CREAT | _O_TRUNC | _O_BINARY, _SH_DENYWR,
                             _S_IREAD | _S_IWRITE);
  if (file >= 0) write_some(file, std::to_string(::_getpid()));
  return file;
}
inline bool is_locked(int reason) { return reason == EACCES; }
inline bool knows_no_locks(int reason) { return reason != EACCES; }
inline long folder_owner(const std::filesystem::path& folder) {
  long process = 0;
  if (std::FILE* const file = open_to_read(folder_lock_file(folder))) {
    if (std::fscanf(file, "%ld", &process) != 1) process = 0;
    std::fclose(file);
  }
  return process;
}
inline void unlock_folder(int file, const std::filesystem::path& folder) {
  std::error_code ignored;
  close_file(file);
  std::filesystem::remove(folder_lock_file(folder), ignored);
}

#else

inline std::FILE* open_to_read(const std::filesystem::path& path) { return std::fopen(path.c_str(), "rb"); }
inline std::optional<std::size_t> size_of(std::FILE* file) {
  struct stat status {};
  if (::fstat(::fileno(file), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return static_cast<std::size_t>(status.st_size);
}

/// A file that exists, with its content. Waits for a reader when it is a FIFO.
inline int open_to_write(const std::filesystem::path& path) { return ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY); }
/// A file that does not exist.
inline int create_file(const std::filesystem::path& path, Access access) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, access == Access::user ? 0600 : 0666);
}
/// A file without a name, which is gone when the process ends; -1 also where there is no such thing.
inline int create_unnamed_file(const std::filesystem::path& folder, Access access) {
#if defined(O_TMPFILE)
  return ::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, access == Access::user ? 0600 : 0666);
#else
  static_cast<void>(folder), static_cast<void>(access);
  return -1;
#endif
}
/// Gives such a file a name that no other has.
inline bool name_file(int file, const std::filesystem::path& path) {
  const std::string now = "/proc/self/fd/" + std::to_string(file);
  return ::linkat(AT_FDCWD, now.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0;
}
inline std::ptrdiff_t write_some(int file, std::string_view bytes) { return ::write(file, bytes.data(), bytes.size()); }
inline bool write_to_disk(int file) { return ::fsync(file) == 0; }
inline bool close_file(int file) { return ::close(file) == 0; }
inline bool may_write(const std::filesystem::path& path) { return ::access(path.c_str(), W_OK) == 0; }
/// Gives a file the mode of another, and its owner and group as far as the process may.
inline bool take_over(int file, const std::filesystem::path& other) {
  struct stat status {};
  if (::stat(other.c_str(), &status) != 0) return false;
  if (::fchown(file, status.st_uid, status.st_gid) != 0 && ::fchown(file, static_cast<uid_t>(-1), status.st_gid) != 0)
    status.st_mode = (status.st_mode & ~static_cast<mode_t>(070)) | (status.st_mode & 07) << 3;  // a group like any other
  return ::fchmod(file, status.st_mode & 0777) == 0;
}
/// The standard output or error stream once more, when that is what the path leads to; else -1.
inline int open_standard_stream(const std::filesystem::path& path) {
  struct stat there {
  }, stream{};
  if (::stat(path.c_str(), &there) != 0) return -1;
  for (const int number : {1, 2})
    if (::fstat(number, &stream) == 0 && stream.st_dev == there.st_dev && stream.st_ino == there.st_ino)
      return ::dup(number);
  return -1;
}

/// Locks a folder for as long as the process lives and does not unlock it; else -1. Needs no file in it.
inline int lock_folder(const std::filesystem::path& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return -1;
  if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    ::close(file);
    errno = reason;
    return -1;
  }
  // flock() does not tell who has a lock: this one excludes nobody, but tells, until this process closes the folder, which
  // it may have opened for something else
  struct flock mark {};
  mark.l_type = F_RDLCK;
  ::fcntl(file, F_SETLK, &mark);
  return file;
}
/// Why there is no lock: another one has it.
inline bool is_locked(int reason) { return reason == EWOULDBLOCK; }
/// The file system has none. Over NFS a file must be open for writing, which a folder cannot be: EBADF.
inline bool knows_no_locks(int reason) {
  return reason == ENOLCK || reason == EOPNOTSUPP || reason == ENOTSUP || reason == ENOSYS || reason == EINVAL ||
         reason == EBADF;
}
/// The process that has locked a folder; 0 when that is not known.
inline long folder_owner(const std::filesystem::path& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return 0;
  struct flock mark {};
  mark.l_type = F_WRLCK;
  const bool known = ::fcntl(file, F_GETLK, &mark) == 0 && mark.l_type != F_UNLCK;
  ::close(file);
  return known ? static_cast<long>(mark.l_pid) : 0;
}
inline void unlock_folder(int file, const std::filesystem::path&) { ::close(file); }

#endif

}  // namespace fbt::detail
