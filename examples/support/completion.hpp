// Completion: scripts by which a shell completes a program's commands, flags and their values, made from its CLI::App.
#pragma once

#include "fbt/core/names.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace example {

enum class Shell { bash, zsh, fish };

}  // namespace example

template <>
struct fbt::Names<example::Shell> {
  static constexpr std::array<std::pair<std::string_view, example::Shell>, 3> list{
      {{"bash", example::Shell::bash}, {"zsh", example::Shell::zsh}, {"fish", example::Shell::fish}}};
};

namespace example {

namespace detail {

/// What the scripts know of a flag, as add_flag() made it, and of the value of a positional.
struct CompletedFlag {
  std::string name, help;            ///< the name is empty for a positional
  std::vector<std::string> choices;  ///< of its value, if it has any
  bool takes_value = false, number = false;
};

struct CompletedCommand {
  std::string name, help;
  std::vector<CompletedFlag> flags;
};

inline CompletedCommand completed_command(const CLI::App& command) {
  CompletedCommand result{command.get_name(), command.get_description(), {}};
  for (const CLI::Option* option : command.get_options()) {
    CompletedFlag& flag = result.flags.emplace_back();
    if (!option->get_lnames().empty()) flag.name = "--" + option->get_lnames().front();
    flag.help = option->get_description();
    flag.takes_value = option->get_items_expected_max() > 0;
    const std::string type = option->get_type_name();
    flag.number = type == "INT" || type == "FLOAT";
    if (type.find('|') != type.npos) flag.choices = CLI::detail::split(type, '|');
  }
  return result;
}

inline std::string bash_completion(const std::string& program, const std::vector<CompletedCommand>& commands) {
  std::string values, flags, names;
  for (const CompletedCommand& command : commands) {
    names += ' ' + command.name;
    std::string all, numbers;
    for (const CompletedFlag& flag : command.flags) {
      if (!flag.name.empty()) all += ' ' + flag.name;
      const std::string pattern = flag.name.empty() ? "*" : flag.name;
      if (!flag.choices.empty())
        values += fmt::format("    {}:{}) words='{}' ;;\n", command.name, pattern, fmt::join(flag.choices, " "));
      else if (flag.number)
        numbers += fmt::format("{}{}:{}", numbers.empty() ? "" : " | ", command.name, flag.name);
      else if (flag.takes_value)
        values += fmt::format("    {}:{}) compopt -o default 2>/dev/null; return ;;\n", command.name, flag.name);
    }
    if (!numbers.empty()) values += fmt::format("    {}) return ;;\n", numbers);
    flags += fmt::format("        *:{}) words='{}' ;;\n", command.name, all);
  }
  return fmt::format(R"(# bash completion of {0}: source <({0} completion bash)
_{0}() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} words=
  [ "$current" != = ] || current=
  [ "$before" != = ] || before=${{COMP_WORDS[COMP_CWORD - 2]}}
  case ${{COMP_WORDS[1]}}:$before in
{1}    *)
      case $COMP_CWORD:${{COMP_WORDS[1]}} in
        1:*) words='{2} --help --version' ;;
{3}      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _{0} {0}
)",
                     program, values, names, flags);
}

/// A text within single quotes of a shell; the characters that are special there get a backslash.
inline std::string quoted(std::string_view text, std::string_view special) {
  std::string result = "'";
  for (const char c : text) {
    if (special.find(c) != special.npos) result += '\\';
    result += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return result + "'";
}

inline std::string zsh_completion(const std::string& program, const std::vector<CompletedCommand>& commands) {
  std::string names, flags;
  for (const CompletedCommand& command : commands) {
    names += ' ' + quoted(command.name + ':' + command.help, "");
    flags += fmt::format("    {}) _arguments", command.name);
    for (const CompletedFlag& flag : command.flags) {
      const std::string value = !flag.takes_value       ? ""
                                : !flag.choices.empty() ? fmt::format(":value:({})", fmt::join(flag.choices, " "))
                                : flag.number           ? ":number: "
                                                        : ":file:_files";
      if (flag.name.empty()) {
        flags += " \\\n      '1" + value + "'";
      } else {
        flags += fmt::format(" \\\n      {}'['{}']{}'", flag.name + (flag.takes_value ? "=" : ""),
                             quoted(flag.help, "[]:\\"), value);
      }
    }
    flags += " ;;\n";
  }
  return fmt::format(R"(#compdef {0}
# zsh completion of {0}: source <({0} completion zsh), after compinit
_{0}() {{
  local -a commands=({1})
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{2}  esac
}}
compdef _{0} {0}
)",
                     program, names, flags);
}

inline std::string fish_completion(const std::string& program, const std::vector<CompletedCommand>& commands) {
  std::string script = fmt::format("# fish completion of {0}: {0} completion fish | source\ncomplete -c {0} -f\n", program);
  for (const CompletedCommand& command : commands) {
    script += fmt::format("complete -c {} -n __fish_use_subcommand -a {} -d {}\n", program, command.name,
                          quoted(command.help, "\\"));
    for (const CompletedFlag& flag : command.flags) {
      script += fmt::format("complete -c {} -n '__fish_seen_subcommand_from {}'", program, command.name);
      if (!flag.name.empty()) script += fmt::format(" -l {} -d {}", flag.name.substr(2), quoted(flag.help, "\\"));
      if (!flag.choices.empty())
        script += fmt::format(" -x -a '{}'", fmt::join(flag.choices, " "));
      else if (flag.takes_value)
        script += flag.number ? " -x" : " -r -F";
      script += '\n';
    }
  }
  return script;
}

}  // namespace detail

/// The script for a shell, of an app with commands.
inline std::string completion(const CLI::App& app, const std::string& program, Shell shell) {
  std::vector<detail::CompletedCommand> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    commands.push_back(detail::completed_command(*command));
  switch (shell) {
    case Shell::bash: return detail::bash_completion(program, commands);
    case Shell::zsh: return detail::zsh_completion(program, commands);
    case Shell::fish: return detail::fish_completion(program, commands);
  }
  return "";
}

/// Adds the command that prints the script. Comes after the other commands.
inline void add_completion(CLI::App& app, const std::string& program) {
  auto* const command = app.add_subcommand("completion", "print the script by which a shell completes commands and flags");
  const auto print = [&app, program](const std::string& shell) {
    fmt::print("{}", completion(app, program, fbt::from_name<Shell>(shell, "completion")));
  };
  command->add_option_function<std::string>("shell", print, "for bash: source <(" + program + " completion bash)")
      ->type_name("bash|zsh|fish")
      ->required();
}

}  // namespace example
