// Apt: the package lists and the descriptions of Debian's packages, in English and German. They are loaded to a folder of
// their own; nothing else on the machine is changed.
#pragma once

#include "support/text_file.hpp"

#include "fbt/core/check.hpp"
#include "fbt/io/atomic_file.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace example {

namespace detail {

inline std::string quoted(const std::string& argument) {
  std::string result = "'";
  for (const char c : argument) c == '\'' ? result += "'\\''" : result += c;
  return result + "'";
}

/// What a command prints. Throws std::runtime_error when it fails.
inline std::string output_of(const std::string& command) {
#if defined(_WIN32)
  fbt::ensure(false, "{}: apt is only on Debian and its like; give --from a folder of files that are not compressed",
              command);
  return {};
#else
  std::string output;
  std::FILE* const pipe = popen(command.c_str(), "r");
  fbt::ensure(pipe != nullptr, "cannot start {}", command);
  std::array<char, 1 << 16> buffer;
  while (const std::size_t size = std::fread(buffer.data(), 1, buffer.size(), pipe)) output.append(buffer.data(), size);
  const int code = pclose(pipe);
  fbt::ensure(code == 0, "expected the command to succeed, found it failed: {}", command);
  return output;
#endif
}

}  // namespace detail

/// Loads the lists of the machine's sources to a folder. Returns the folder with the files. Throws std::runtime_error when
/// apt fails.
inline std::filesystem::path load_lists(const std::filesystem::path& folder) {
  const std::filesystem::path state = std::filesystem::absolute(folder), lists = state / "lists", cache = state / "cache";
  fbt::ensure(state.string().find_first_of("\"\n") == std::string::npos,
              "{}: apt takes no folder with quotes or line ends in its name", state.string());
  std::filesystem::create_directories(lists / "partial");
  std::filesystem::create_directories(cache);
  std::string config = "#clear Acquire::Languages;\nAcquire::Languages { \"en\"; \"de\"; };\n";
  for (const char* hook : {"Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"})
    config += fmt::format("#clear APT::Update::{};\n", hook);
  for (const char* unwanted : {"Contents-deb", "Contents-udeb", "DEP-11", "DEP-11-icons"})
    config += fmt::format("Acquire::IndexTargets::deb::{}::DefaultEnabled \"false\";\n", unwanted);
  config += fmt::format("Dir::State::Lists \"{}\";\nDir::Cache \"{}\";\n", lists.string(), cache.string());
  const std::filesystem::path file = state / "apt.conf";
  fbt::write_atomically(file, {config});
  detail::output_of(fmt::format("apt-get -qq -c {} update", detail::quoted(file.string())));
  return lists;
}

/// The text of a file of apt's lists, which may be compressed.
inline std::string read_list(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  constexpr std::array<std::string_view, 6> compressed{".lz4", ".gz", ".xz", ".bz2", ".zst", ".lzma"};
  if (std::find(compressed.begin(), compressed.end(), extension) == compressed.end())
    return std::filesystem::is_empty(path) ? "" : read_text_file(path);
  // apt-helper takes a damaged .gz for a shorter one
  const char* const command = extension == ".gz" ? "gzip -dc " : "/usr/lib/apt/apt-helper cat-file ";
  return detail::output_of(command + detail::quoted(path.string()));
}

/// The files in a folder of apt's lists whose names have the given part, in the order of their names.
inline std::vector<std::filesystem::path> find_lists(const std::filesystem::path& folder, std::string_view part) {
  std::vector<std::filesystem::path> files;
  fbt::ensure(std::filesystem::is_directory(folder), "{}: expected a folder with lists of apt, found none", folder.string());
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().filename().string().find(part) != std::string::npos)
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace example
