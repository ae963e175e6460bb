// Processes: those that a training runs in: this one alone, or where FBT_MPI is defined all that mpirun has started. The
// first of them prints, saves and decides; the others only compute.
#pragma once

#include "support/interrupt.hpp"
#include "support/run.hpp"

#include "fbt/io/training_file.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/trainer.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <utility>

#if defined(FBT_MPI)
#include "support/stopwatch.hpp"

#include "fbt/training/data_parallel.hpp"
#include "fbt/training/gathered_training.hpp"

#include <fmt/ranges.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>
#endif

namespace example {

/// What follows an update of a training.
struct Next {
  double progress = 0;  ///< the share of the training that is done
  bool stop = false, evaluate = false, report = false, save = false;
};

#if defined(FBT_MPI)

class Processes {
 public:
  template <class Model>
  using Optimizer = fbt::DataParallel<Model>;

  Processes(int& argc, char**& argv) {
    if (const int code = example::run([&] {
          session_.emplace(argc, argv);
          processes_.emplace();
          return 0;
        });
        code != 0)
      std::exit(code);
    flags_.assign(argv + 1, argv + argc);
  }

  fbt::Index rank() const { return processes_->rank(); }
  fbt::Index count() const { return processes_->count(); }
  bool is_first() const { return processes_->is_first(); }
  /// The part of 0 .. total - 1 that is this process's.
  std::pair<fbt::Index, fbt::Index> own_part(fbt::Index total) const {
    return {processes_->first(total, rank()), processes_->first(total, rank() + 1)};
  }

  /// All processes, before a training begins: throws in all of them what one has thrown so far, and when one was given other
  /// flags or other data.
  void meet(const std::string& data) {
    together([] {});
    have_met_ = true;
    processes_->expect_same("flags", fmt::format("{}", fmt::join(flags_, " ")));
    processes_->expect_same("data", data);
  }
  /// Whether all processes come here. Where they do not, an error has ended what they do together.
  bool all_are_here() {
    MPI_Request request;
    int all = 0;
    MPI_Ibarrier(processes_->communicator(), &request);
    constexpr double patience = 10;  // seconds
    for (const Stopwatch waited; !lost_ && !all;) {
      MPI_Test(&request, &all, MPI_STATUS_IGNORE);
      lost_ = !all && waited.seconds() > patience;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return !lost_;
  }

  /// All call f; throws in all when f throws in one.
  template <class F>
  void together(F&& f) const {
    try {
      processes_->together(std::forward<F>(f));
    } catch (...) {
      have_met_ = true;
      throw;
    }
  }
  /// Only the first calls f; throws in all when that throws.
  template <class F>
  void first_does(F&& f) const {
    together([&] {
      if (is_first()) f();
    });
  }
  /// The first one's number.
  double first_says(double own) const {
    double all = is_first() ? own : -std::numeric_limits<double>::infinity();
    largest({&all, 1});
    return all;
  }
  /// What the first one wants; any of them may want to stop.
  Next first_decides(const Next& own) const {
    std::array<double, 5> all{};
    if (is_first()) all = {own.progress, 0, number(own.evaluate), number(own.report), number(own.save)};
    all[1] = number(own.stop);
    largest(all);
    return {all[0], all[1] > 0, all[2] > 0, all[3] > 0, all[4] > 0};
  }
  /// The largest values of all processes.
  void largest(std::span<double> values) const { processes_->largest(values); }
  /// f(share) finds the parts that are this process's, and calls share(parts), which fills in the others'. Where f throws
  /// Interrupted in one process it does so in all.
  template <class Part, class F>
  auto evaluate(F&& f) const {
    bool shared = false;
    const auto agree = [&](bool interrupted) {
      shared = true;
      double any = interrupted;
      largest({&any, 1});
      if (any > 0) throw Interrupted();
    };
    try {
      return f([&](std::span<Part> parts) {
        agree(false);
        processes_->share(parts);
      });
    } catch (const Interrupted&) {
      if (!shared) agree(true);
      throw;
    }
  }

  template <class Model>
  Optimizer<Model> optimizer(const Model& model, fbt::Index shards, const fbt::AdamOptions& options = {}) const {
    return Optimizer<Model>(*processes_, model, shards, options);
  }
  template <class Model>
  static fbt::Reduction<Model> reduction(Optimizer<Model>& optimizer) {
    return optimizer.reduction();
  }
  template <class Model, class F>
  static void visit_moments(const fbt::DataParallel<Model>& optimizer, F&& f) {
    optimizer.visit_own_moments(std::forward<F>(f));
  }
  template <class Trainer>
  void save_training(const std::filesystem::path& path, Trainer& trainer, const fbt::Metadata& metadata) const {
    fbt::save_together(trainer, [&](const auto& whole) { fbt::save_training(path, whole, metadata); });
  }
  template <class Trainer>
  void load_training(const std::filesystem::path& path, Trainer& trainer) const {
    fbt::load_together(trainer, [&](auto& whole) { fbt::load_training(path, whole); });
  }

  /// Calls f and returns the exit code, as run(). An error in any process ends all of them, and one tells it.
  template <class F>
  int run(F&& f) {
    if (!is_first() && !std::freopen("/dev/null", "w", stdout)) return 1;
    return example::run(
        [&] {
          try {
            fbt::check(processes_->count() == 1 || (!flags_.empty() && flags_[0] == "train"),
                       "expected 1 process, found {}: only train is done by several", processes_->count());
            double code = f();
            if (!have_met_) together([] {});
            largest({&code, 1});  // a signal may have come to one of them
            return static_cast<int>(code);
          } catch (const std::exception& error) {
            end(error);
            throw;
          }
        },
        is_first());
  }

 private:
  static double number(bool yes) { return yes ? 1 : 0; }

  /// Returns when all processes have failed: the first tells what it has found. Otherwise the others wait for what will not
  /// come, and are ended. There may be no memory left.
  void end(const std::exception& error) noexcept {
    try {
      if (!std::exchange(have_met_, true)) {
        try {
          processes_->together([&] { throw std::runtime_error(text_of(error)); });
        } catch (const std::runtime_error&) {
        }
      }
      if (all_are_here()) return;
    } catch (...) {
    }
    const bool memory = dynamic_cast<const std::bad_alloc*>(&error);
    std::fprintf(stderr, "error: process %d: %s\n", static_cast<int>(rank()), memory ? "not enough memory" : error.what());
    MPI_Abort(processes_->communicator(), 1);
  }

  std::optional<fbt::MpiSession> session_;
  std::optional<fbt::Processes> processes_;
  std::vector<std::string> flags_;
  mutable bool have_met_ = false;  // or know of an error
  bool lost_ = false;
};

#else

class Processes {
 public:
  template <class Model>
  using Optimizer = fbt::Adam<Model>;

