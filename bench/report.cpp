// Measures training and decoding of the configurations, and sets them against what the machine can do.
#include "growth.hpp"
#include "in_child.hpp"
#include "measure.hpp"
#include "roofline.hpp"
#include "source_memory.hpp"
#include "speed.hpp"
#include "support/path_flag.hpp"
#include "support/program.hpp"

#include "fbt/core/check.hpp"
#include "fbt/io/atomic_file.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Json = nlohmann::ordered_json;

struct Column {
  const char* key;
  std::string_view title;
  const char* format;
};

std::vector<Column> speed_columns() {
  return {{"config", "config", "{}"},
          {"threads", "threads", "{}"},
          {"train_tokens_per_second", "train", "{:.0f}"},
          {"train_carried_tokens_per_second", "train, carried", "{:.0f}"},
          {"decode_tokens_per_second", "decode", "{:.0f}"},
          {"fma_fraction", "of FMA peak", "{:.2f}"},
          {"bandwidth_fraction", "of bandwidth", "{:.2f}"},
          {"peak_memory_mib", "peak MiB", "{:.0f}"},
          {"train_recompute_tokens_per_second", "recompute", "{:.0f}"},
          {"training_recompute_memory_mib", "MiB", "{:.0f}"},
          {"decode_8_tokens_per_second", "decode 8", "{:.0f}"},
          {"decode_32_tokens_per_second", "decode 32", "{:.0f}"},
          {"prompt_tokens_per_second", "prompt", "{:.0f}"},
          {"decode_bf16_tokens_per_second", "bf16", "{:.0f}"},
          {"decode_int8_tokens_per_second", "int8", "{:.0f}"},
          {"decode_int4_tokens_per_second", "int4", "{:.0f}"}};
}

std::vector<Column> growth_columns() {
  return {{"quantity", "quantity", "{}"},
          {"value", "value", "{}"},
          {"train_step_us", "train step, us", "{:.0f}"},
          {"train_token_us", "train token, us", "{:.2f}"},
          {"decode_step_us", "decode step, us", "{:.1f}"},
          {"transformer_decode_step_us", "transformer decode step, us", "{:.1f}"}};
}

std::vector<Column> source_columns() {
  return {{"layers", "layers", "{}"},
          {"decoder_mib", "decoder, MiB", "{:.0f}"},
          {"with_source_mib", "with a source", "{:.0f}"},
          {"ratio", "ratio", "{:.3f}"},
          {"encoder_decoder_mib", "and an encoder", "{:.0f}"}};
}

std::string cell(const Json& value, const char* format) {
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return fmt::format("{}", value.get<long>());
  return fmt::format(fmt::runtime(format), value.get<double>());
}

void print_row(const std::vector<Column>& columns, const Json& row) {
  for (const auto& [key, title, format] : columns)
    fmt::print("{:>{}}  ", cell(row.at(key), format), std::max<std::size_t>(title.size(), 7));
  example::print_now("\n");
}

void print_head(const std::vector<Column>& columns) {
  for (const Column& column : columns) fmt::print("{:>{}}  ", column.title, std::max<std::size_t>(column.title.size(), 7));
  fmt::print("\n");
}

}  // namespace

int main(int argc, char** argv) {
  bench::Effort effort;
  std::vector<std::string> names;
  for (const auto& configuration : bench::configurations) names.emplace_back(configuration.name);
  std::vector<std::string> chosen = names;
  std::vector<std::string> threads{"1", "2"};
  std::string json_file, svg_file;
  bool growth = false, source = false;

  CLI::App app{"Measures training and decoding, and how both grow with the sizes of the model."};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  auto* const config =
      app.add_option("--config", chosen, "configurations, such as A,B")->delimiter(',')->check(CLI::IsMember(names));
  auto* const counts = app.add_option("--threads", threads, "numbers of threads, such as 1,2")->delimiter(',');
  example::add_flag(app, "seconds", effort.seconds, "least time of one repetition");
  example::add_flag(app, "repetitions", effort.repetitions, "the best of so many is reported");
  example::add_path_flag(app, "json", json_file, "write the results to this file, too");
  app.add_flag("--growth", growth, "instead: time of a step against window, width, layers and lanes")
      ->excludes(config)
      ->excludes(counts);
  app.add_flag("--source", source,
               "instead: most memory of training a decoder, without and with attention to 100 source tokens")
      ->excludes(config)
      ->excludes(counts)
      ->excludes("--growth");
  example::add_path_flag(app, "svg", svg_file, "with --growth: draw the results to this file")->needs("--growth");

  return example::run(app, argc, argv, [&] {
    fbt::check(effort.seconds > 0, "--seconds must be above 0, found {}", effort.seconds);
    fbt::check(effort.repetitions >= 1 && effort.repetitions <= 1000, "--repetitions must be from 1 to 1000, found {}",
               effort.repetitions);
    std::vector<fbt::Index> thread_counts;
    for (const std::string& count : threads) {
      thread_counts.push_back(example::read_number<fbt::Index>(count, "--threads"));
      fbt::check(thread_counts.back() >= 1 && thread_counts.back() <= 1024, "--threads must be from 1 to 1024, found {}",
                 thread_counts.back());
    }
    fmt::print("{}, vectors of {} bytes; the best of {} repetitions of at least {} s; tokens per second\n\n",
               bench::compiler(), fbt::detail::vector_bytes, effort.repetitions, effort.seconds);
    Json rows = Json::array();
    const auto columns = growth ? growth_columns() : source ? source_columns() : speed_columns();
    print_head(columns);
    const auto report = [&](const Json& row) {
      print_row(columns, row);
      rows.push_back(row);
    };
    if (growth) {
      bench::measure_growth(effort, report);
      if (!svg_file.empty()) fbt::write_atomically(svg_file, {bench::growth_plot(rows).svg()});
    } else if (source) {
      bench::measure_source_memory(report);
    } else {
      for (const auto& configuration : bench::configurations) {
        if (std::find(chosen.begin(), chosen.end(), configuration.name) == chosen.end()) continue;
        for (const fbt::Index count : thread_counts) report(bench::measure_speed(configuration, count, effort));
      }
    }
    if (!json_file.empty()) fbt::write_atomically(json_file, {rows.dump(2) + '\n'});
    return 0;
  });
}
