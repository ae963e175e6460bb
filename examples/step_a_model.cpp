// A program of one's own: builds a small Feedback Transformer, trains it on a sentence, then steps it token by token.
#include <fbt/fbt.hpp>

#include <string>
#include <vector>

int main() {
  const std::string sentence = "what the top layer found out, the next step may read at the bottom. ";
  std::vector<fbt::Token> tokens;
  for (int i = 0; i < 20; ++i) tokens.insert(tokens.end(), sentence.begin(), sentence.end());

  fbt::Config config;
  config.vocabulary = 128;  // the tokens are ASCII codes
  config.width = 32;
  config.layers = 2;
  config.window = 16;
  fbt::Random random(1);
  fbt::FeedbackTransformer<float> model(config, random);

  fbt::TrainerOptions options;
  options.lanes = 4;
  options.segment = 32;
  options.schedule = {.peak = 1e-2, .warmup = 10};
  fbt::Trainer trainer(model, tokens, options);
  constexpr int updates = 150;
  for (int i = 0; i < updates; ++i) {
    const auto report = trainer.update(static_cast<double>(i) / updates);
    if (i % 30 == 0) fmt::print("update {:3}  loss {:.3f}\n", i, report.loss);
  }

  auto stepper = model.start(1);  // one lane with an empty memory
  std::string text = "what the top ";
  for (std::size_t i = 0; i + 1 < sentence.size(); ++i) {
    const fbt::Token token = text[i];
    const auto& logits = model.step({&token, 1}, stepper);  // (V, 1), of the token after this one
    fbt::Index best;
    logits.col(0).maxCoeff(&best);
    if (i + 1 == text.size()) text += static_cast<char>(best);
  }
  fmt::print("{}\n", text);
  return text == sentence ? 0 : 1;
}
