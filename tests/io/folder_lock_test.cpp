#include "fbt/io/folder_lock.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/scratch.hpp"

#include <optional>
#include <string>

#if !defined(_WIN32)
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace fbt;

TEST_CASE("folder lock: one at a time") {
  const ScratchFolder folder;
  std::optional<FolderLock> lock(folder.path);
  const auto message = [&] { return message_of<std::runtime_error>([&] { FolderLock second(folder.path); }); };
  CHECK(message() == folder.path.string() + ": in use by another process, or another part of this one");
  write_all(folder / "file", "the folder can be written to");
  lock.reset();
  CHECK(message() == "[nothing was thrown]");
  CHECK(folder.files() == 1);
}

TEST_CASE("folder lock: makes the folder, and removes it when nothing was written to it") {
  const ScratchFolder folder;
  { const FolderLock lock(folder / "a/b"); }
  CHECK(folder.files() == 0);
  {
    const FolderLock lock(folder / "a/b");
    write_all(folder / "a/b/file", "x");
  }
  CHECK(read_all(folder / "a/b/file") == "x");
  { const FolderLock lock(folder / "a"); }  // it was there
  CHECK(folder.files() == 1);
  CHECK_THAT(message_of<std::runtime_error>([&] { FolderLock lock(folder / "a/b/file"); }),
             ContainsSubstring("file: cannot make the folder: "));
  CHECK_THAT(message_of<std::runtime_error>([&] { FolderLock lock(folder / "a/b/file/c"); }),
             ContainsSubstring("c: cannot make the folder: "));
  CHECK(read_all(folder / "a/b/file") == "x");
}

#if !defined(_WIN32)

TEST_CASE("folder lock: where there might be one that cannot be seen, there is an error") {
  const ScratchFolder folder;
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  none.rlim_cur = 0;  // no file can be opened
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const std::string message = message_of<std::runtime_error>([&] { FolderLock lock(folder / "a"); });
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK_THAT(message, ContainsSubstring("a: cannot lock the folder: "));
  CHECK(folder.files() == 0);
}

TEST_CASE("folder lock: names the process that has it, and is gone with that, however it ends") {
  const ScratchFolder folder;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FolderLock lock(folder.path);
    const bool told = ::write(ends[1], "x", 1) == 1;
    while (told) ::pause();
    ::_exit(1);
  }
  char ready = 0;
  REQUIRE(::read(ends[0], &ready, 1) == 1);
  CHECK(message_of<std::runtime_error>([&] { FolderLock second(folder.path); }) ==
        folder.path.string() + ": in use by process " + std::to_string(child));
  REQUIRE(::kill(child, SIGKILL) == 0);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK(message_of<std::runtime_error>([&] { FolderLock second(folder.path); }) == "[nothing was thrown]");
  CHECK(folder.files() == 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

#endif
