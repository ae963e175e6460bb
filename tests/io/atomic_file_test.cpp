#include "fbt/io/atomic_file.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/scratch.hpp"

#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace fbt;

TEST_CASE("atomic file: the pieces, one after the other") {
  const ScratchFolder folder;
  const std::string large(100000, 'x');
  write_atomically(folder / "a", {"abc", "", large, std::string_view("\0\n", 2)});
  CHECK(read_all(folder / "a") == "abc" + large + std::string("\0\n", 2));
  write_atomically(folder / "a", {"shorter"});  // over the old one
  CHECK(read_all(folder / "a") == "shorter");
  write_atomically(folder / "a", {});
  CHECK(read_all(folder / "a").empty());
  CHECK(folder.files() == 1);
}

TEST_CASE("atomic file: what a killed writer left is no obstacle") {
  const ScratchFolder folder;
  write_all(folder / "a.part", "half of something that was longer");
  write_atomically(folder / "a", {"whole"});
  CHECK(read_all(folder / "a") == "whole");
  CHECK(folder.files() == 1);
}

TEST_CASE("atomic file: paths that are refused") {
  const ScratchFolder folder;
  const auto message = [&](const std::filesystem::path& path) {
    return message_of<std::runtime_error>([&] { write_atomically(path, {"content"}); });
  };
  std::filesystem::create_directory(folder / "folder");
  write_all(folder / "folder/kept", "x");
  CHECK_THAT(message(folder / "folder"), ContainsSubstring("folder: cannot write the file: Is a directory"));
  CHECK_THAT(message(folder / "none/a"), ContainsSubstring("a: cannot write the file: No such file or directory"));
  CHECK(message("") == "expected the path of a file to write, found an empty one");
  CHECK(read_all(folder / "folder/kept") == "x");
  CHECK(folder.files() == 1);
}

#if !defined(_WIN32)

