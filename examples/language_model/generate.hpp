// `generate`: continues texts.
#pragma once

#include "language_model/model_file.hpp"
#include "language_model/printer.hpp"
#include "support/path_flag.hpp"
#include "support/stopwatch.hpp"
#include "support/text_file.hpp"

#include "fbt/core/processors.hpp"
#include "fbt/generation/generate.hpp"
#include "fbt/generation/session.hpp"
#include "fbt/io/session_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <numeric>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

namespace example {

struct GenerateFlags {
  std::string model, prompt_file, prompts_file, save_state, load_state;
  std::vector<std::string> prompts, stop;
  fbt::GenerationOptions options;
  fbt::Index count = 1;
  fbt::Execution execution{fbt::available_processors()};
  bool interactive = false, quiet = false;
  PrintOptions print;
};

inline void add_generate_flags(CLI::App& command, GenerateFlags& flags) {
  auto& sampling = flags.options.sampling;
  add_model_flags(command, flags.model);
  auto* const prompt = add_flag(command, "prompt", flags.prompts,
                                "text to continue; none: begin with a new line; a model without a vocabulary reads and "
                                "writes the numbers of tokens, as in \"3 1 4\"; may be given several times, for texts side "
                                "by side");
  auto* const file =
      add_path_flag(command, "prompt-file", flags.prompt_file, "file with the text to continue; -: the standard input");
  auto* const lines = add_path_flag(command, "prompts-file", flags.prompts_file,
                                    "file with a text to continue in every line; -: the standard input");
  file->excludes(prompt)->excludes(lines);
  lines->excludes(prompt);
  add_flag(command, "interactive", flags.interactive,
           "read a line, continue it, and so on to the end of the input, with everything before it in memory; an empty line "
           "goes on where the text is");
  add_path_flag(command, "load-state", flags.load_state, "go on after the text of which --save-state kept the state");
  add_path_flag(command, "save-state", flags.save_state, "file to keep at the end what the model remembers of the text");
  add_flag(command, "length", flags.options.length, "the most tokens to write");
  add_flag(command, "count", flags.count,
           "texts to write of every prompt side by side, each with the next seed; several texts are printed when all have "
           "ended");
  add_flag(command, "temperature", sampling.temperature, "divides the logits; 0: always the most likely token");
  add_flag(command, "top-k", sampling.top_k, "keep so many of the most likely tokens; 0: all");
  add_flag(command, "top-p", sampling.top_p, "keep the most likely tokens that together reach this probability; 1: all");
  add_flag(command, "min-p", sampling.min_p, "keep tokens at least so many times as likely as the most likely; 0: all");
  add_flag(command, "repetition-penalty", sampling.repetition_penalty, "makes recent tokens less likely; 1: none");
  add_flag(command, "repetition-window", sampling.repetition_window, "how many tokens are recent");
  add_flag(command, "seed", sampling.seed, "for the draws; the same seed writes the same text");
  add_execution_flags(command, flags.execution);
  add_flag(command, "stop", flags.stop,
           "text to end before; may be given several times; of subwords, --save-state and the next lines of --interactive "
           "remember it");
  add_flag(command, "no-prompt", flags.print.no_prompt, "print what is written without the text before it");
  auto* const raw =
      add_flag(command, "raw", flags.print.raw, "print the bytes of a model of bytes as they are, and no others");
  auto* const logprobs = add_flag(command, "logprobs", flags.print.logprobs,
                                  "print every token that is written in a line of its own, after the logarithm of the "
                                  "probability that the model gave it (natural, at temperature 1)");
  auto* const json =
      add_flag(command, "json", flags.print.json, "print a line of JSON for every text, with --logprobs' numbers");
  raw->excludes(logprobs)->excludes(json);
  logprobs->excludes(json);
  add_flag(command, "quiet", flags.quiet, "no signs and no speed on the standard error stream of a terminal");
}

/// Throws std::invalid_argument for flags that would have no effect.
inline void refuse_vain_flags(const GenerateFlags& flags, const CLI::App& command) {
  const auto& sampling = flags.options.sampling;
  if (sampling.temperature == 0) {
    refuse_flags(command, {"top-k", "top-p", "min-p", "seed"}, "at --temperature 0: the most likely token is taken");
    fbt::check(flags.count == 1, "--count {} has no effect at --temperature 0: all texts would be the same", flags.count);
  } else if (sampling.top_k == 1) {
    refuse_flags(command, {"temperature", "top-p", "min-p", "seed"}, "with --top-k 1: the most likely token is taken");
    fbt::check(flags.count == 1, "--count {} has no effect with --top-k 1: all texts would be the same", flags.count);
  }
  if (sampling.repetition_penalty == 1) refuse_flags(command, {"repetition-window"}, "without a --repetition-penalty but 1");
  if (sampling.repetition_window == 0) refuse_flags(command, {"repetition-penalty"}, "with --repetition-window 0");
  if (flags.options.length == 0)
    refuse_flags(command,
                 {"count", "stop", "seed", "temperature", "top-k", "top-p", "min-p", "repetition-penalty", "logprobs"},
                 "with --length 0: no token is drawn");
  if (flags.print.logprobs) refuse_flags(command, {"no-prompt"}, "with --logprobs, which prints no prompt");
  fbt::check(!flags.interactive || (flags.prompt_file != "-" && flags.prompts_file != "-"),
             "--interactive reads lines from the standard input: expected the prompt from elsewhere, found -");
}

namespace detail {

/// The prompts that the flags give, and what each is called in messages.
inline std::vector<NamedText> read_prompts(const GenerateFlags& flags) {
  std::vector<NamedText> prompts;
  if (!flags.prompt_file.empty()) {
    prompts.push_back({flags.prompt_file, read_text_file(flags.prompt_file)});
  } else if (!flags.prompts_file.empty()) {
    std::istringstream lines(read_text_file(flags.prompts_file));
    for (std::string line; std::getline(lines, line);) {
      if (line.ends_with('\r')) line.pop_back();
      prompts.push_back({fmt::format("{}, line {}", flags.prompts_file, prompts.size() + 1), line});
    }
  }
  for (const std::string& prompt : flags.prompts) prompts.push_back({"the prompt", prompt});
  return prompts;
}

inline void write_text(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  fbt::ensure(written, "cannot write the text to the standard output: {}", std::strerror(errno));
}

/// What a text begins with when nothing is given.
inline std::vector<fbt::Token> beginning(const fbt::Vocabulary& vocabulary) {
  return vocabulary.contains("\n") ? vocabulary.encode("\n", "") : std::vector<fbt::Token>{0};
}

inline fbt::Session<Model> begin_session(const TextModel& text_model, const GenerateFlags& flags) {
  if (flags.load_state.empty()) return fbt::Session<Model>(text_model.model, flags.execution);
  return fbt::load_session(flags.load_state, text_model.model, flags.execution).session;
}

/// Reads tokens, of the given text, and prints them and how they go on, token by token. Returns how many were written.
inline fbt::Index write_one(const fbt::Vocabulary& vocabulary, fbt::Session<Model>& session, std::vector<fbt::Token> tokens,
                            const std::string& text, const fbt::GenerationOptions& options, const PrintOptions& print) {
  if (tokens.empty() && session.text().empty()) tokens = beginning(vocabulary);
  Printer printer(vocabulary, print, text, options.sampling.seed);
  session.read(tokens);
  write_text(printer.begin());
  const fbt::Index count = session.write(options, [&](const fbt::Drawn& drawn) {
    write_text(printer.add(drawn));
    return !printer.ended();
  });
  write_text(printer.finish());
  return count;
}

/// A turn for every line of the standard input, each with the next seed. Lines are put into lines of their own, where the
/// vocabulary has line ends. Returns how many tokens were written.
inline fbt::Index converse(const fbt::Vocabulary& vocabulary, fbt::Session<Model>& session, const GenerateFlags& flags) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  fbt::GenerationOptions options = flags.options;
  fbt::Index count = 0;
  std::string line;
  for (int number = 1;; ++number) {
    if (terminal && !flags.quiet) fmt::print(stderr, "> ");
    if (!read_line(line)) break;
    std::vector<fbt::Token> tokens;
    try {
      tokens = encode_text(vocabulary, line, fmt::format("line {}", number));
    } catch (const std::exception& error) {
      if (!terminal) throw;
      fmt::print(stderr, "{}\n", error.what());
      continue;
    }
    if (!tokens.empty() && !session.text().empty() && vocabulary.contains("\n")) {
      const fbt::Token line_end = vocabulary.encode("\n", "").front();
      if (session.text().back() != line_end) tokens.insert(tokens.begin(), line_end);
    }
    count += write_one(vocabulary, session, tokens, line, options, flags.print);
    ++options.sampling.seed;
  }
  return count;
}

/// Prints prompts with so many continuations each, one after the other, when all are known. Returns how many tokens were
/// written.
inline fbt::Index write_many(const TextModel& text_model, const std::vector<NamedText>& prompts,
                             const GenerateFlags& flags) {
  const fbt::Vocabulary& vocabulary = text_model.vocabulary;
  std::vector<fbt::GenerationRequest> requests;
  std::vector<Printer> printers;
  std::vector<std::string> texts;
  for (const NamedText& prompt : prompts) {
    std::vector<fbt::Token> tokens = encode_text(vocabulary, prompt.text, prompt.name);
    if (tokens.empty()) tokens = beginning(vocabulary);
    for (fbt::Index i = 0; i < flags.count; ++i) {
      requests.push_back({tokens, flags.options});
      std::uint64_t& seed = requests.back().options.sampling.seed;
      seed += static_cast<std::uint64_t>(i);
      texts.push_back(printers.emplace_back(vocabulary, flags.print, prompt.text, seed).begin());
    }
  }
  const auto emit = [&](std::size_t i, const fbt::Drawn& drawn) {
    texts[i] += printers[i].add(drawn);
    return !printers[i].ended();
  };
  const fbt::Index lanes = std::min<fbt::Index>(static_cast<fbt::Index>(requests.size()), 16);
  const std::vector<fbt::Index> counts = fbt::generate(text_model.model, requests, lanes, emit, flags.execution);
  const char* const between = flags.print.json ? "" : "\n";
  for (std::size_t i = 0; i < texts.size(); ++i) write_text((i > 0 ? between : "") + texts[i] + printers[i].finish());
  return std::accumulate(counts.begin(), counts.end(), fbt::Index{0});
}

}  // namespace detail

