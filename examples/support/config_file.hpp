// Flags in a file: a line "name = value" for each, as in TOML. A value is a number, a word, "text" as in JSON, 'text' as it
// is, or a list of them in brackets; what follows a # is a comment.
#pragma once

#include "support/path_flag.hpp"
#include "support/text_file.hpp"

#include "fbt/core/check.hpp"

#include <CLI/CLI.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <exception>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace example {

struct ConfigLine {
  std::string place;  ///< "FILE:LINE", for messages
  std::string name;
  std::vector<std::string> values;
};

namespace detail {

/// Reads a line from its left end.
class ConfigReader {
 public:
  ConfigReader(std::string_view line, std::string_view place) : line_(line), left_(line), place_(place) { skip_spaces(); }

  /// At the end of the line, or before a comment.
  bool done() const { return left_.empty() || left_.front() == '#'; }

  bool take(char sign) {
    if (!left_.starts_with(sign)) return false;
    left_.remove_prefix(1);
    skip_spaces();
    return true;
  }

  bool ends_list() const { return left_.starts_with(']'); }

  std::string take_word() { return cut(std::min(left_.size(), left_.find_first_of(" \t\r=,[]#\"'"))); }

  std::string take_value() {
    if (left_.starts_with('\'')) {
      const std::string text = cut(closing('\''));
      return text.substr(1, text.size() - 2);
    }
    if (!left_.starts_with('"')) return take_word();
    const auto text = nlohmann::json::parse(cut(closing('"')), nullptr, false);
    expect(text.is_string());
    return text.get<std::string>();
  }

  void expect(bool condition) const {
    fbt::check(condition, "{}: expected a flag as in: name = 12, name = \"text\" or name = [\"one\", \"two\"], found {:?}",
               place_, line_);
  }

 private:
  /// How far it is to the end of a text that begins and ends with the given sign.
  std::size_t closing(char sign) const {
    std::size_t at = 1;
    while (at < left_.size() && left_[at] != sign) at += sign == '"' && left_[at] == '\\' ? 2 : 1;
    expect(at < left_.size());
    return at + 1;
  }
  std::string cut(std::size_t size) {
    expect(size > 0);
    const std::string part(left_.substr(0, size));
    left_.remove_prefix(size);
    skip_spaces();
    return part;
  }
  void skip_spaces() { left_.remove_prefix(std::min(left_.size(), left_.find_first_not_of(" \t\r"))); }

  std::string_view line_, left_, place_;
};

}  // namespace detail

/// The flags in a text. Throws std::invalid_argument that names the file and line of what is none, or comes twice.
inline std::vector<ConfigLine> read_config_lines(const std::string& text, std::string_view file) {
  std::vector<ConfigLine> lines;
  std::set<std::string> names;
  std::istringstream stream(text);
  int number = 0;
  for (std::string line; std::getline(stream, line);) {
    const std::string place = fmt::format("{}:{}", file, ++number);
    detail::ConfigReader reader(line, place);
    if (reader.done()) continue;
    ConfigLine flag{place, reader.take_word(), {}};
    reader.expect(reader.take('='));
    if (reader.take('[')) {
      do {
        flag.values.push_back(reader.take_value());
      } while (reader.take(',') && !reader.ends_list());
      reader.expect(reader.take(']'));
    } else {
      flag.values.push_back(reader.take_value());
    }
    reader.expect(reader.done());
    fbt::check(names.insert(flag.name).second, "{}: expected every flag once, found {} again", place, flag.name);
    lines.push_back(std::move(flag));
  }
  return lines;
}

/// Adds the flag --config to a command: a file with flags of the command, of which those on the command line count more.
/// Afterwards from_file, which has to outlive the command, has the names of those that it has set.
inline void add_config_flag(CLI::App& command, std::set<std::string>& from_file) {
  const auto read = [&command, &from_file](const std::string& path) {
    for (const ConfigLine& line : read_config_lines(read_text_file(path), path)) {
      CLI::Option* const option = command.get_option_no_throw("--" + line.name);
      fbt::check(option && option->get_configurable(), "{}: expected a flag of {} that a file may set, found {}", line.place,
                 command.get_name(), line.name);
      fbt::check(line.values.size() == 1 || option->get_items_expected_max() > 1,
                 "{}: expected one value of {}, found a list of {}", line.place, line.name, line.values.size());
      if (option->count() > 0) continue;
      try {
        option->add_result(line.values);
        option->run_callback();
        from_file.insert(line.name);
      } catch (const std::exception& error) {
        throw std::invalid_argument(fmt::format("{}: {}", line.place, error.what()));
      }
    }
  };
  command
      .add_option_function<std::string>("--config", read,
                                        "file with flags, each in a line name = value; those on the command line count more")
      ->check(refuse_empty_path, "")
      ->configurable(false);
}

/// What add_config_flag() reads, from flags as JSON; those that are null are left out.
inline std::string write_config_lines(const nlohmann::ordered_json& flags) {
  std::string text;
  for (const auto& [name, value] : flags.items())
    if (!value.is_null())
      text += fmt::format("{} = {}\n", name, value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return text;
}

}  // namespace example
