// A training by several processes as a whole, for its files: save_training() and load_training() are given what looks like
// the Trainer of one process. So a training goes on at any number of processes, and by a program without MPI.
//
//   save_together(trainer, [&](const auto& whole) { save_training(path, whole); });
//   load_together(trainer, [&](auto& whole) { load_training(path, whole); });
//
// Part of fbt::mpi.
#pragma once

#include "fbt/core/types.hpp"
#include "fbt/training/data_parallel.hpp"
#include "fbt/training/processes.hpp"
#include "fbt/training/trainer.hpp"

#include <cstddef>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fbt {

namespace detail {

/// The matrices of a memory (Memory::save), to be sent from process to process.
template <class Scalar>
class SentMatrices {
 public:
  void add(std::string_view name, const Matrix<Scalar>& matrix) {
    append(static_cast<Index>(name.size()));
    append_bytes(name.data(), name.size());
    append(matrix.rows());
    append(matrix.cols());
    append_bytes(matrix.data(), static_cast<std::size_t>(matrix.size()) * sizeof(Scalar));
  }
  std::span<const std::byte> bytes() const { return bytes_; }

  /// Of what another process has added.
  explicit SentMatrices(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {
    const std::byte* from = bytes_.data();
    const auto take = [&](void* to, std::size_t size) {
      if (size > 0) std::memcpy(to, from, size);
      from += size;
    };
    while (from != bytes_.data() + bytes_.size()) {
      Index length = 0, rows = 0, columns = 0;
      take(&length, sizeof length);
      std::string name(static_cast<std::size_t>(length), ' ');
      take(name.data(), name.size());
      take(&rows, sizeof rows);
      take(&columns, sizeof columns);
      Matrix<Scalar> matrix(rows, columns);
      take(matrix.data(), static_cast<std::size_t>(matrix.size()) * sizeof(Scalar));
      matrices_.emplace(std::move(name), std::move(matrix));
    }
  }
  SentMatrices() = default;

  // for Memory::load()
  bool has(const std::string& name) const { return matrices_.contains(name); }
  Index slots(const std::string& name, Index) const { return matrices_.at(name).rows(); }
  const Matrix<Scalar>& matrix(const std::string& name, Index, Index) const { return matrices_.at(name); }

 private:
  void append(Index number) { append_bytes(&number, sizeof number); }
  void append_bytes(const void* data, std::size_t size) {
    const auto* from = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), from, from + size);
  }

  std::vector<std::byte> bytes_;
  std::map<std::string, Matrix<Scalar>> matrices_;
};

/// What save_training() and load_training() read and write of a Trainer: here that of all processes in one.
template <class AnyTrainer, class Optimizer>
class WholeTraining {
 public:
  using Scalar = typename AnyTrainer::Scalar;
  using Place = typename AnyTrainer::Place;

  WholeTraining(AnyTrainer& trainer, Optimizer optimizer) : trainer_(trainer), optimizer_(std::move(optimizer)) {
    const Index shards = options().shards;
    for (Index s = 0; s < shards; ++s)
      memories_.push_back(
          model().make_memory(options().first_lane(s + 1, batches().lanes()) - options().first_lane(s, batches().lanes())));
  }

  const auto& options() const { return trainer_.options(); }
  auto& model() { return trainer_.model(); }
  const auto& model() const { return std::as_const(trainer_).model(); }
  auto& batches() { return trainer_.batches(); }
  const auto& batches() const { return std::as_const(trainer_).batches(); }
  Optimizer& optimizer() { return optimizer_; }
  const Optimizer& optimizer() const { return optimizer_; }
  auto& memory(Index shard) { return memories_[static_cast<std::size_t>(shard)]; }
  const auto& memory(Index shard) const { return memories_[static_cast<std::size_t>(shard)]; }

 private:
  AnyTrainer& trainer_;
  Optimizer optimizer_;
  std::vector<std::remove_cvref_t<decltype(std::declval<AnyTrainer&>().memory(0))>> memories_;
};

}  // namespace detail

/// Collective. Process 0 calls save(whole), where whole is for save_training(): the training as one process would have it.
template <class Model, class Loss, class Optimizer, class Data, class Save>
void save_together(Trainer<Model, Loss, DataParallel<Model, Optimizer>, Data>& trainer, Save&& save) {
  using Scalar = typename Model::Scalar;
  DataParallel<Model, Optimizer>& parallel = trainer.optimizer();
  const Processes& processes = parallel.processes();
  using Whole = detail::WholeTraining<std::remove_reference_t<decltype(trainer)>, Optimizer>;
  std::optional<Whole> whole;
  if (processes.is_first()) whole.emplace(trainer, Optimizer(trainer.model(), parallel.options()));
  parallel.gather_moments(whole ? &whole->optimizer() : nullptr);
  const Index shards = trainer.options().shards;
  for (Index p = 0; p < processes.count(); ++p) {
    for (Index s = processes.first(shards, p); s < processes.first(shards, p + 1); ++s) {
      if (p == processes.rank() && whole) {
        whole->memory(s) = trainer.memory(s);
      } else if (p == processes.rank()) {
        detail::SentMatrices<Scalar> sent;
        trainer.memory(s).save([&](std::string_view name, const auto& matrix) { sent.add(name, matrix); });
        processes.send(sent.bytes(), 0);
      } else if (whole) {
        whole->memory(s).load(detail::SentMatrices<Scalar>(processes.receive(p)));
      }
    }
  }
  processes.together([&] {
    if (whole) save(std::as_const(*whole));
  });
}

/// Collective. Every process calls load(whole), where whole is for load_training(), and takes its part: a training goes on
/// at any number of processes. Until it returns each has an optimiser of the whole model. Throws std::runtime_error in all
/// processes when load throws in one, or they have not read the same; trainer and model are then untouched.
template <class Model, class Loss, class Optimizer, class Data, class Load>
void load_together(Trainer<Model, Loss, DataParallel<Model, Optimizer>, Data>& trainer, Load&& load) {
  DataParallel<Model, Optimizer>& parallel = trainer.optimizer();
  const Processes& processes = parallel.processes();
  detail::WholeTraining<std::remove_reference_t<decltype(trainer)>, Optimizer> whole(
      trainer, Optimizer(trainer.model(), parallel.options()));
  const Model before = trainer.model();
  const auto place = trainer.batches().place();
  try {
    processes.together([&] { load(whole); });
    const auto now = trainer.batches().place();
    processes.expect_same(
        "training", fmt::format("update {}, position {} in pass {}, parameters of norm {:a}", whole.optimizer().updates,
                                now.position, now.passes, squared_norm(trainer.model())));
  } catch (...) {
    trainer.model() = before;
    trainer.batches().set_place(place);
    throw;
  }
  parallel.set_moments(whole.optimizer());
  const Index shards = trainer.options().shards, rank = processes.rank();
  for (Index s = processes.first(shards, rank); s < processes.first(shards, rank + 1); ++s)
    trainer.memory(s) = std::move(whole.memory(s));
}

}  // namespace fbt
