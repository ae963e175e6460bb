// Plot: a line chart as an SVG picture.
#pragma once

#include "fbt/text/utf8.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace example {

struct Series {
  std::string name;
  std::vector<double> x, y;  ///< points; those that are not finite are left out
};

struct Plot {
  std::string title, x_label, y_label;
  std::vector<Series> series;

  std::string svg() const;
};

namespace detail {

/// What XML forbids even so, some control characters, U+FFFE, U+FFFF and bytes of no character, becomes U+FFFD.
inline std::string escape_xml(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const fbt::Utf8 c = fbt::read_utf8(text);
    const bool control = c.code_point < 0x20 && c.code_point != '\t' && c.code_point != '\n' && c.code_point != '\r';
    if (c.status != fbt::Utf8::Status::complete || control || c.code_point == 0xfffe || c.code_point == 0xffff) {
      result += "\xef\xbf\xbd";
    } else if (c.code_point == '&') {
      result += "&amp;";
    } else if (c.code_point == '<') {
      result += "&lt;";
    } else if (c.code_point == '>') {
      result += "&gt;";
    } else if (c.code_point == '"') {
      result += "&quot;";
    } else {
      result += text.substr(0, c.size);
    }
    text.remove_prefix(c.size);
  }
  return result;
}

/// The range of one coordinate, with ticks at multiples of 1, 2 or 5 times a power of ten, mapped to pixels.
class Axis {
 public:
  void include(double value) {
    least_ = std::min(least_, value);
    most_ = std::max(most_, value);
  }

  /// Chooses ticks for the values that were included, and lets them span the pixels from `from` to `to`.
  void fit(double from, double to, int ticks) {
    if (least_ > most_) least_ = 0, most_ = 1;
    if (least_ == most_) least_ -= 0.5, most_ += 0.5;
    const double raw = (most_ - least_) / ticks;
    const double power = std::pow(10, std::floor(std::log10(raw)));
    step_ = power * (raw <= power ? 1 : raw <= 2 * power ? 2 : raw <= 5 * power ? 5 : 10);
    digits_ = std::max(0, static_cast<int>(-std::floor(std::log10(step_) + 1e-9)));
    const double margin = 0.02 * (most_ - least_);
    least_ -= margin;
    most_ += margin;
    from_ = from;
    scale_ = (to - from) / (most_ - least_);
  }

  double pixel(double value) const { return from_ + scale_ * (value - least_); }

  std::vector<double> ticks() const {
    std::vector<double> result;
    for (double i = std::ceil(least_ / step_); i * step_ <= most_; ++i) result.push_back(i * step_ + 0.0);
    return result;
  }
  std::string label(double tick) const { return fmt::format("{:.{}f}", tick, digits_); }

 private:
  double least_ = std::numeric_limits<double>::infinity(), most_ = -least_;
  double step_ = 1, from_ = 0, scale_ = 1;
  int digits_ = 0;
};

}  // namespace detail

inline std::string Plot::svg() const {
  constexpr double width = 860, height = 460, left = 72, right = 660, top = 48, bottom = 400;
  constexpr std::array colours{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3c8d", "#666666"};
  constexpr std::size_t few = 12;  // points that are worth a mark each

  detail::Axis horizontal, vertical;
  std::vector<std::vector<std::size_t>> finite(series.size());  // the points to draw
  for (std::size_t s = 0; s < series.size(); ++s) {
    const auto& [name, x, y] = series[s];
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!std::isfinite(x[i]) || !std::isfinite(y[i])) continue;
      finite[s].push_back(i);
      horizontal.include(x[i]);
      vertical.include(y[i]);
    }
  }
  horizontal.fit(left, right, 8);
  vertical.fit(bottom, top, 7);

  std::string out;
  const auto write = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
  };
  const auto text = [&](double x, double y, std::string_view anchor, std::string_view content, std::string_view more = "") {
    write("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor, more,
          detail::escape_xml(content));
  };
  const auto line = [&](double x1, double y1, double x2, double y2, std::string_view style) {
    write("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, style);
  };

  write(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" font-size=\"13\" fill=\"#333333\">\n",
      width, height);
  write("<rect width=\"{}\" height=\"{}\" fill=\"#ffffff\"/>\n", width, height);
  text((left + right) / 2, 28, "middle", title, " font-size=\"16\"");
  for (const double tick : horizontal.ticks()) {
    const double x = horizontal.pixel(tick);
    line(x, top, x, bottom, "stroke=\"#e6e6e6\"");
    text(x, bottom + 20, "middle", horizontal.label(tick));
  }
  for (const double tick : vertical.ticks()) {
    const double y = vertical.pixel(tick);
    line(left, y, right, y, "stroke=\"#e6e6e6\"");
    text(left - 8, y + 4, "end", vertical.label(tick));
  }
  line(left, bottom, right, bottom, "stroke=\"#333333\"");
  line(left, top, left, bottom, "stroke=\"#333333\"");
  text((left + right) / 2, bottom + 44, "middle", x_label);
  text(20, (top + bottom) / 2, "middle", y_label, fmt::format(" transform=\"rotate(-90 20 {})\"", (top + bottom) / 2));

  for (std::size_t s = 0; s < series.size(); ++s) {
    const auto& [name, x, y] = series[s];
    const std::string colour = colours[s % colours.size()];
    const std::string stroke =
        fmt::format("stroke=\"{}\" stroke-width=\"2\"{}", colour, s < colours.size() ? "" : " stroke-dasharray=\"6 3\"");
    write("<polyline fill=\"none\" stroke-linejoin=\"round\" {} points=\"", stroke);
    for (const std::size_t i : finite[s]) write("{:.1f},{:.1f} ", horizontal.pixel(x[i]), vertical.pixel(y[i]));
    write("\"/>\n");
    if (finite[s].size() <= few) {
      for (const std::size_t i : finite[s])
        write("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n", horizontal.pixel(x[i]), vertical.pixel(y[i]),
              colour);
    }
    const double legend =
        top + 12 + std::min(22.0, (bottom - top) / static_cast<double>(series.size())) * static_cast<double>(s);
    line(right + 16, legend, right + 40, legend, stroke);
    text(right + 48, legend + 4, "start", name);
  }
  out += "</svg>\n";
  return out;
}

}  // namespace example
