// Metrics: what a training reports, as lines of JSON and as pictures.
#pragma once

#include "support/plot.hpp"
#include "support/text_file.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace example {

/// Losses in nats per token; the training loss is the mean since the report before.
struct Report {
  static constexpr double none = std::numeric_limits<double>::quiet_NaN();

  std::int64_t update = 0;
  double seconds = 0;  ///< since the training began, pauses left out
  double train_loss = none;
  double validation_loss = none;  ///< none: not evaluated at this update
  double tokens_per_second = 0, learning_rate = 0, gradient_norm = 0;
  std::vector<double> layer_weights;  ///< softmax weights of the layers 0..L in the memory
};

/// Calls f(name, field) for every field, with the names they have in files.
template <class F, class Same>
void visit_report(F&& f, Same& report) {
  f("update", report.update);
  f("seconds", report.seconds);
  f("train_loss", report.train_loss);
  f("validation_loss", report.validation_loss);
  f("tokens_per_second", report.tokens_per_second);
  f("learning_rate", report.learning_rate);
  f("gradient_norm", report.gradient_norm);
  f("layer_weights", report.layer_weights);
}

/// "1:05", or "2:01:05" with hours.
inline std::string clock_text(double seconds) {
  const auto total = static_cast<long>(std::clamp(seconds, 0.0, 1e9) + 0.5);
  const long hours = total / 3600, minutes = total / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60)
                   : fmt::format("{}:{:02}", minutes, total % 60);
}

/// A report for the reader who watches.
inline std::string progress_line(const Report& report) {
  const std::string validation = std::isfinite(report.validation_loss) ? fmt::format("{:.4f}", report.validation_loss) : "";
  return fmt::format("update {:6}  loss {:.4f}  validation {:6}  norm {:5.2f}  rate {:.2e}  {:6.0f} tokens/s", report.update,
                     report.train_loss, validation, report.gradient_norm, report.learning_rate, report.tokens_per_second);
}

/// One JSON object per line; a number that is not finite becomes null.
inline std::string write_metrics(const std::vector<Report>& reports) {
  std::string lines;
  for (const Report& report : reports) {
    nlohmann::ordered_json json;
    visit_report([&](const char* name, const auto& value) { json[name] = value; }, report);
    lines += json.dump() + '\n';
  }
  return lines;
}

/// The reports in a file up to the given update; none when there is no file. Lines that are no reports, as a full disk or a
/// crash may leave, are left out, and the standard error stream is told of them.
inline std::vector<Report> read_metrics(const std::filesystem::path& path, std::int64_t last_update) {
  std::vector<Report> reports;
  std::error_code none;
  if (!std::filesystem::is_regular_file(path, none) || std::filesystem::file_size(path, none) == 0) return reports;
  std::istringstream lines(read_text_file(path));
  int number = 0, first_damaged = 0, damaged = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    try {
      const auto json = nlohmann::json::parse(line);
      Report report;
      visit_report(
          [&]<class T>(const char* name, T& value) {
            if (!json.at(name).is_null()) value = json.at(name).template get<T>();
          },
          report);
      if (report.update <= last_update) reports.push_back(std::move(report));
    } catch (const nlohmann::json::exception&) {
      if (damaged++ == 0) first_damaged = number;
    }
  }
  if (damaged > 0)
    fmt::print(stderr, "warning: {}: {} of {} lines are no reports, the first of them line {}; they are left out\n",
               path.string(), damaged, number, first_damaged);
  return reports;
}

/// Training and validation loss over the updates.
inline Plot loss_plot(const std::vector<Report>& reports) {
  Plot plot{"Loss", "updates", "nats per token", {{"training", {}, {}}, {"validation", {}, {}}}};
  for (const Report& report : reports) {
    const auto update = static_cast<double>(report.update);
    for (auto& [series, loss] : {std::pair{&plot.series[0], report.train_loss}, {&plot.series[1], report.validation_loss}}) {
      if (!std::isfinite(loss)) continue;
      series->x.push_back(update);
      series->y.push_back(loss);
    }
  }
  return plot;
}

/// The share of every layer's output in the memory, over the updates.
inline Plot layer_weights_plot(const std::vector<Report>& reports) {
  Plot plot{"What the memory holds: softmax layer weights", "updates", "weight", {}};
  for (const Report& report : reports) {
    plot.series.resize(std::max(plot.series.size(), report.layer_weights.size()));
    for (std::size_t l = 0; l < report.layer_weights.size(); ++l) {
      plot.series[l].name = l == 0 ? "layer 0 (embedding)" : fmt::format("layer {}", l);
      plot.series[l].x.push_back(static_cast<double>(report.update));
      plot.series[l].y.push_back(report.layer_weights[l]);
    }
  }
  return plot;
}

}  // namespace example
