// Training by several processes: updates per second, what of the time is exchange, and memory. Started by mpirun; prints an
// object of JSON.
#include "configurations.hpp"
#include "measure.hpp"
#include "speed.hpp"
#include "support/flags.hpp"
#include "support/processes.hpp"
#include "support/program.hpp"

#include "fbt/training/trainer.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <string>

namespace {

/// Adds up the seconds of what processes do with one another, the update of their parts included.
struct Timed : fbt::DataParallel<bench::Model> {
  using fbt::DataParallel<bench::Model>::DataParallel;

  void update(bench::Model& model, const bench::Model& grad, double rate, double scale = 1) {
    const example::Stopwatch watch;
    fbt::DataParallel<bench::Model>::update(model, grad, rate, scale);
    seconds += watch.seconds();
  }
  fbt::Reduction<bench::Model> timed_reduction() {
    fbt::Reduction<bench::Model> reduction = this->reduction();
    reduction.sum = [this, sum = reduction.sum](std::span<bench::Model* const> gradients,
                                                std::span<const fbt::LossSum> losses) {
      const example::Stopwatch watch;
      const fbt::LossSum loss = sum(gradients, losses);
      seconds += watch.seconds();
      return loss;
    };
    return reduction;
  }

  double seconds = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const fbt::MpiSession session(argc, argv);
  const fbt::Processes processes;
  std::string name = "A";
  fbt::Index lanes = 0, shards = 0, threads = 1;
  double seconds = 2;
  CLI::App app{"Training of a configuration by the processes that mpirun has started."};
  example::add_flag(app, "config", name, "A, B or C");
  example::add_flag(app, "lanes", lanes, "of all processes together; 0: those of the configuration");
  example::add_flag(app, "shards", shards, "of all processes together; 0: one for every process");
  example::add_flag(app, "threads", threads, "of a process");
  example::add_flag(app, "seconds", seconds, "about, of one of three repetitions");
  const int code = example::run(app, argc, argv, [&] {
    const auto found = std::find_if(bench::configurations.begin(), bench::configurations.end(),
                                    [&](const auto& one) { return one.name == name && one.trains; });
    fbt::check(found != bench::configurations.end(), "--config: expected A, B or C, found {}", name);
    const fbt::Config config = found->config();
    if (lanes == 0) lanes = found->lanes;
    if (shards == 0) shards = processes.count();
    bench::Model model = bench::make_model(config);
    const auto data = bench::random_tokens(lanes * config.window * 8 + 1, config.vocabulary);
    Timed optimizer(processes, model, shards);
    fbt::Trainer trainer(model, optimizer, fbt::Batches(data, {.lanes = lanes, .segment = config.window}),
                         {.shards = shards, .threads = threads}, fbt::CrossEntropy{}, optimizer.timed_reduction());
    const auto update = [&] { trainer.update(1e-3, 0); };
    update();
    const example::Stopwatch first;
    update();
    double count = std::max(1.0, seconds / first.seconds());
    processes.largest({&count, 1});
    double best = 1e9, exchange = 0;
    for (int repetition = 0; repetition < 3; ++repetition) {
      optimizer.seconds = 0;
      processes.gather("");  // all begin together
      const example::Stopwatch watch;
      for (int n = 0; n < static_cast<int>(count); ++n) update();
      const double spent = watch.seconds() / static_cast<int>(count);
      if (spent < best) exchange = optimizer.seconds / static_cast<int>(count);
      best = std::min(best, spent);
    }
    std::array<double, 3> most{best, exchange, bench::peak_memory_mib()};
    processes.largest(most);
    if (processes.is_first())
      fmt::print("{}\n", nlohmann::ordered_json{{"config", name},
                                                {"processes", processes.count()},
                                                {"threads", threads},
                                                {"lanes", lanes},
                                                {"shards", shards},
                                                {"parameters", fbt::count_parameters(model)},
                                                {"seconds", most[0]},
                                                {"exchange_seconds", most[1]},
                                                {"peak_memory_mib", most[2]},
                                                {"vector_bytes", fbt::detail::vector_bytes},
                                                {"compiler", bench::compiler()}}
                             .dump());
    return 0;
  });
  if (code != 0) MPI_Abort(MPI_COMM_WORLD, code);  // the others may wait for this one
  return 0;
}
