// Reads a text from a file.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/io/system.hpp"
#include "fbt/text/vocabulary.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace example {

/// A text, and what it is called in messages.
struct NamedText {
  std::string name, text;
};

/// The bytes of a file, or with the name "-" of the standard input. Throws std::runtime_error when it is missing, a folder,
/// unreadable or empty.
inline std::string read_text_file(const std::filesystem::path& path) {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "the standard input" : path.string();
  fbt::ensure(standard_input || !std::filesystem::is_directory(path), "{}: expected a text file, found a folder", name);
  const auto close = [](std::FILE* file) { return file == stdin ? 0 : std::fclose(file); };
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(standard_input ? stdin : fbt::detail::open_to_read(path),
                                                             close);
  fbt::ensure(file != nullptr, "{}: cannot open the text file: {}", name, std::strerror(errno));
  std::string text;
  std::error_code unknown;  // of a pipe, say
  if (const auto size = std::filesystem::file_size(path, unknown); !unknown) text.reserve(size);
  char buffer[1 << 16];
  while (const std::size_t size = std::fread(buffer, 1, sizeof(buffer), file.get())) text.append(buffer, size);
  fbt::ensure(!std::ferror(file.get()), "{}: cannot read the text file: {}", name, std::strerror(errno));
  fbt::ensure(!text.empty(), "{}: expected a text, found an empty file", name);
  return text;
}

/// The next line of the standard input, without its end. False when there is none. Throws std::runtime_error when it cannot
/// be read.
inline bool read_line(std::string& line) {
  line.clear();
  int c = 0;
  while ((c = std::fgetc(stdin)) != EOF && c != '\n') line += static_cast<char>(c);
  fbt::ensure(!std::ferror(stdin), "the standard input: cannot be read: {}", std::strerror(errno));
  if (line.ends_with('\r')) line.pop_back();
  return c != EOF || !line.empty();
}

/// Throws std::runtime_error unless a text can be one of characters; name is for messages.
inline void expect_characters(std::string_view text, std::string_view name) {
  for (std::size_t at = 0; at < text.size();) {
    const fbt::Utf8 character = fbt::read_utf8(text.substr(at));
    const auto byte = static_cast<unsigned char>(text[at]);
    fbt::ensure(character.status == fbt::Utf8::Status::complete && byte != 0,
                "{}: expected text in UTF-8, found the byte 0x{:02x} of no valid character at offset {}; a model that is "
                "trained with --vocabulary byte takes any file",
                name, byte, at);
    at += character.size;
  }
}

/// The tokens of a text; unknown_count as of fbt::Vocabulary::encode(). Throws std::runtime_error when there are others than
/// those of the vocabulary.
inline std::vector<fbt::Token> encode_text(const fbt::Vocabulary& vocabulary, std::string_view text, std::string_view name,
                                           fbt::Index* unknown_count = nullptr) {
  if (vocabulary.kind() == fbt::TokenKind::character) expect_characters(text, name);
  return vocabulary.encode(text, name, unknown_count);
}

}  // namespace example
