// `generate`: continues a text.
#pragma once

#include "language_model/model_file.hpp"
#include "support/flags.hpp"
#include "support/text_file.hpp"

#include "fbt/core/processors.hpp"
#include "fbt/generation/generate.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace example {

struct GenerateFlags {
  std::string model, prompt, prompt_file;
  std::vector<std::string> stop;
  fbt::GenerationOptions options;
  fbt::Index count = 1;
  fbt::Index threads = fbt::available_processors();
};

inline void add_generate_flags(CLI::App& command, GenerateFlags& flags) {
  auto& sampling = flags.options.sampling;
  add_flag(command, "model", flags.model, "model file that train or import_checkpoint wrote")->required();
  auto* const prompt = add_flag(command, "prompt", flags.prompt,
                                "text to continue; none: begin with a new line; a model without a vocabulary reads and "
                                "writes the numbers of tokens, as in \"3 1 4\"");
  add_flag(command, "prompt-file", flags.prompt_file, "file with the text to continue")->excludes(prompt);
  add_flag(command, "length", flags.options.length, "the most tokens to write");
  add_flag(command, "count", flags.count,
           "texts to write side by side, each with the next seed; more than 1 are printed when all have ended");
  add_flag(command, "temperature", sampling.temperature, "divides the logits; 0: always the most likely token");
  add_flag(command, "top-k", sampling.top_k, "keep so many of the most likely tokens; 0: all");
  add_flag(command, "top-p", sampling.top_p, "keep the most likely tokens that together reach this probability; 1: all");
  add_flag(command, "min-p", sampling.min_p, "keep tokens at least so many times as likely as the most likely; 0: all");
  add_flag(command, "repetition-penalty", sampling.repetition_penalty, "makes recent tokens less likely; 1: none");
  add_flag(command, "repetition-window", sampling.repetition_window, "how many tokens are recent");
  add_flag(command, "seed", sampling.seed, "for the draws; the same seed writes the same text");
  add_flag(command, "threads", flags.threads, "most threads to work on; the text does not depend on it");
  command.add_option("--stop", flags.stop, "text to end before; may be given several times")->allow_extra_args(false);
}

namespace detail {

inline void write_text(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  fbt::ensure(written, "cannot write the text to the standard output: {}", std::strerror(errno));
}

/// Writes the prompt and its continuation to the standard output, token by token.
inline void write_one(const TextModel& text_model, const std::string& prompt, fbt::Tokens tokens,
                      const GenerateFlags& flags) {
  fbt::StreamDecoder decoder(text_model.vocabulary);
  flags.options.validate();
  write_text(prompt);
  const auto emit = [&](fbt::Token token) {
    write_text(decoder.add(token));
    return true;
  };
  fbt::generate(text_model.model, tokens, flags.options, emit, flags.threads);
  write_text(decoder.finish() + "\n");
}

/// Writes the prompt with so many continuations, one after the other, when all are known.
inline void write_many(const TextModel& text_model, const std::string& prompt, const std::vector<fbt::Token>& tokens,
                       const GenerateFlags& flags) {
  const auto count = static_cast<std::size_t>(flags.count);
  std::vector<fbt::GenerationRequest> requests(count, {tokens, flags.options});
  for (std::size_t i = 0; i < count; ++i) requests[i].options.sampling.seed += i;
  std::vector<fbt::StreamDecoder> decoders(count, fbt::StreamDecoder(text_model.vocabulary));
  std::vector<std::string> texts(count, prompt);
  const auto emit = [&](std::size_t i, fbt::Token token) {
    texts[i] += decoders[i].add(token);
    return true;
  };
  fbt::generate(text_model.model, requests, std::min<fbt::Index>(flags.count, 16), emit, flags.threads);
  for (std::size_t i = 0; i < count; ++i) write_text((i > 0 ? "\n" : "") + texts[i] + decoders[i].finish() + "\n");
}

}  // namespace detail

inline void generate(GenerateFlags flags) {
  fbt::check(flags.count >= 1 && flags.count <= 1000, "--count must be from 1 to 1000, found {}", flags.count);
  const TextModel text_model = load_text_model(flags.model);
  const fbt::Vocabulary& vocabulary = text_model.vocabulary;
  const std::string prompt = flags.prompt_file.empty() ? flags.prompt : read_text_file(flags.prompt_file);
  std::vector<fbt::Token> tokens = vocabulary.encode(prompt, flags.prompt_file.empty() ? "the prompt" : flags.prompt_file);
  if (tokens.empty()) tokens = vocabulary.contains("\n") ? vocabulary.encode("\n", "") : std::vector<fbt::Token>{0};
  for (const std::string& stop : flags.stop) flags.options.stop.push_back(vocabulary.encode(stop, "--stop"));
  if (flags.count == 1) {
    detail::write_one(text_model, prompt, tokens, flags);
  } else {
    detail::write_many(text_model, prompt, tokens, flags);
  }
}

}  // namespace example
