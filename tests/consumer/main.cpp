#include <fbt/fbt.hpp>

#include <cstdio>

int main() {
  fbt::Config config;
  config.vocabulary = 10;
  config.width = 16;
  config.layers = 2;
  config.heads = 2;
  config.window = 4;
  fbt::Random random(1);
  const fbt::FeedbackTransformer<float> model(config, random);
  auto stepper = model.start(1);
  fbt::Token token = 1;
  for (int i = 0; i < 8; ++i) {
    fbt::Index next = 0;
    model.step(fbt::Tokens(&token, 1), stepper).col(0).maxCoeff(&next);
    token = static_cast<fbt::Token>(next);
    std::printf("%d ", static_cast<int>(token));
  }
  std::puts("");
}
