// UTF-8: reads one character of a text.
#pragma once

#include <cstddef>
#include <string_view>

namespace fbt {

/// What a text in UTF-8 begins with. Overlong forms, surrogates and code points above U+10FFFF are invalid (RFC 3629).
struct Utf8 {
  enum class Status { complete, incomplete, invalid } status;
  std::size_t size = 0;  ///< bytes of the character; of an invalid sequence, the bytes to skip
  char32_t code_point = 0;
};

/// Reads the first character of a text that is not empty.
inline Utf8 read_utf8(std::string_view text) {
  using enum Utf8::Status;
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {complete, 1, lead};
  const std::size_t size = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (size == 0) return {invalid, 1};
  char32_t code_point = lead & (0x7fu >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if (i == text.size()) return {incomplete, i};
    const auto byte = static_cast<unsigned char>(text[i]);
    // the second byte tells overlong forms, surrogates and too large code points
    const unsigned least = i > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned most = i > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (byte < least || byte > most) return {invalid, i};
    code_point = code_point << 6 | (byte & 0x3fu);
  }
  return {complete, size, code_point};
}

}  // namespace fbt
