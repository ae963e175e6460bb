// Paths: where an agent went, as an SVG picture with a panel for every episode.
#pragma once

#include "agent/grid.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace example::agent {

/// Where the agent stands on a map (environment.hpp); row 0, column 0 when it is not on it.
inline Cell find_agent(const std::vector<std::string>& map) {
  for (std::size_t row = 0; row < map.size(); ++row)
    if (const auto column = map[row].find('@'); column != std::string::npos)
      return {static_cast<fbt::Index>(row), static_cast<fbt::Index>(column)};
  return {};
}

class Paths {
 public:
  /// Begins a panel with the first map of an episode.
  void begin(const std::vector<std::string>& map) {
    panels_.push_back({"", map, {}});
    add(map);
  }
  /// The map after an action.
  void add(const std::vector<std::string>& map) {
    Panel& panel = panels_.back();
    panel.path.push_back(find_agent(map));
    for (std::size_t row = 0; row < map.size(); ++row)  // what the agent has stood on
      for (std::size_t column = 0; column < map[row].size(); ++column)
        if (panel.map[row][column] == '@') panel.map[row][column] = map[row][column];
  }
  void end(std::string title) { panels_.back().title = std::move(title); }

  /// Walls are grey, things of the task coloured. A path is light where it begins and dark where it ends; a dot stands where
  /// the agent was put.
  std::string svg() const {
    constexpr double margin = 12, title = 20;
    std::size_t columns = 1;
    for (const Panel& panel : panels_) columns = std::max(columns, panel.map.front().size());
    const double cell = std::clamp(900 / static_cast<double>(columns), 1.0, 24.0);
    const double panel_width = std::max(280.0, cell * static_cast<double>(columns)) + margin;
    const auto across = std::max<std::size_t>(1, static_cast<std::size_t>(1200 / panel_width));
    std::string panels;
    double y = margin;
    for (std::size_t i = 0; i < panels_.size(); i += across) {
      std::size_t rows = 0;
      for (std::size_t j = i; j < std::min(i + across, panels_.size()); ++j) {
        draw(panels_[j], margin + panel_width * static_cast<double>(j - i), y + title, cell, panels);
        rows = std::max(rows, panels_[j].map.size());
      }
      y += title + cell * static_cast<double>(rows) + margin;
    }
    return fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "font-family=\"sans-serif\" font-size=\"12\" fill=\"#333333\">\n<rect width=\"100%\" height=\"100%\" "
        "fill=\"#ffffff\"/>\n{2}</svg>\n",
        margin + panel_width * static_cast<double>(std::min(across, std::max<std::size_t>(1, panels_.size()))), y, panels);
  }

 private:
  struct Panel {
    std::string title;
    std::vector<std::string> map;
    std::vector<Cell> path;
  };

  static void draw(const Panel& panel, double x, double y, double cell, std::string& out) {
    const auto write = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
      fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
    };
    const auto middle = [&](fbt::Index cells) { return cell * (static_cast<double>(cells) + 0.5); };
    write("<g transform=\"translate({:.1f} {:.1f})\">\n<text y=\"-6\">{}</text>\n", x, y, panel.title);
    write("<rect width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" stroke=\"#cccccc\"/>\n",
          cell * static_cast<double>(panel.map.front().size()), cell * static_cast<double>(panel.map.size()));
    for (std::size_t row = 0; row < panel.map.size(); ++row) {
      for (std::size_t column = 0; column < panel.map[row].size(); ++column) {
        const char c = panel.map[row][column];
        if (c != '#' && std::isalpha(static_cast<unsigned char>(c)) == 0) continue;
        write("<rect x=\"{0:.1f}\" y=\"{1:.1f}\" width=\"{2:.1f}\" height=\"{2:.1f}\" fill=\"{3}\"/>\n",
              cell * static_cast<double>(column), cell * static_cast<double>(row), cell, colour(c));
      }
    }
    std::size_t from = 0;
    for (std::size_t i = 1; i <= panel.path.size(); ++i) {
      if (i < panel.path.size() && near(panel.path[i - 1], panel.path[i])) continue;
      // the piece from..i-1, shifted a little so that pieces in the same cells can be told apart
      const double age = static_cast<double>(from) / static_cast<double>(panel.path.size());
      const int light = static_cast<int>(200 * (1 - age));
      const double shift = 0.3 * cell * (age - 0.5);
      const std::string ink = fmt::format("#{:02x}{:02x}{:02x}", light, light, 128 + light / 2);
      write("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"{}\"/>\n", middle(panel.path[from].column) + shift,
            middle(panel.path[from].row) + shift, std::max(1.0, 0.15 * cell), ink);
      write("<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"", ink);
      for (; from < i; ++from)
        write("{:.1f},{:.1f} ", middle(panel.path[from].column) + shift, middle(panel.path[from].row) + shift);
      write("\"/>\n");
    }
    write("</g>\n");
  }

  /// Whether one step leads from one cell to the other.
  static bool near(Cell a, Cell b) { return std::abs(a.row - b.row) + std::abs(a.column - b.column) <= 1; }

  static const char* colour(char c) {
    constexpr std::array colours{"#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00"};
    return c == '#' ? "#888888" : colours[static_cast<std::size_t>(std::tolower(c) - 'a') % colours.size()];
  }

  std::vector<Panel> panels_;
};

}  // namespace example::agent
