// Vectors in, vectors out: a forecast of the Mackey-Glass series (1977), a chaotic one whose next value depends on the one
// 17 units of time ago. The model reads one number per step and predicts the one after 6 further steps; what a step needs of
// the past is in its memory.
//   regression [PICTURE]      (forecast.svg by default)
#include "support/plot.hpp"
#include "support/run.hpp"

#include <fbt/fbt.hpp>

#include <cmath>
#include <string>
#include <vector>

/// dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t), a value per unit of time, by steps of 0.1 (Runge and Kutta, with
/// the delayed value taken as linear within a step).
fbt::Matrix<float> mackey_glass(fbt::Index length) {
  constexpr int delay = 170, per_value = 10;
  constexpr double h = 0.1;
  std::vector<double> x(delay + 1, 1.2);
  const auto slope = [](double value, double delayed) { return 0.2 * delayed / (1 + std::pow(delayed, 10)) - 0.1 * value; };
  const fbt::Index transient = 500;
  for (fbt::Index i = 0; i < (length + transient) * per_value; ++i) {
    const double now = x.back(), before = x[x.size() - 1 - delay], after = x[x.size() - delay],
                 middle = (before + after) / 2;
    const double k1 = slope(now, before), k2 = slope(now + h / 2 * k1, middle), k3 = slope(now + h / 2 * k2, middle);
    const double k4 = slope(now + h * k3, after);
    x.push_back(now + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4));
  }
  fbt::Matrix<float> values(1, length);
  for (fbt::Index i = 0; i < length; ++i)
    values(0, i) =
        static_cast<float>(x[delay + static_cast<std::size_t>((i + transient) * per_value)] - 0.9);  // about its mean
  return values;
}

int run(const std::string& picture) {
  fbt::check(!picture.empty(), "expected the path of a picture to write, found an empty one");
  constexpr fbt::Index ahead = 6, length = 6000, test_length = 1000;
  const fbt::Matrix<float> series = mackey_glass(length);
  // inputs are the series, targets the same series `ahead` steps later; views of the matrix, a column per step
  const fbt::Index train_length = length - test_length - ahead;
  const auto inputs = fbt::vectors(series, 0, train_length), targets = fbt::vectors(series, ahead, train_length);

  fbt::Random random(1);
  const fbt::Config config{.inputs = 1, .outputs = 1, .width = 32, .layers = 2, .heads = 4, .window = 32};
  fbt::VectorModel<float> model(config, random);
  fbt::Adam adam(model);
  fbt::Trainer trainer(model, adam, fbt::Batches(inputs, targets, {.lanes = 16, .segment = 48}), {.shards = 1, .fresh = 0},
                       fbt::SquaredError<float>{});
  const fbt::Schedule schedule{.peak = 4e-3, .warmup = 30};
  constexpr int updates = 800;
  for (int i = 0; i < updates; ++i) {
    const double progress = static_cast<double>(i) / updates;
    const auto report = trainer.update(schedule.rate(i, progress), progress);
    if (i % 100 == 0 || i + 1 == updates) fmt::print("update {:3}  mean squared error {:.6f}\n", i, report.loss);
  }

  // The part of the series that was held out, read step by step; persistence predicts that nothing changes.
  auto stepper = model.start(1);
  double error = 0, persistence = 0;
  example::Plot plot{"Mackey-Glass, 6 steps ahead", "step", "x - 0.9", {{"truth", {}, {}}, {"forecast", {}, {}}}};
  constexpr fbt::Index settling = 100, drawn = 300;
  for (fbt::Index t = length - test_length - ahead; t + ahead < length; ++t) {
    const float forecast = model.step(series.col(t), stepper)(0, 0), truth = series(0, t + ahead);
    const fbt::Index step = t - (length - test_length - ahead);
    if (step < settling) continue;  // the memory fills
    error += std::pow(forecast - truth, 2);
    persistence += std::pow(series(0, t) - truth, 2);
    if (step >= settling + drawn) continue;
    for (auto* line : {&plot.series[0], &plot.series[1]}) line->x.push_back(static_cast<double>(step));
    plot.series[0].y.push_back(static_cast<double>(truth));
    plot.series[1].y.push_back(static_cast<double>(forecast));
  }
  fbt::write_atomically(picture, {plot.svg()});
  const double ratio = std::sqrt(persistence / error);
  const auto root_mean = [](double sum) { return std::sqrt(sum / static_cast<double>(test_length - settling)); };
  fmt::print("held out: error {:.4f}, that of persistence {:.4f}, {:.0f} times as large\n", root_mean(error),
             root_mean(persistence), ratio);
  fmt::print("truth and forecast are in {}\n", picture);
  fbt::ensure(ratio > 10, "expected a tenth of the error of persistence or less");
  return 0;
}

int main(int argc, char** argv) {
  return example::run([&] { return run(argc > 1 ? argv[1] : "forecast.svg"); });
}