  Processes(int&, char**&) {}

  static constexpr fbt::Index rank() { return 0; }
  static constexpr fbt::Index count() { return 1; }
  static constexpr bool is_first() { return true; }
  static std::pair<fbt::Index, fbt::Index> own_part(fbt::Index total) { return {0, total}; }
  static void meet(const std::string&) {}
  static constexpr bool all_are_here() { return true; }
  template <class F>
  static void together(F&& f) {
    f();
  }
  template <class F>
  static void first_does(F&& f) {
    f();
  }
  static void largest(std::span<double>) {}
  static double first_says(double own) { return own; }
  static Next first_decides(const Next& own) { return own; }
  template <class Part, class F>
  static auto evaluate(F&& f) {
    return f([](std::span<Part>) {});
  }
  template <class Model>
  static Optimizer<Model> optimizer(const Model& model, fbt::Index, const fbt::AdamOptions& options = {}) {
    return Optimizer<Model>(model, options);
  }
  template <class Model>
  static fbt::Reduction<Model> reduction(Optimizer<Model>&) {
    return {};
  }
  template <class Model, class F>
  static void visit_moments(const fbt::Adam<Model>& optimizer, F&& f) {
    optimizer.visit_moments(std::forward<F>(f));
  }
  template <class Trainer>
  static void save_training(const std::filesystem::path& path, const Trainer& trainer, const fbt::Metadata& metadata) {
    fbt::save_training(path, trainer, metadata);
  }
  template <class Trainer>
  static void load_training(const std::filesystem::path& path, Trainer& trainer) {
    fbt::load_training(path, trainer);
  }
  template <class F>
  static int run(F&& f) {
    return example::run(std::forward<F>(f));
  }
};

#endif

}  // namespace example
