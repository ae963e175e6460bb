// A language model from top to bottom: a text is read, a Feedback Transformer learns to predict its next character, and
// writes on.
//   train_text FILE [SECONDS]      (60 seconds by default)
// The larger program language_model does the same with checkpoints, curves, Unicode and all options.
#include "support/run.hpp"

#include <fbt/fbt.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

/// Seconds since the program began.
double clock_seconds() {
  static const auto begin = std::chrono::steady_clock::now();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void run(const std::string& path, double seconds) {
  // The text as tokens: its characters, numbered.
  std::ifstream file(path, std::ios::binary);
  fbt::ensure(file.good(), "{}: cannot open the file", path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const fbt::Vocabulary vocabulary(fbt::TokenKind::character, text, path);
  const std::vector<fbt::Token> tokens = vocabulary.encode(text, path);

  // The last tenth is held out, to see how well the model predicts what it has not learned.
  const std::size_t held_out = tokens.size() / 10;
  const fbt::Tokens training = fbt::Tokens(tokens).first(tokens.size() - held_out);
  const fbt::Tokens validation = fbt::Tokens(tokens).last(held_out);

  // The model: every step attends to the memory vectors of the 64 steps before it, each a mix of all layers of its step.
  const fbt::Config config{.vocabulary = vocabulary.size(), .width = 128, .layers = 4, .heads = 4, .window = 64};
  fbt::Random random(1);
  fbt::FeedbackTransformer<float> model(config, random);
  fmt::print("{} characters, {} different ones, {} parameters\n", tokens.size(), vocabulary.size(),
             fbt::count_parameters(model));

  // Training: 16 places of the text are read side by side, 64 characters between two updates. Then the next 64, with the
  // memory carried on: gradients reach 64 steps back, the memory further.
  fbt::Adam adam(model, {.weight_decay = 0.1});
  const fbt::Schedule schedule{.peak = 3e-3, .warmup = 50};
  const auto threads = fbt::available_processors();
  fbt::Trainer trainer(model, adam, fbt::Batches(training, {.lanes = 16, .segment = 64}), {.shards = 1, .threads = threads});

  // A validation reads 20,000 characters in one run, step by step, as the model would in use.
  const auto validate = [&] {
    return fbt::evaluate(model, validation.first(std::min<std::size_t>(validation.size(), 20'000)), {.threads = threads})
        .mean();
  };

  double progress = 0, reported = 0, loss = 0, characters = 0;  // loss: a running mean
  while (progress < 1) {
    const auto report = trainer.update(schedule.rate(adam.updates, progress), progress);
    loss = adam.updates == 1 ? report.loss : 0.95 * loss + 0.05 * report.loss;
    characters += static_cast<double>(report.tokens);
    progress = std::min(1.0, clock_seconds() / seconds);
    if (clock_seconds() > reported + 2 || progress == 1) {
      reported = clock_seconds();
      fmt::print("update {:5}  loss {:.3f} nats/character  rate {:.4f}  {:6.0f} characters/s  {:3.0f} s left\n",
                 adam.updates, loss, report.learning_rate, characters / reported, seconds - reported);
      std::fflush(stdout);
    }
  }
  fmt::print("validation loss {:.3f} nats per character\n\n", validate());

  // A sample: the model reads the beginning of the held-out text, then draws one character after another.
  const fbt::Tokens prompt = validation.first(std::min<std::size_t>(validation.size(), 50));
  fbt::StreamDecoder decoder(vocabulary);
  const auto write = [&](fbt::Token token) {
    fmt::print("{}", decoder.add(token));
    std::fflush(stdout);
    return true;
  };
  for (const fbt::Token token : prompt) write(token);
  fmt::print("|");
  fbt::generate(model, prompt, {.length = 400, .sampling = {.temperature = 0.7}}, write, threads);
  fmt::print("{}\n", decoder.finish());
}

int main(int argc, char** argv) {
  return example::run([&] {
    fbt::check(argc == 2 || argc == 3, "usage: train_text FILE [SECONDS]");
    const double seconds = argc == 3 ? std::atof(argv[2]) : 60;
    fbt::check(seconds > 0, "expected a number of seconds above 0, found {}", argv[2]);
    run(argv[1], seconds);
    return 0;
  });
}