namespace {

/// Limits the size of the files that the process may write, as a full disk would.
struct FileSizeLimit {
  rlimit before{};
  void (*handler)(int);
  explicit FileSizeLimit(rlim_t bytes) : handler(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit limit{bytes, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
  }
};

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

}  // namespace

TEST_CASE("atomic file: symbolic links stay, and what they lead to is written") {
  const ScratchFolder folder;
  namespace fs = std::filesystem;
  fs::create_directory(folder / "far");
  write_all(folder / "far/target", "old");
  fs::create_symlink("far/target", folder / "relative");
  fs::create_symlink(folder / "relative", folder / "absolute");  // a link to a link
  fs::create_symlink("far", folder / "near");                    // a folder on the way
  fs::create_symlink("far/later", folder / "dangling");
  for (const char* name : {"relative", "absolute", "near/target"}) {
    INFO(name);
    write_atomically(folder / name, {"by ", name});
    CHECK(read_all(folder / "far/target") == std::string("by ") + name);
  }
  write_atomically(folder / "dangling", {"new"});
  CHECK(read_all(folder / "far/later") == "new");
  for (const char* name : {"relative", "absolute", "near", "dangling"}) CHECK(fs::is_symlink(folder / name));
  CHECK(folder.files() == 5);
  CHECK(std::distance(fs::directory_iterator(folder / "far"), fs::directory_iterator()) == 2);
  fs::create_symlink("circle", folder / "circle");
  CHECK_THAT(message_of<std::runtime_error>([&] { write_atomically(folder / "circle", {"x"}); }),
             ContainsSubstring("circle: cannot write the file: Too many levels of symbolic links"));
  fs::create_symlink("none/a", folder / "astray");
  CHECK_THAT(message_of<std::runtime_error>([&] { write_atomically(folder / "astray", {"x"}); }),
             ContainsSubstring("cannot write the file: No such file or directory"));
}

TEST_CASE("atomic file: mode and owner of the old file stay") {
  const ScratchFolder folder;
  const mode_t mask = ::umask(022);
  write_atomically(folder / "new", {"x"});
  CHECK(mode_of(folder / "new") == 0644);
  for (const mode_t mode : std::initializer_list<mode_t>{0600, 0640, 0666, 0755, 0444}) {
    write_all(folder / "a", "old");
    REQUIRE(::chmod((folder / "a").c_str(), mode) == 0);
    if (mode == 0444 && ::geteuid() != 0) {
      CHECK_THAT(message_of<std::runtime_error>([&] { write_atomically(folder / "a", {"x"}); }),
                 ContainsSubstring("Permission denied"));
    } else {
      write_atomically(folder / "a", {"x"});
      CHECK(read_all(folder / "a") == "x");
    }
    CHECK(mode_of(folder / "a") == mode);
    std::filesystem::remove(folder / "a");
  }
  ::umask(mask);
  if (::geteuid() != 0) return;
  REQUIRE(::chown((folder / "new").c_str(), 1234, 2345) == 0);
  write_atomically(folder / "new", {"y"});
  struct stat status {};
  REQUIRE(::stat((folder / "new").c_str(), &status) == 0);
  CHECK(status.st_uid == 1234);
  CHECK(status.st_gid == 2345);
}

TEST_CASE("atomic file: pipes and devices are written into") {
  const ScratchFolder folder;
  const std::string large(200000, 'x');
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  std::filesystem::create_symlink("fifo", folder / "link");
  for (const char* name : {"fifo", "link"}) {
    std::string read;
    std::thread reader([&] { read = read_all(folder / "fifo"); });
    write_atomically(folder / name, {"a", large});
    reader.join();
    CHECK(read == "a" + large);
    CHECK(std::filesystem::is_fifo(folder / "fifo"));
  }
  write_atomically("/dev/null", {"nothing"});
  CHECK(std::filesystem::is_character_file("/dev/null"));
  CHECK(message_of<std::runtime_error>([] { write_atomically("/dev/full", {"x"}); }) ==
        "/dev/full: cannot write the file: No space left on device");
  CHECK(folder.files() == 2);
}

TEST_CASE("atomic file: into the standard output, whatever that is") {
  const ScratchFolder folder;
  write_all(folder / "out", "kept ");
  std::fflush(stdout);
  const int before = ::dup(1), out = ::open((folder / "out").c_str(), O_WRONLY | O_APPEND);
  ::dup2(out, 1);
  std::printf("printed ");
  write_atomically("/dev/stdout", {"written"});
  write_atomically(folder / "out", {" again"});  // a file of its own would be another than the one that is printed to
  std::fflush(stdout);
  ::dup2(before, 1);
  ::close(before);
  ::close(out);
  CHECK(read_all(folder / "out") == "kept printed written again");
  CHECK(folder.files() == 1);
}

TEST_CASE("atomic file: of a writer that is killed nothing is left, and the old file stays") {
  const ScratchFolder folder;
  const bool unnamed = [&] {
    const int file = detail::create_unnamed_file(folder.path, detail::Access::usual);
    const bool can = file >= 0 && detail::name_file(file, folder / "probe");
    if (file >= 0) ::close(file);
    std::filesystem::remove(folder / "probe");
    return can;
  }();
  write_all(folder / "a", "old");
  const std::string large(1 << 20, 'x');
  const std::vector<std::string_view> pieces(40, large);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{20 << 20, 20 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);  // SIGXFSZ kills within the writing
    try {
      write_atomically(folder / "a", pieces);
    } catch (...) {
    }
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(read_all(folder / "a") == "old");
  CHECK(folder.files() == (unnamed ? 1 : 2));
  write_atomically(folder / "a", {"whole"});
  CHECK(read_all(folder / "a") == "whole");
  CHECK(folder.files() == 1);
}

TEST_CASE("atomic file: a failed write leaves the old file and no other") {
  const ScratchFolder folder;
  const std::string header(64, 'h'), data(160000, 'd');
  const auto write = [&](const std::filesystem::path& path) { write_atomically(path, {"8 bytes.", header, data}); };
  write_all(folder / "a", "old");

  // a full disk: before the first piece, after it, within the second, within the third, before the last byte
  for (const rlim_t limit : std::initializer_list<rlim_t>{0, 8, 20, 1000, 8 + 64 + 160000 - 1}) {
    std::string message;
    {
      const FileSizeLimit full(limit);
      message = message_of<std::runtime_error>([&] { write(folder / "a"); });
    }
    CHECK(message == (folder / "a").string() + ": cannot write the file: File too large");
    CHECK(read_all(folder / "a") == "old");
    CHECK(folder.files() == 1);
  }
  {
    const FileSizeLimit full(1000);
    CHECK_THROWS_AS(write(folder / "new"), std::runtime_error);
  }
  CHECK(folder.files() == 1);

  CHECK_THAT(message_of<std::runtime_error>([&] { write(folder / "a/b"); }),
             ContainsSubstring("a/b: cannot write the file: Not a directory"));

  write(folder / "a");  // and with room it works, over the old one
  CHECK(read_all(folder / "a") == "8 bytes." + header + data);
  CHECK(folder.files() == 1);
}

#endif
