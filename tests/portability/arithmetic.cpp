// A small model, whatever flags and macros it is compiled with: exp, logits, a training update, and the checks for numbers
// that are not finite. Prints what is wrong; the expected numbers are those of double, without any flags.
#include <fbt/generation/generate.hpp>
#include <fbt/kernels/simd.hpp>
#include <fbt/models/sequence_model.hpp>
#include <fbt/training/trainer.hpp>

#include <cmath>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <vector>

namespace {

int faults = 0;

void expect(bool right, const char* what, double found) {
  if (right) return;
  std::printf("%s: found %.12g\n", what, found);
  ++faults;
}

template <class Scalar>
void check_exp(double tolerance) {
  if constexpr (fbt::detail::has_simd<Scalar>) {
    double worst = 0;
    for (int i = 0; i <= 8000; ++i) {
      const auto x = static_cast<Scalar>(-0.01 * i);
      const Scalar y = fbt::detail::exp_negative<Scalar>(fbt::detail::SimdOf<Scalar>{} + x)[0];
      const double expected = std::exp(static_cast<double>(x));
      worst = std::max(worst, std::abs(static_cast<double>(y) - expected) / expected);
    }
    expect(worst < tolerance, "exp: the largest relative error", worst);
  }
}

const fbt::Config config{.vocabulary = 11, .width = 16, .layers = 3, .heads = 2, .window = 7};

template <class Scalar>
void check_model(double tolerance) {
  fbt::Random random(3);
  fbt::FeedbackTransformer<Scalar> model(config, random);
  model.core.aggregator.mix.weight.setZero();
  auto stepper = model.start(2);
  fbt::Matrix<Scalar> logits;
  for (int t = 0; t < 20; ++t) logits = model.step(std::vector<fbt::Token>{t % 11, (3 * t + 1) % 11}, stepper);
  const auto at = [&](fbt::Index i, fbt::Index b) { return static_cast<double>(logits(i, b)); };
  expect(std::abs(at(0, 0) - 0.784265693143) < tolerance, "logit 0 of lane 0", at(0, 0));
  expect(std::abs(at(10, 1) - 0.202124025198) < tolerance, "logit 10 of lane 1", at(10, 1));

  std::vector<fbt::Token> text;
  for (int i = 0; i < 321; ++i) text.push_back((7 * i + i * i / 3) % 11);
  fbt::Adam<fbt::FeedbackTransformer<Scalar>> adam(model);
  fbt::Trainer trainer(model, adam, fbt::Batches(text, {.lanes = 4, .segment = 16}), fbt::TrainerOptions{.shards = 2});
  trainer.update(1e-3);
  const auto report = trainer.update(1e-3);
  expect(std::abs(report.loss - 2.51170664161) < tolerance, "loss of the second update", report.loss);
  expect(std::abs(report.gradient_norm - 1.5512135408) < tolerance, "norm of its gradient", report.gradient_norm);

  model.head.linear.bias(2) = std::numeric_limits<Scalar>::quiet_NaN();
  try {
    trainer.update(1e-3);
    expect(false, "training with a bias that is not a number: an update", 1);
  } catch (const std::runtime_error&) {
  }
  model.head.linear.bias.setConstant(std::numeric_limits<Scalar>::infinity());
  try {
    const std::vector<fbt::Token> prompt{1};
    fbt::generate(model, prompt, {.length = 1}, [](fbt::Token) { return true; });
    expect(false, "generation with infinite logits: a token", 1);
  } catch (const std::runtime_error&) {
  }
}

}  // namespace

int main() {
  check_exp<float>(5e-7);
  check_exp<double>(1e-15);
  check_model<float>(2e-5);
  check_model<double>(1e-9);
  return faults == 0 ? 0 : 1;
}
