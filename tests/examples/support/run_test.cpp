#include "support/run.hpp"

#include "support/catch.hpp"
#include "support/scratch.hpp"

#include <new>
#include <stdexcept>
#include <string>

#if !defined(_WIN32)

namespace {

/// The exit code of run(f), and what it wrote to the standard streams, of which the output leads to the path.
struct Ending {
  int code = 0;
  std::string printed, errors;
};

template <class F>
Ending ending_of(F&& f, const std::string& path = "") {
  const fbt::ScratchFolder folder;
  const std::string out = path.empty() ? (folder / "out").string() : path, errors = (folder / "errors").string();
  std::fflush(stdout);
  const int streams[] = {::dup(1), ::dup(2)};
  const int files[] = {::open(out.c_str(), O_WRONLY | O_CREAT, 0600), ::open(errors.c_str(), O_WRONLY | O_CREAT, 0600)};
  for (int i = 0; i < 2; ++i) ::dup2(files[i], i + 1);
  Ending ending{example::run(f), "", ""};
  std::fflush(stdout);
  std::clearerr(stdout);
  for (int i = 0; i < 2; ++i) {
    ::dup2(streams[i], i + 1);
    ::close(streams[i]);
    ::close(files[i]);
  }
  if (path.empty()) ending.printed = fbt::read_all(out);
  ending.errors = fbt::read_all(errors);
  return ending;
}

}  // namespace

TEST_CASE("run: the exit code, and an error as a line") {
  Ending ending = ending_of([] {
    fmt::print("result\n");
    return 7;
  });
  CHECK(ending.code == 7);
  CHECK(ending.printed == "result\n");
  CHECK(ending.errors.empty());
  ending = ending_of([]() -> int { throw std::runtime_error("reason"); });
  CHECK(ending.code == 1);
  CHECK(ending.errors == "error: reason\n");
  ending = ending_of([]() -> int { throw std::bad_alloc(); });
  CHECK(ending.errors == "error: not enough memory\n");
}

TEST_CASE("run: what could not be printed is an error") {
  const auto print = [](std::size_t size) {
    return [size] {
      fmt::print("{}\n", std::string(size, 'x'));
      return 0;
    };
  };
  for (const std::size_t size : {std::size_t(1), std::size_t(100000)}) {
    const Ending ending = ending_of(print(size), "/dev/full");
    CHECK(ending.code == 1);
    CHECK_THAT(ending.errors, ContainsSubstring("error: cannot write to "));
    CHECK_THAT(ending.errors, ContainsSubstring("No space left on device"));
  }
  CHECK(ending_of(print(0), "/dev/null").code == 0);
}

#endif
