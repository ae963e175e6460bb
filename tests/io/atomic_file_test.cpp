#include "fbt/io/atomic_file.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/scratch.hpp"

#include <csignal>

#include <sys/resource.h>

using namespace fbt;

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

}  // namespace

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

  CHECK_THAT(message_of<std::runtime_error>([&] { write(folder / "none/a"); }),
             ContainsSubstring("none/a: cannot write the file: No such file or directory"));
  CHECK_THAT(message_of<std::runtime_error>([&] { write(folder / "a/b"); }),
             ContainsSubstring("a/b: cannot write the file: Not a directory"));
  std::filesystem::create_directory(folder / "folder");
  write_all(folder / "folder/kept", "x");
  CHECK_THAT(message_of<std::runtime_error>([&] { write(folder / "folder"); }),
             ContainsSubstring("folder: cannot write the file: Is a directory"));
  CHECK(read_all(folder / "folder/kept") == "x");
  CHECK(folder.files() == 2);

  write(folder / "a");  // and with room it works, over the old one
  CHECK(read_all(folder / "a") == "8 bytes." + header + data);
  CHECK(folder.files() == 2);
}
