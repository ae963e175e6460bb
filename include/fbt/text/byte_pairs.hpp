// Byte-pair encoding (Sennrich et al., arXiv 1508.07909): a text is cut into words, and in every word neighbours are joined,
// those first whose whole comes first in a vocabulary, until it holds no whole of two neighbours.
#pragma once

#include "fbt/core/types.hpp"
#include "fbt/text/utf8.hpp"

#include <algorithm>
#include <cstddef>
#include <queue>
#include <string_view>
#include <tuple>
#include <vector>

namespace fbt {

/// Calls f for every word of a text, from its first byte to its last. A word is a line end, or spaces and what follows them
/// up to the next space or line end.
template <class F>
void for_each_word(std::string_view text, F&& f) {
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    if (text[at] != '\n') {
      end = text.find_first_of(" \n", text.find_first_not_of(' ', at));
      end = std::min(end, text.size());
    }
    f(text.substr(at, end - at));
    at = end;
  }
}

/// Calls f with the tokens that a word is encoded to, in their order. find gives the token of a piece of text, or -1; it has
/// to know every byte. The word is at first its characters, and those that have no token their bytes; smaller tokens are
/// joined first, and of equal ones the first in the word. Takes O(n log n) for n bytes.
template <class Find, class F>
void join_pairs(std::string_view word, const Find& find, F&& f) {
  struct Piece {
    std::size_t size = 0, before = 0;  // 0 bytes: none begins here; where the one before it begins
    Token token = -1;
  };
  struct Pair {
    Token token;
    std::size_t at, size;
    bool operator<(const Pair& other) const { return std::tie(token, at) > std::tie(other.token, other.at); }
  };
  std::vector<Piece> pieces(word.size());  // by where they begin
  std::priority_queue<Pair> pairs;         // the first to be joined is its top
  const auto consider = [&](std::size_t at) {
    const std::size_t next = at + pieces[at].size;
    if (next == word.size()) return;
    const std::size_t size = pieces[at].size + pieces[next].size;
    if (const Token token = find(word.substr(at, size)); token >= 0) pairs.push({token, at, size});
  };

  for (std::size_t at = 0, before = 0; at < word.size(); before = at, at += pieces[at].size) {
    const Utf8 character = read_utf8(word.substr(at));
    std::size_t size = character.status == Utf8::Status::complete ? character.size : 1;
    Token token = find(word.substr(at, size));
    if (token < 0) {
      size = 1;
      token = find(word.substr(at, size));
    }
    pieces[at] = {size, before, token};
    if (at > 0) consider(before);
  }
  while (!pairs.empty()) {
    const Pair pair = pairs.top();
    pairs.pop();
    Piece& first = pieces[pair.at];
    const std::size_t next = pair.at + first.size, end = pair.at + pair.size;
    if (first.size == 0 || next == word.size() || first.size + pieces[next].size != pair.size) continue;  // joined otherwise
    pieces[next].size = 0;
    first.size = pair.size;
    first.token = pair.token;
    if (end < word.size()) pieces[end].before = pair.at;
    if (pair.at > 0) consider(first.before);
    consider(pair.at);
  }
  for (std::size_t at = 0; at < word.size(); at += pieces[at].size) f(pieces[at].token);
}

}  // namespace fbt
