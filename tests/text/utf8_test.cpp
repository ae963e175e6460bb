#include "fbt/text/utf8.hpp"

#include "support/catch.hpp"

#include <string>

using fbt::read_utf8;
using fbt::Utf8;

TEST_CASE("UTF-8 is read strictly") {
  struct Case {
    std::string text;
    Utf8::Status status;
    std::size_t size;
    char32_t code_point;
  };
  using enum Utf8::Status;
  const auto c = GENERATE(values<Case>({
      {"A", complete, 1, U'A'},
      {std::string(1, '\0'), complete, 1, 0},
      {"\x7f", complete, 1, 0x7f},
      {"\xc2\x80", complete, 2, 0x80},
      {"\xdf\xbf", complete, 2, 0x7ff},
      {"\xe0\xa0\x80", complete, 3, 0x800},
      {"\xed\x9f\xbf", complete, 3, 0xd7ff},
      {"\xee\x80\x80", complete, 3, 0xe000},
      {"\xef\xbf\xbf", complete, 3, 0xffff},
      {"\xf0\x90\x80\x80", complete, 4, 0x10000},
      {"\xf4\x8f\xbf\xbf", complete, 4, 0x10ffff},
      {"\x80", invalid, 1, 0},              // a continuation byte alone
      {"\xc0\x80", invalid, 1, 0},          // overlong
      {"\xc1\xbf", invalid, 1, 0},          // overlong
      {"\xe0\x9f\xbf", invalid, 1, 0},      // overlong
      {"\xf0\x8f\xbf\xbf", invalid, 1, 0},  // overlong
      {"\xed\xa0\x80", invalid, 1, 0},      // surrogate
      {"\xf4\x90\x80\x80", invalid, 1, 0},  // above U+10FFFF
      {"\xf5\x80\x80\x80", invalid, 1, 0},
      {"\xff", invalid, 1, 0},
      {"\xe2\x82(", invalid, 2, 0},  // cut short by another character
      {"\xe2\x82", incomplete, 2, 0},
      {"\xf0\x9f\x98", incomplete, 3, 0},
  }));
  const Utf8 found = read_utf8(c.text);
  CAPTURE(c.text);
  CHECK(found.status == c.status);
  CHECK(found.size == c.size);
  CHECK(found.code_point == c.code_point);
}

TEST_CASE("a character is visible when it shows by itself") {
  for (const char32_t c : {U'A', U'~', U'\u00a1', U'\u00e9', U'\u0370', U'\u65e5', U'\uff41', U'\ufffd', U'\U0001f600'})
    CHECK(fbt::is_visible(c));
  for (const char32_t c : {U'\0', U'\n', U' ', U'\x7f', U'\u00a0', U'\u00ad', U'\u0301', U'\u200b', U'\u202e', U'\u3000',
                           U'\ue000', U'\ufeff', U'\uffff', U'\U0001ffff', U'\U000e0001', U'\U0010fffe'})
    CHECK_FALSE(fbt::is_visible(c));
}