/// command: which flags were given.
inline void generate(GenerateFlags flags, const CLI::App& command) {
  fbt::check(flags.count >= 1 && flags.count <= 1000, "--count must be from 1 to 1000, found {}", flags.count);
  refuse_vain_flags(flags, command);
  std::vector<NamedText> prompts = detail::read_prompts(flags);
  if (!flags.interactive && prompts.empty()) prompts.push_back({"the prompt", ""});
  const bool one_session = flags.interactive || !flags.save_state.empty() || !flags.load_state.empty() || flags.print.raw;
  const auto texts = static_cast<fbt::Index>(std::max<std::size_t>(prompts.size(), 1)) * flags.count;
  fbt::check(
      texts == 1 || !one_session,
      "--interactive, --save-state, --load-state and --raw are for one text, found {}; give one prompt, without --count",
      texts);
  const TextModel text_model = load_text_model(flags.model);
  const fbt::Vocabulary& vocabulary = text_model.vocabulary;
  if (vocabulary.kind() == fbt::TokenKind::character || vocabulary.kind() == fbt::TokenKind::number)
    refuse_flags(command, {"raw"}, fmt::format("with {}: its tokens are no bytes", flags.model));
  if (vocabulary.kind() == fbt::TokenKind::subword) {
    flags.print.stop = flags.stop;  // one text may come as many sequences of tokens
  } else {
    for (const std::string& stop : flags.stop) flags.options.stop.push_back(vocabulary.encode(stop, "--stop"));
  }
  flags.options.validate();

  const Stopwatch watch;
  fbt::Index count = 0;
  if (texts > 1) {
    count = detail::write_many(text_model, prompts, flags);
  } else {
    fbt::Session<Model> session = detail::begin_session(text_model, flags);
    for (const auto& [name, text] : prompts)
      count += detail::write_one(vocabulary, session, encode_text(vocabulary, text, name), text, flags.options, flags.print);
    const auto save = [&] {
      if (!flags.save_state.empty())
        fbt::save_session(flags.save_state, session, {{"model", fbt::is_utf8(flags.model) ? flags.model : ""}});
    };
    try {
      if (flags.interactive) count += detail::converse(vocabulary, session, flags);
    } catch (const std::exception&) {
      if (session.can_go_on() && !session.text().empty()) save();  // up to the line that is at fault
      throw;
    }
    save();
  }
  if (!flags.quiet && isatty(STDERR_FILENO) != 0)
    fmt::print(stderr, "{} tokens, {:.0f} tokens/s\n", count, static_cast<double>(count) / watch.seconds());
}

}  // namespace example
