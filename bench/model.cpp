// Google Benchmark programs for the whole model: the parts of an update on one segment, a decoding step, texts side by side, and evaluation.
#include "configurations.hpp"
#include "support/run.hpp"

#include "fbt/generation/generate.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/evaluate.hpp"
#include "fbt/training/losses.hpp"

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

namespace {

using bench::Model;

/// All that the parts of an update need: a segment as long as the window, from an empty memory.
struct Update {
  explicit Update(const bench::Configuration& configuration)
      : config(configuration.config()),
        segment{config.window, configuration.lanes, true, 0},
        model(bench::make_model(config)),
        grad(fbt::zeros_like(model)),
        adam(model),
        tokens(bench::random_tokens(segment.columns(), config.vocabulary)),
        dlogits(config.vocabulary, segment.columns()) {}

  void forward() {
    memory = model.make_memory(segment.lanes);
    fbt::CrossEntropy{}.operator()<float>(model.forward(tokens, segment, memory, trace), tokens,
                                          1 / static_cast<float>(segment.columns()), dlogits);
  }
  void backward() { model.backward(dlogits, memory, trace, grad); }
  void update() { adam.update(model, grad, 1e-6); }

  fbt::Config config;
  fbt::Segment segment;
  Model model, grad;
  fbt::Adam<Model> adam;
  std::vector<fbt::Token> tokens;
  Model::Memory memory;
  Model::Trace trace;
  fbt::Matrix<float> dlogits;
};

void count_tokens(benchmark::State& state, fbt::Index tokens) {
  state.counters["tokens/s"] =
      benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsIterationInvariantRate);
}

/// before runs outside the measured time, part inside.
template <class Before, class Part>
void add_part(const bench::Configuration& configuration, const char* name, Before before, Part part) {
  benchmark::RegisterBenchmark(fmt::format("{}/{}", configuration.name, name).c_str(), [=](benchmark::State& state) {
    Update update(configuration);
    for ([[maybe_unused]] auto _ : state) {
      state.PauseTiming();
      before(update);
      state.ResumeTiming();
      part(update);
    }
    count_tokens(state, update.segment.columns());
  })->Unit(benchmark::kMillisecond);
}

void add_training(const bench::Configuration& configuration) {
  const auto nothing = [](Update&) {};
  const auto forward = [](Update& u) { u.forward(); };
  const auto backward = [](Update& u) { u.backward(); };
  add_part(configuration, "forward", nothing, forward);
  add_part(configuration, "backward", forward, backward);
  add_part(configuration, "update", nothing, [](Update& u) { u.update(); });
}

void add_decoding(const bench::Configuration& configuration) {
  for (const fbt::Index lanes : {1, 8, 32}) {
    benchmark::RegisterBenchmark(fmt::format("{}/decode/lanes:{}", configuration.name, lanes).c_str(),
                                 [=](benchmark::State& state) {
                                   const Model model = bench::make_model(configuration.config());
                                   auto running = bench::start_with_full_memory(model, lanes, 1);
                                   const auto tokens = bench::random_tokens(lanes, model.config().vocabulary);
                                   for ([[maybe_unused]] auto _ : state)
                                     benchmark::DoNotOptimize(model.step(tokens, running).data());
                                   count_tokens(state, lanes);
                                 })
        ->Unit(benchmark::kMicrosecond);
  }
}

void add_evaluation(const bench::Configuration& configuration) {
  constexpr fbt::Index lanes = 16, windows = 3;
  benchmark::RegisterBenchmark(fmt::format("{}/evaluate/lanes:{}", configuration.name, lanes).c_str(),
                               [=](benchmark::State& state) {
                                 const Model model = bench::make_model(configuration.config());
                                 const fbt::Index window = model.config().window, count = lanes * windows * window + 1;
                                 const auto text = bench::random_tokens(count, model.config().vocabulary);
                                 for ([[maybe_unused]] auto _ : state) {
                                   auto loss = fbt::evaluate(model, text, {.lanes = lanes, .context = window});
                                   benchmark::DoNotOptimize(loss);
                                 }
                                 count_tokens(state, count - 1);
                               })
      ->Unit(benchmark::kMillisecond);
}

/// 16 texts side by side: all of one length, or of 16 different ones with as many tokens together.
void add_serving(const bench::Configuration& configuration) {
  for (const bool equal : {true, false}) {
    benchmark::RegisterBenchmark(
        fmt::format("{}/generate/texts:16/{}", configuration.name, equal ? "equal" : "different").c_str(),
        [=](benchmark::State& state) {
          const Model model = bench::make_model(configuration.config());
          constexpr fbt::Index texts = 16, mean = 256;
          std::vector<fbt::GenerationRequest> requests(texts);
          for (fbt::Index i = 0; i < texts; ++i) {
            fbt::GenerationRequest& request = requests[static_cast<std::size_t>(i)];
            request.prompt = {static_cast<fbt::Token>(i)};
            request.options.length = equal ? mean : mean * (2 * i + 1) / texts;  // 16, 48, .. 496
            request.options.sampling.temperature = 0;
          }
          for ([[maybe_unused]] auto _ : state) {
            auto emitted = fbt::generate(model, std::span<const fbt::GenerationRequest>(requests), texts,
                                         [](std::size_t, fbt::Token) { return true; });
            benchmark::DoNotOptimize(emitted.data());
          }
          count_tokens(state, texts * mean);
        })
        ->Unit(benchmark::kMillisecond);
  }
  for (const bool equal : {true, false}) {
    benchmark::RegisterBenchmark(
        fmt::format("{}/step/lanes:16/{}", configuration.name, equal ? "equal" : "different").c_str(),
        [=](benchmark::State& state) {
          const Model model = bench::make_model(configuration.config());
          constexpr fbt::Index lanes = 16;
          auto running = bench::start_with_full_memory(model, lanes, 1);
          const auto tokens = bench::random_tokens(lanes, model.config().vocabulary);
          fbt::Index step = 0;
          for ([[maybe_unused]] auto _ : state) {
            // different: every few steps another lane begins anew, so that lanes see from one slot to all of the window
            if (!equal && step % (model.config().window / lanes) == 0)
              running.memory.clear(step / (model.config().window / lanes) % lanes);
            ++step;
            benchmark::DoNotOptimize(model.step(tokens, running).data());
          }
          count_tokens(state, lanes);
        })
        ->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return example::run([&] {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    for (const auto& configuration : bench::configurations) {
      add_decoding(configuration);
      if (configuration.trains) add_serving(configuration);
      if (!configuration.trains) continue;
      add_training(configuration);
      add_evaluation(configuration);
    }
    benchmark::RunSpecifiedBenchmarks();
    return 0;
  });
}
