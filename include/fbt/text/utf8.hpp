// UTF-8: the characters of a text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string_view>
#include <utility>

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

inline bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Utf8 character = read_utf8(text);
    if (character.status != Utf8::Status::complete) return false;
    text.remove_prefix(character.size);
  }
  return true;
}

/// Whether a character shows by itself, in its place: no control, space, mark on another character, change of the direction
/// of writing, or code point that is none.
inline bool is_visible(char32_t code_point) {
  constexpr std::pair<char32_t, char32_t> invisible[] = {
      {0x00, 0x20},     {0x7f, 0xa0},     {0xad, 0xad},     {0x300, 0x36f},   {0x61c, 0x61c},     {0x115f, 0x1160},
      {0x1680, 0x1680}, {0x180b, 0x180e}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x2000, 0x200f},   {0x2028, 0x202f},
      {0x205f, 0x206f}, {0x20d0, 0x20ff}, {0x3000, 0x3000}, {0x3164, 0x3164}, {0xd800, 0xf8ff},   {0xfdd0, 0xfdef},
      {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xe0000, 0x10ffff}};
  if ((code_point & 0xfffe) == 0xfffe) return false;
  return std::none_of(std::begin(invisible), std::end(invisible),
                      [&](const auto& range) { return code_point >= range.first && code_point <= range.second; });
}

}  // namespace fbt
