// AttentionMap: what a model looks at while it reads a text, as an SVG picture with a panel for every layer and head.
#pragma once

#include "support/plot.hpp"

#include "fbt/models/sequence_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

namespace example {

class AttentionMap {
 public:
  static constexpr std::size_t most_tokens = 200;  // more could not be told apart

  /// Reads the tokens one by one with an empty memory. names: of the tokens, for the margins. Throws std::invalid_argument
  /// when there are more than most_tokens, or one is outside the vocabulary.
  AttentionMap(const fbt::FeedbackTransformer<float>& model, fbt::Tokens tokens, std::vector<std::string> names)
      : names_(std::move(names)), layers_(model.config().layers), heads_(model.config().heads) {
    fbt::check(!tokens.empty() && tokens.size() <= most_tokens,
               "a map of attention holds from 1 to {} tokens, found {}; choose a part of the text", most_tokens,
               tokens.size());
    auto stepper = model.start(1);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      model.step(tokens.subspan(t, 1), stepper);
      for (fbt::Index l = 0; l < layers_; ++l) steps_.push_back(model.attention(l, stepper));
    }
  }

  std::string svg() const {
    const std::size_t count = names_.size();
    const double cell = std::clamp(640 / static_cast<double>(count), 3.0, 12.0), side = cell * static_cast<double>(count);
    std::size_t longest = 1;  // bytes of a name
    for (const std::string& name : names_) longest = std::max(longest, name.size());
    const double margin = 12 + 0.62 * cell * static_cast<double>(longest), gap = 28, top = 52;
    const double column = side + margin + gap, row = side + margin + gap;
    const double width = column * static_cast<double>(heads_) + 12, height = top + row * static_cast<double>(layers_);

    std::string out;
    const auto write = [&]<class... Args>(fmt::format_string<Args...> format, Args&&... args) {
      fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
    };
    write(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "font-family=\"monospace\" font-size=\"{2:.1f}\" fill=\"#333333\">\n",
        width, height, cell);
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
    for (fbt::Index l = 0; l < layers_; ++l) {
      for (fbt::Index j = 0; j < heads_; ++j) {
        const double x = margin + column * static_cast<double>(j), y = top + row * static_cast<double>(l);
        write("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"12\" font-family=\"sans-serif\">layer {}, head {}</text>\n", x,
              y - 6, l + 1, j + 1);
        write("<rect x=\"{0:.1f}\" y=\"{1:.1f}\" width=\"{2:.1f}\" height=\"{2:.1f}\" fill=\"none\" stroke=\"#cccccc\"/>\n",
              x, y, side);
        for (std::size_t i = 0; i < count; ++i) {
          const double middle = cell * (static_cast<double>(i) + 0.5);
          const std::string name = detail::escape_xml(names_[i]);
          write("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\" xml:space=\"preserve\">{}</text>\n", x - 4,
                y + middle + 0.35 * cell, name);
          write(
              "<text transform=\"translate({:.1f} {:.1f}) rotate(-90)\" text-anchor=\"end\" "
              "xml:space=\"preserve\">{}</text>\n",
              x + middle + 0.35 * cell, y + side + 4, name);
        }
        write("<g transform=\"translate({:.1f} {:.1f}) scale({:.3f})\">\n", x, y, cell);
        for (int shade = 1; shade <= shades; ++shade) {
          std::string squares;
          for (std::size_t t = 0; t < count; ++t) {
            const fbt::Matrix<float>& weights = steps_[t * static_cast<std::size_t>(layers_) + static_cast<std::size_t>(l)];
            for (fbt::Index i = 0; i < weights.rows(); ++i) {
              const fbt::Index seen = static_cast<fbt::Index>(t) - weights.rows() + i;  // below 0: from before the text
              if (seen >= 0 && shade_of(weights(i, j)) == shade) squares += fmt::format("M{} {}h1v1h-1z", seen, t);
            }
          }
          if (!squares.empty()) write("<path fill=\"{}\" d=\"{}\"/>\n", colour(shade), squares);
        }
        write("</g>\n");
      }
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

  std::vector<std::string> names_;
  fbt::Index layers_, heads_;
  std::vector<fbt::Matrix<float>> steps_;  // of each step the layers' weights (slots seen, heads)
};

}  // namespace example
