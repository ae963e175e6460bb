// Printer: how a text that is written comes to be printed.
#pragma once

#include "language_model/stop_texts.hpp"

#include "fbt/generation/generate.hpp"
#include "fbt/text/vocabulary.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace example {

struct PrintOptions {
  bool no_prompt = false;              ///< without what was there before
  bool raw = false;                    ///< the bytes of the tokens as they are
  bool logprobs = false;               ///< a line for every token
  bool json = false;                   ///< a line of JSON for the text, with all its tokens
  std::vector<std::string> stop = {};  ///< texts to end before, which may begin and end within tokens
};

/// Of one text. What each member returns is to be printed, one after the other.
class Printer {
 public:
  Printer(const fbt::Vocabulary& vocabulary, const PrintOptions& options, std::string prompt, std::uint64_t seed)
      : vocabulary_(vocabulary),
        options_(options),
        decoder_(vocabulary),
        stop_(options.stop),
        prompt_(std::move(prompt)),
        seed_(seed) {}

  std::string begin() {
    // a character that the prompt leaves incomplete is printed with the first token that completes it
    shown_prompt_ = decoder_.add(prompt_);
    if (options_.no_prompt || options_.logprobs || options_.json) return "";
    return options_.raw ? prompt_ : shown_prompt_;
  }

  std::string add(const fbt::Drawn& drawn) {
    const std::string text = stop_.add(options_.raw ? vocabulary_.text(drawn.token) : decoder_.add(drawn.token));
    if (options_.raw) return text;
    if (options_.logprobs) return fmt::format("{:.4f}\t{}\n", drawn.log_probability, vocabulary_.label(drawn.token));
    if (!options_.json) return text;
    text_ += text;
    tokens_.push_back({{"token", drawn.token}, {"text", text}, {"logprob", drawn.log_probability}});
    return "";
  }

  /// Whether the text has come to one to end before.
  bool ended() const { return stop_.ended(); }

  std::string finish() {
    if (options_.logprobs) return "";
    std::string rest = options_.raw ? "" : stop_.add(decoder_.finish());
    rest += stop_.finish();
    if (options_.raw) return rest;
    if (!options_.json) return rest + "\n";
    nlohmann::ordered_json line;
    if (!options_.no_prompt) line["prompt"] = shown_prompt_;
    line["text"] = text_ + rest;
    line["seed"] = seed_;
    line["tokens"] = tokens_;
    return line.dump() + "\n";
  }

 private:
  const fbt::Vocabulary& vocabulary_;
  PrintOptions options_;
  fbt::StreamDecoder decoder_;
  StopTexts stop_;
  std::string prompt_, shown_prompt_, text_;
  std::uint64_t seed_;
  nlohmann::ordered_json tokens_ = nlohmann::ordered_json::array();
};

}  // namespace example
