// Messages about arguments: what was probably meant by a word that is none of the known ones, and flags by their names.
#pragma once

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cctype>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace example {

/// How many letters have to be inserted, left out, replaced, or swapped with their neighbour to make one word of another.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last(b.size() + 1), now(b.size() + 1);  // rows i - 2, i - 1 and i of the table
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before = last;
    std::swap(last, now);
  }
  return last[b.size()];
}

/// The known word that is most like the given one; none when all are too different.
inline std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const bool begun = word.size() >= 2 && candidate.starts_with(word);
    if (const std::size_t distance = begun ? 1 : edit_distance(word, candidate); distance < least) {
      best = candidate;
      least = distance;
    }
  }
  return best;
}

/// What is wrong with the arguments: a word that is no command or flag, if there is one, tells more than what is missing.
inline std::string describe(const CLI::App& app, const CLI::ParseError& error) {
  std::vector<std::string> unknown = app.remaining(true);
  const bool has_commands = !app.get_subcommands([](const CLI::App*) { return true; }).empty();
  const auto chosen = app.get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  const bool no_command = has_commands && chosen.empty();
  const auto is_flag = [](const std::string& word) { return word.starts_with("-"); };
  auto word = std::find_if(unknown.begin(), unknown.end(), is_flag);
  if (word == unknown.end() || (no_command && !is_flag(unknown.front()))) word = unknown.begin();
  if (word == unknown.end()) return error.what();

  std::vector<std::string> known;
  if (is_flag(*word)) {
    word->resize(std::min(word->size(), word->find('=')));
    for (const CLI::Option* option : command.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  } else if (no_command) {
    for (const CLI::App* each : app.get_subcommands([](const CLI::App*) { return true; })) known.push_back(each->get_name());
  }
  const std::string meant = nearest(*word, known);
  return fmt::format("unexpected {}{}", *word, meant.empty() ? "" : fmt::format("; did you mean {}?", meant));
}

/// A message with the flags' names where it has those of the library's options as words: --head-size for head_size, but a
/// file runs/head_size.txt stays.
inline std::string with_flags(const CLI::App& app, std::string message) {
  const auto in_word = [&](std::size_t at) {
    return at < message.size() && (std::isalnum(static_cast<unsigned char>(message[at])) != 0 ||
                                   std::string_view("_-/").find(message[at]) != message.npos);
  };
  const auto continues = [&](std::size_t at) {
    return in_word(at) || (at < message.size() && message[at] == '.' && in_word(at + 1));
  };
  const auto follows = [&](std::size_t at) { return at > 0 && (in_word(at - 1) || message[at - 1] == '.'); };
  for (const CLI::App* command : app.get_subcommands()) {
    for (const CLI::Option* option : command->get_options()) {
      std::string name = option->get_single_name();
      std::replace(name.begin(), name.end(), '-', '_');
      if (name.find('_') == name.npos) continue;
      const std::string flag = "--" + option->get_single_name();
      for (std::size_t at = 0; (at = message.find(name, at)) != message.npos;) {
        const bool is_word = !follows(at) && !continues(at + name.size());
        if (is_word) message.replace(at, name.size(), flag);
        at += is_word ? flag.size() : name.size();
      }
    }
  }
  return message;
}

}  // namespace example
