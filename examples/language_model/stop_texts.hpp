// StopTexts: lets a text through up to the first of some texts that end it.
#pragma once

#include "fbt/core/check.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace example {

class StopTexts {
 public:
  /// Throws std::invalid_argument when one is empty.
  explicit StopTexts(std::vector<std::string> stops) : stops_(std::move(stops)) {
    for (const std::string& stop : stops_) fbt::check(!stop.empty(), "--stop: expected a text, found none");
  }

  /// What of the text up to here belongs to none of them and has not been returned yet. What may be the beginning of one is
  /// held back.
  std::string add(std::string_view piece) {
    if (ended_) return "";
    held_ += piece;
    std::size_t free = held_.size();
    for (const std::string& stop : stops_) {
      if (const std::size_t found = held_.find(stop); found != held_.npos) {
        ended_ = true;
        free = std::min(free, found);
      }
    }
    for (std::size_t at = 0; at < free && !ended_; ++at)
      if (std::any_of(stops_.begin(), stops_.end(),
                      [&](const std::string& stop) { return stop.starts_with(std::string_view(held_).substr(at)); }))
        free = at;
    std::string text = held_.substr(0, free);
    held_.erase(0, ended_ ? held_.npos : free);
    return text;
  }

  /// Whether one of them has come.
  bool ended() const { return ended_; }

  /// What was held back, when no more follows.
  std::string finish() { return std::exchange(held_, ""); }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool ended_ = false;
};

}  // namespace example
