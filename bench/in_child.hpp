// Runs a measurement in a process of its own, so that its peak memory is its own.
#pragma once

#include "fbt/core/check.hpp"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <exception>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

namespace bench {

/// The JSON value that f() returns when it is called in a child process. Throws std::runtime_error when the child fails.
template <class F>
nlohmann::ordered_json in_child(F&& f) {
  int ends[2];
  fbt::ensure(::pipe(ends) == 0, "no pipe to a child process");
  std::fflush(stdout);  // or the child would print it again
  const pid_t child = ::fork();
  fbt::ensure(child >= 0, "no child process");
  if (child == 0) {
    int failed = 1;
    try {
      const std::string text = nlohmann::ordered_json(f()).dump();
      failed = ::write(ends[1], text.data(), text.size()) != static_cast<ssize_t>(text.size());
    } catch (const std::exception& error) {
      fmt::print(stderr, "error: {}\n", error.what());
    }
    std::fflush(stderr);
    ::_exit(failed);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t size; (size = ::read(ends[0], buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<std::size_t>(size));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  fbt::ensure(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a measurement ended with {} {}",
              WIFEXITED(status) ? "exit code" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
  return nlohmann::ordered_json::parse(text);
}

}  // namespace bench
