// Google Benchmark programs for single layers: the time of a segment of 64 steps for B lanes, forward, backward and
// accumulate, with the arithmetic (FLOP/s, a multiply-add is 2) or the memory traffic (bytes/s) of each.
#include "configurations.hpp"
#include "support/run.hpp"

#include "fbt/training/adam.hpp"
#include "fbt/training/losses.hpp"

#include <benchmark/benchmark.h>

#include <string>
#include <utility>
#include <vector>

namespace {

using fbt::Index;
using fbt::Matrix;

constexpr Index steps = 64;
static_assert(steps % fbt::delta_steps == 0);

Matrix<float> random_matrix(Index rows, Index columns) {
  fbt::Random random(5);
  Matrix<float> m(rows, columns);
  fbt::fill_uniform(m, 1, random);
  return m;
}

/// What one iteration does.
struct Work {
  const char* unit;  ///< FLOP or bytes
  double amount;
};

void count(benchmark::State& state, const Work& work) {
  state.counters[std::string(work.unit) + "/s"] =
      benchmark::Counter(work.amount, benchmark::Counter::kIsIterationInvariantRate);
}

template <class F>
void add_benchmark(const std::string& name, const Work& work, F&& f) {
  benchmark::RegisterBenchmark(name.c_str(), [work, f = std::forward<F>(f)](benchmark::State& state) {
    f(state);
    count(state, work);
  });
}

void add_products() {
  for (const auto& [rows, depth] : {std::pair<Index, Index>{128, 128}, {512, 128}, {512, 512}, {2048, 512}, {512, 2048}}) {
    for (const Index lanes : {1, 2, 4, 8, 16, 32, 64}) {
      const Work work{"FLOP", 2.0 * static_cast<double>(rows * depth * lanes)};
      const std::string segment = fmt::format("{}x{}/lanes:{}", rows, depth, lanes);
      add_benchmark("product/packed/" + segment, work, [=, rows = rows, depth = depth](benchmark::State& state) {
        fbt::Packed<float> w;
        w.pack(random_matrix(rows, depth));
        const Matrix<float> x = random_matrix(depth, lanes);
        Matrix<float> y(rows, lanes);
        for ([[maybe_unused]] auto _ : state) {
          w.multiply(x, y);
          benchmark::DoNotOptimize(y.data());
          benchmark::ClobberMemory();
        }
      });
      add_benchmark("product/Eigen/" + segment, work, [=, rows = rows, depth = depth](benchmark::State& state) {
        const Matrix<float> w = random_matrix(rows, depth), x = random_matrix(depth, lanes);
        Matrix<float> y(rows, lanes);
        for ([[maybe_unused]] auto _ : state) {
          y.noalias() = w * x;
          benchmark::DoNotOptimize(y.data());
          benchmark::ClobberMemory();
        }
      });
    }
  }
}

/// forward and backward: the work of a segment in each direction.
template <class Layer>
void add_column_layer(const std::string& name, const Layer& layer, Index inputs, Index outputs, Index lanes,
                      const Work& forward, const Work& backward, const Work& accumulate) {
  const auto run = [=](auto&& verb) {
    return [=](benchmark::State& state) {
      const fbt::Segment segment{steps, lanes, true, 0};
      typename Layer::Trace trace;
      layer.prepare(trace, segment);
      const Matrix<float> x = random_matrix(inputs, segment.columns()), dy = random_matrix(outputs, segment.columns());
      Matrix<float> y(outputs, lanes), dx(inputs, lanes);
      Layer grad = fbt::zeros_like(layer);
      const auto go_forward = [&] {
        for (Index t = 0; t < steps; ++t) layer.forward(fbt::step_columns(x, t, lanes), trace, t, y);
      };
      const auto go_backward = [&] {
        for (Index t = steps - 1; t >= 0; --t) layer.backward(fbt::step_columns(dy, t, lanes), trace, t, dx);
      };
      verb(state, go_forward, go_backward, [&] {
        for (Index first = 0; first < steps; first += fbt::delta_steps)
          layer.accumulate(trace, first, fbt::delta_steps, grad);
      });
    };
  };
  const std::string end = fmt::format("/lanes:{}", lanes);
  add_benchmark(name + "/forward" + end, forward, run([](auto& state, auto&& go_forward, auto&&, auto&&) {
                  for ([[maybe_unused]] auto _ : state) go_forward();
                }));
  add_benchmark(name + "/backward" + end, backward, run([](auto& state, auto&& go_forward, auto&& go_backward, auto&&) {
                  for ([[maybe_unused]] auto _ : state) {
                    state.PauseTiming();
                    go_forward();
                    state.ResumeTiming();
                    go_backward();
                  }
                }));
  add_benchmark(name + "/accumulate" + end, accumulate,
                run([](auto& state, auto&& go_forward, auto&& go_backward, auto&& accumulate_segment) {
                  go_forward();
                  go_backward();
                  for ([[maybe_unused]] auto _ : state) accumulate_segment();
                }));
}

void add_column_layers() {
  fbt::Random random(6);
  for (const Index lanes : {1, 8, 32}) {
    for (const Index d : {128, 512}) {
      const Index f = 4 * d;
      const auto columns = static_cast<double>(steps * lanes), size = static_cast<double>(d);
      const auto bytes = [&](double passes) { return Work{"bytes", sizeof(float) * passes * size * columns}; };
      const auto segment = [d](const char* name) { return fmt::format("{}/width:{}", name, d); };

      const Work linear{"FLOP", 2 * 4 * size * size * columns};
      add_column_layer(segment("Linear"), fbt::Linear<float>(d, f, random), d, f, lanes, linear, linear, linear);
      const Work both{"FLOP", 2 * linear.amount};
      add_column_layer(segment("FeedForward"), fbt::FeedForward<float>(d, f, fbt::Activation::relu, 0, random), d, d, lanes,
                       both, both, both);
      // reads and writes of activations: x, n, y;  dy, n, dx
      add_column_layer(segment("LayerNorm"), fbt::LayerNorm<float>(d), d, d, lanes, bytes(3), bytes(3),
                       {"bytes", sizeof(float) * 4 * size});
      constexpr Index layers = 4;  // the stack is copied, read and summed;  dy is read and the stack's gradient written
      add_column_layer(segment("LayerMix"), fbt::LayerMix<float>(layers, d), (layers + 1) * d, d, lanes,
                       bytes(3 * (layers + 1) + 1), bytes(layers + 2), bytes(2 * (layers + 1)));
    }
  }
}

/// One layer's attention in steps that all see the same number of slots.
void add_attention() {
  constexpr Index d = 512, heads = 8, e = d / heads;
  for (const Index lanes : {1, 16}) {
    for (const Index slots : {16, 64, 128, 512}) {
      const Work work{"FLOP", 2.0 * static_cast<double>(steps * lanes * (2 * d * d + 3 * slots * d))};
      const auto run = [=](auto&& verb) {
        return [=](benchmark::State& state) {
          fbt::Random random(7);
          const fbt::Attention<float> attention(d, heads, e, true, 0, random);
          const fbt::Position<float> position(fbt::PositionTerm::relative_key, e, heads, slots, random);
          fbt::Memory<float> memory(1, e, heads, lanes, slots);
          bench::fill_memory(memory);
          const std::vector<fbt::Window> windows(static_cast<std::size_t>(lanes), memory.visible());
          const auto& cache = memory.banks.front();
          fbt::KeyValueCache<float> dcache(e, heads, lanes, cache.capacity);
          const fbt::Segment segment{steps, lanes, true, 0};
          fbt::Attention<float>::Trace trace;
          attention.prepare(position, slots, trace, segment);
          const Matrix<float> x = random_matrix(d, segment.columns()), dy = random_matrix(d, segment.columns());
          Matrix<float> y(d, lanes), dx(d, lanes);
          const auto forward = [&] {
            for (Index t = 0; t < steps; ++t)
              attention.forward(fbt::step_columns(x, t, lanes), cache, windows, position, trace, t, y);
          };
          const auto reader = [&](Index) -> auto& { return trace; };
          const auto backward = [&] {
            for (Index t = steps - 1; t >= 0; --t) {
              attention.backward(fbt::step_columns(dy, t, lanes), cache, windows, position, trace, t, dx);
              attention.add_to_cache(1, reader, windows, t, dcache);
            }
          };
          verb(state, forward, backward);
        };
      };
      const std::string end = fmt::format("/slots:{}/lanes:{}", slots, lanes);
      add_benchmark("Attention/width:512/forward" + end, work, run([](auto& state, auto&& forward, auto&&) {
                      for ([[maybe_unused]] auto _ : state) forward();
                    }));
      // without the position table's and the weights' gradients, which accumulate forms
      const Work back{"FLOP", 2.0 * static_cast<double>(steps * lanes * (2 * d * d + 5 * slots * d))};
      add_benchmark("Attention/width:512/backward" + end, back, run([](auto& state, auto&& forward, auto&& backward) {
                      for ([[maybe_unused]] auto _ : state) {
                        state.PauseTiming();
                        forward();
                        state.ResumeTiming();
                        backward();
                      }
                    }));
    }
  }
}

void add_training() {
  for (const Index vocabulary : {65, 10000}) {
    constexpr Index columns = 512;
    const Work work{"bytes",
                    3.0 * sizeof(float) * static_cast<double>(vocabulary * columns)};  // logits twice, gradient once
    add_benchmark(fmt::format("cross_entropy/vocabulary:{}/columns:{}", vocabulary, columns), work,
                  [=](benchmark::State& state) {
                    const Matrix<float> logits = random_matrix(vocabulary, columns);
                    const auto targets = bench::random_tokens(columns, vocabulary);
                    Matrix<float> dlogits(vocabulary, columns);
                    for ([[maybe_unused]] auto _ : state) {
                      auto loss = fbt::CrossEntropy{}.operator()<float>(logits, targets, 1.0f, dlogits);
                      benchmark::DoNotOptimize(loss);
                    }
                  });
  }
  for (const auto& configuration : bench::configurations) {
    if (!configuration.trains) continue;
    const fbt::Config config = configuration.config();
    const Work work{"bytes",
                    7.0 * sizeof(float) * config.parameters()};  // parameter and moments read and written, gradient read
    add_benchmark(fmt::format("Adam/{}", configuration.name), work, [=](benchmark::State& state) {
      bench::Model model = bench::make_model(config);
      const bench::Model grad = model;
      fbt::Adam<bench::Model> adam(model);
      for ([[maybe_unused]] auto _ : state) adam.update(model, grad, 1e-3);
    });
  }
}

}  // namespace

int main(int argc, char** argv) {
  return example::run([&] {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    add_products();
    add_column_layers();
    add_attention();
    add_training();
    benchmark::RunSpecifiedBenchmarks();
    return 0;
  });
}
