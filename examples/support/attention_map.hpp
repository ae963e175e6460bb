// AttentionMap: what a model looks at while it reads a text, as an SVG picture with a panel for every layer and head.
// attention_page.hpp makes a page of it.
#pragma once

#include "support/plot.hpp"

#include "fbt/models/sequence_model.hpp"
#include "fbt/text/utf8.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace example {

/// Which of a model's layers and heads are shown, counted from 1; 0: all.
struct Shown {
  fbt::Index layer = 0, head = 0;
};

class AttentionMap {
 public:
  static constexpr std::size_t most_tokens = 200;  // more could not be told apart

  struct Panel {
    fbt::Index layer, head;                   ///< counted from 1
    std::vector<std::vector<float>> weights;  ///< of every token (row), on the tokens before it: the last of them, or all
  };

  /// Reads the tokens one by one with an empty memory. names: of the tokens, for the margins. Throws std::invalid_argument
  /// when there are more than most_tokens, one is outside the vocabulary, or there is no such layer or head, and
  /// std::runtime_error when a weight is not finite.
  AttentionMap(const fbt::FeedbackTransformer<float>& model, fbt::Tokens tokens, std::vector<std::string> names,
               const Shown& shown)
      : names_(names), row_names_(std::move(names)) {
    fbt::check(!tokens.empty() && tokens.size() <= most_tokens,
               "a map of attention holds from 1 to {} tokens, found {}; choose a part of the text", most_tokens,
               tokens.size());
    const auto range = [](const char* name, fbt::Index chosen, fbt::Index count) {
      fbt::check(chosen >= 0 && chosen <= count, "--{}: the model has {}; expected one of them, or 0 for all, found {}",
                 name, count, chosen);
      return chosen > 0 ? std::pair{chosen, chosen} : std::pair{fbt::Index{1}, count};
    };
    const auto [first_layer, last_layer] = range("layer", shown.layer, model.config().layers);
    const auto [first_head, last_head] = range("head", shown.head, model.config().heads);
    rows_ = last_layer - first_layer + 1;
    columns_ = last_head - first_head + 1;
    for (fbt::Index l = first_layer; l <= last_layer; ++l)
      for (fbt::Index j = first_head; j <= last_head; ++j) panels_.push_back({l, j, {}});
    auto stepper = model.start(1);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      model.step(tokens.subspan(t, 1), stepper);
      for (Panel& panel : panels_) {
        const fbt::Matrix<float> all = model.attention(panel.layer - 1, stepper);  // (slots, heads)
        fbt::ensure(all.allFinite(), "attention: expected finite weights, found others at token {}", t);
        const auto within = all.col(panel.head - 1).tail(std::min(all.rows(), static_cast<fbt::Index>(t)));  // the text
        panel.weights.emplace_back(within.begin(), within.end());
      }
    }
  }

  /// Of weights that are known: every row has one for every column. Panels as those of panels(), so many side by side.
  AttentionMap(std::vector<std::string> row_names, std::vector<std::string> names, std::vector<Panel> panels,
               fbt::Index side_by_side)
      : names_(std::move(names)),
        row_names_(std::move(row_names)),
        rows_((static_cast<fbt::Index>(panels.size()) + side_by_side - 1) / side_by_side),
        columns_(side_by_side),
        whole_(true),
        panels_(std::move(panels)) {
    fbt::check(names_.size() <= most_tokens && row_names_.size() <= most_tokens,
               "a map of attention holds at most {} tokens, found {} and {}", most_tokens, row_names_.size(), names_.size());
  }

  const std::vector<std::string>& names() const { return names_; }
  /// Layer by layer, each with all heads that are shown.
  const std::vector<Panel>& panels() const { return panels_; }

  std::string svg() const {
    const std::size_t count = names_.size(), lines_count = row_names_.size(), most = std::max(count, lines_count);
    const bool single = panels_.size() == 1;
    const double cell = single ? std::clamp(960 / static_cast<double>(most), 8.0, 16.0)
                               : std::clamp(640 / static_cast<double>(most), 6.0, 12.0);
    const double side = cell * static_cast<double>(count), down = cell * static_cast<double>(lines_count);
    double longest = 0;
    for (const auto* names : {&names_, &row_names_})
      for (const std::string& name : *names) longest = std::max(longest, width_of(name));
    const bool upright = longest < 1.1;  // single letters need not be turned below their columns
    const double font = 0.86 * cell, margin = 12 + font * std::max(longest, 1.2), gap = 28, top = 52;
    const double column = side + margin + gap, row = down + margin + gap;
    const double width = std::max(960.0, column * static_cast<double>(columns_) + 12);
    const double height = top + row * static_cast<double>(rows_);

    std::string out;
    const auto write = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
      fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
    };
    write(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "font-family=\"monospace\" font-size=\"{2:.1f}\" fill=\"#333333\">\n",
        width, height, font);
    write("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
    write(
        "<text x=\"12\" y=\"20\" font-size=\"14\" font-family=\"sans-serif\">What each token (row) looks at (column); "
        "weight:</text>\n");
    for (int shade = 1; shade <= shades; ++shade) {  // the legend
      const double x = 430 + 58 * (shade - 1);
      write(
          "<rect x=\"{0}\" y=\"9\" width=\"12\" height=\"12\" fill=\"{1}\"/><text x=\"{2}\" y=\"19\" "
          "font-size=\"11\">{3:.2g}</text>\n",
          x, colour(shade), x + 15, std::pow(static_cast<double>(shade) / shades, 2));
    }
    for (std::size_t p = 0; p < panels_.size(); ++p) {
      const Panel& panel = panels_[p];
      const double x = margin + column * static_cast<double>(static_cast<fbt::Index>(p) % columns_);
      const double y = top + row * static_cast<double>(static_cast<fbt::Index>(p) / columns_);
      write("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"12\" font-family=\"sans-serif\">layer {}, head {}</text>\n", x,
            y - 6, panel.layer, panel.head);
      write("<rect x=\"{0:.1f}\" y=\"{1:.1f}\" width=\"{2:.1f}\" height=\"{3:.1f}\" fill=\"none\" stroke=\"#cccccc\"/>\n", x,
            y, side, down);
      std::string lines;  // to follow a row or a column by
      for (std::size_t i = 5; i < most; i += 5) {
        if (i < lines_count) lines += fmt::format("M0 {}h{}", i, count);
        if (i < count) lines += fmt::format("M{} 0v{}", i, lines_count);
      }
      write("<g transform=\"translate({:.1f} {:.1f}) scale({:.3f})\">\n", x, y, cell);
      write("<path fill=\"none\" stroke=\"#dddddd\" stroke-width=\"{:.3f}\" d=\"{}\"/>\n", 0.5 / cell, lines);
      for (int shade = 1; shade <= shades; ++shade) {
        std::string squares;
        for (std::size_t t = 0; t < lines_count; ++t) {
          const std::vector<float>& weights = panel.weights[t];
          const std::size_t first = whole_ ? 0 : t - weights.size();
          for (std::size_t i = 0; i < weights.size(); ++i)
            if (shade_of(weights[i]) == shade) squares += fmt::format("M{} {}h1v1h-1z", first + i, t);
        }
        if (!squares.empty()) write("<path fill=\"{}\" d=\"{}\"/>\n", colour(shade), squares);
      }
      write("</g>\n");
      const auto middle = [cell](std::size_t i) { return cell * (static_cast<double>(i) + 0.5); };
      for (std::size_t i = 0; i < lines_count; ++i)
        write("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\" xml:space=\"preserve\">{}</text>\n", x - 4,
              y + middle(i) + 0.3 * font, detail::escape_xml(row_names_[i]));
      const double shift = upright ? 0 : 0.3 * font, below = y + down + (upright ? font : 4);
      for (std::size_t i = 0; i < count; ++i)
        write("<text transform=\"translate({:.1f} {:.1f}){}\" text-anchor=\"{}\" xml:space=\"preserve\">{}</text>\n",
              x + middle(i) + shift, below, upright ? "" : " rotate(-90)", upright ? "middle" : "end",
              detail::escape_xml(names_[i]));
    }
    out += "</svg>\n";
    return out;
  }

 private:
  static constexpr int shades = 8;
  /// By the root of the weight, so that one of many slots can be seen, too; 0: not drawn.
  static int shade_of(float weight) {
    return static_cast<int>(std::lround(shades * std::sqrt(static_cast<double>(weight))));
  }
  static std::string colour(int shade) {
    const double share = static_cast<double>(shade) / shades;
    const auto mix = [share](int dark) { return static_cast<int>(std::lround(255 + share * (dark - 255))); };
    return fmt::format("#{:02x}{:02x}{:02x}", mix(8), mix(48), mix(107));
  }
  /// Of a name, in sizes of the font: about that of its letters, and as much as that of wide ones.
  static double width_of(std::string_view name) {
    double width = 0;
    while (!name.empty()) {
      const fbt::Utf8 character = fbt::read_utf8(name);
      width += character.code_point < 0x2e80 ? 0.62 : 1.05;
      name.remove_prefix(character.size);
    }
    return width;
  }

  std::vector<std::string> names_, row_names_;
  fbt::Index rows_ = 0, columns_ = 0;
  bool whole_ = false;  // rows of weights are of all columns, not of those up to their own
  std::vector<Panel> panels_;
};

}  // namespace example
