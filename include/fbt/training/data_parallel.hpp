// DataParallel: one training by several processes over MPI, with the same bytes as by one.
//
// The shards of a Trainer are numbered over all processes. Each process has the whole model and the same batches, and reads
// the shards that are its own. Then every process gets, for its part of the parameters, the gradient of every shard
// (MPI_Alltoallv), adds them in shard order, and updates its part with its part of the optimiser's moments, which are not
// replicated (ZeRO, stage 1; Rajbhandari et al., 2020); the parts are gathered (MPI_Allgatherv). So parameters are the same
// to the last bit at any number of processes, as long as the number of shards is.
//
//   MpiSession session(argc, argv);
//   Processes processes;
//   DataParallel<Model> optimizer(processes, model, options.shards, adam_options);
//   Trainer trainer(model, optimizer, batches, options, CrossEntropy{}, optimizer.reduction());
//
// Learning rate and progress of every update have to be the same in all processes. gathered_training.hpp saves and loads
// such a training. Part of fbt::mpi, which needs an MPI library.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"
#include "fbt/core/portability.hpp"
#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/processes.hpp"
#include "fbt/training/trainer.hpp"
#include "fbt/version.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace fbt {

/// Cuts the parameters of a model, in the order of visit() and of storage, into parts of about the same size, one for each
/// process. It cuts between pieces (for_each_piece), so that sums over pieces do not depend on the number of parts.
class Partition {
 public:
  /// Coefficients of a tensor.
  struct Run {
    Index first = 0, count = 0;
  };

  template <class Model>
  Partition(const Model& model, Index parts) : bounds_{0}, pieces_(static_cast<std::size_t>(parts), 0) {
    const Index total = count_parameters(model);
    Index place = 0;  // of a piece, in all parameters
    visit(
        [&](std::string_view, const auto& tensor) {
          firsts_.push_back(place);
          for_each_piece(flat(tensor), [&](const auto& piece) {
            while (place * parts >= total * static_cast<Index>(bounds_.size())) bounds_.push_back(place);
            ++pieces_[bounds_.size() - 1];
            place += piece.size();
          });
        },
        model);
    bounds_.resize(static_cast<std::size_t>(parts) + 1, total);
    firsts_.push_back(total);
  }

  Index total() const { return bounds_.back(); }
  Index first(Index part) const { return bounds_[static_cast<std::size_t>(part)]; }  ///< in all parameters
  Index size(Index part) const { return first(part + 1) - first(part); }
  /// Of every part.
  std::vector<std::size_t> sizes() const {
    std::vector<std::size_t> sizes;
    for (std::size_t p = 0; p + 1 < bounds_.size(); ++p)
      sizes.push_back(static_cast<std::size_t>(bounds_[p + 1] - bounds_[p]));
    return sizes;
  }
  const std::vector<std::size_t>& pieces() const { return pieces_; }  ///< of every part
  /// Which coefficients of a tensor are in a part.
  Run run(Index part, std::size_t tensor) const {
    const Index begin = std::clamp(first(part), firsts_[tensor], firsts_[tensor + 1]);
    return {begin - firsts_[tensor], std::clamp(first(part + 1), begin, firsts_[tensor + 1]) - begin};
  }

 private:
  std::vector<Index> bounds_;  // of the parts
  std::vector<std::size_t> pieces_;
  std::vector<Index> firsts_;  // of every tensor, in all parameters
};

/// In the place of the optimiser that it is made of, which updates a coefficient by what it knows of that coefficient alone.
template <class Model, class Optimizer = Adam<Model>>
class DataParallel {
 public:
  using Scalar = typename Model::Scalar;

  std::int64_t updates = 0;  ///< as that of the optimiser

  /// Collective. shards: those of the Trainer, at least one for every process; options: the optimiser's. The processes must
  /// outlive this. Throws std::runtime_error in all processes when one of them has another model or another build of fbt,
  /// and when there are fewer shards than processes.
  template <class... Options>
  DataParallel(const Processes& processes, const Model& model, Index shards, const Options&... options)
      : processes_(processes),
        shards_(shards),
        partition_(model, processes.count()),
        part_(part_of(model)),
        part_grad_(part_),
        optimizer_(part_, options...) {
    processes.expect_same("build of fbt, model and shards",
                          fmt::format("fbt {}.{}.{} with vectors of {} bytes, {} parameters of norm {:a}, {} shards",
                                      FBT_VERSION_MAJOR, FBT_VERSION_MINOR, FBT_VERSION_PATCH, FBT_VECTOR_BYTES,
                                      partition_.total(), squared_norm(model), shards));
    if constexpr (requires { model.config(); }) {
      const auto& config = model.config();
      const auto compare = [&](const char* field, const auto& value) { processes.expect_same(field, field_text(value)); };
      if constexpr (requires { visit_config(compare, config); }) visit_config(compare, config);
    }
    ensure(shards >= processes.count(), "expected at least as many shards as processes, found {} shards for {} processes",
           shards, processes.count());
  }
  DataParallel(const DataParallel&) = delete;  // its reduction() refers to it
  DataParallel& operator=(const DataParallel&) = delete;

  const Processes& processes() const { return processes_; }
  Index first_shard() const { return processes_.first(shards_, processes_.rank()); }

  /// For the Trainer. This must outlive it.
  Reduction<Model> reduction() {
    Reduction<Model> reduction;
    reduction.first_shard = first_shard();
    reduction.shards = processes_.first(shards_, processes_.rank() + 1) - first_shard();
    reduction.of_shards = shards_;
    reduction.sum = [this](std::span<Model* const> gradients, std::span<const LossSum> losses) {
      return sum(gradients, losses);
    };
    reduction.squared_norm = [this](const Model& gradient) { return squared_norm_of_parts(gradient); };
    return reduction;
  }

  /// Collective: an update of the model, of which the gradient is the reduction's sum.
  void update(Model& model, const Model& grad, double rate, double gradient_scale = 1) {
    copy_part(model, part_);
    copy_part(grad, part_grad_);
    optimizer_.updates = updates;
    optimizer_.update(part_, part_grad_, rate, gradient_scale);
    updates = optimizer_.updates;
    gather(part_);
    unflatten(model);
  }
  void drop_frozen(Model& grad) const { optimizer_.drop_frozen(grad); }

  /// Collective: the optimiser of the whole model; only in process 0, whose it is to give one made anew.
  void gather_moments(Optimizer* whole) {
    std::vector<Model*> moments;
    if (whole) {
      whole->updates = updates;
      whole->visit_moments([&](std::string_view, Model& moment) { moments.push_back(&moment); });
    }
    optimizer_.visit_moments([&, i = std::size_t{0}](std::string_view, const Model& moment) mutable {
      gather(moment);
      if (whole) unflatten(*moments[i++]);
    });
  }
  /// Takes the part of this process from the optimiser of the whole model.
  void set_moments(const Optimizer& whole) {
    updates = whole.updates;
    std::vector<const Model*> moments;
    whole.visit_moments([&](std::string_view, const Model& moment) { moments.push_back(&moment); });
    optimizer_.visit_moments(
        [&, i = std::size_t{0}](std::string_view, Model& moment) mutable { copy_part(*moments[i++], moment); });
  }
  /// Calls f(name, moment) for the moments of this process's part: of the class Model, each tensor a column of its own.
  template <class F>
  void visit_own_moments(F&& f) const {
    optimizer_.visit_moments(std::forward<F>(f));
  }
  const auto& options() const { return optimizer_.options(); }

 private:
  /// The part of this process, as an object of the same class: of every tensor its run, as a column. Where nothing of a
  /// tensor is in the part there is one zero instead, since layers leave out tensors without coefficients.
  Model part_of(const Model& model) const {
    Model part = model;
    visit(
        [&, i = std::size_t{0}]<class Tensor>(std::string_view, Tensor& tensor) mutable {
          tensor = Tensor(Tensor::Zero(std::max<Index>(1, partition_.run(processes_.rank(), i++).count), 1));
        },
        part);
    return part;
  }
  /// Of every tensor the run that is in the part of this process.
  void copy_part(const Model& whole, Model& part) const {
    visit(
        [&, i = std::size_t{0}](std::string_view, const auto& from, auto& to) mutable {
          const auto [first, count] = partition_.run(processes_.rank(), i++);
          flat(to).head(count) = flat(from).segment(first, count);
        },
        whole, part);
  }
  /// The parts of all processes, into flat_.
  void gather(const Model& part) {
    flat_.resize(static_cast<std::size_t>(partition_.total()));
    Scalar* to = flat_.data() + partition_.first(processes_.rank());
    visit(
        [&, i = std::size_t{0}](std::string_view, const auto& tensor) mutable {
          to = std::copy_n(tensor.data(), partition_.run(processes_.rank(), i++).count, to);
        },
        part);
    processes_.share(std::span(flat_), std::span<const std::size_t>(partition_.sizes()));
  }
  void unflatten(Model& model) const {
    const Scalar* from = flat_.data();
    visit(
        [&](std::string_view, auto& tensor) {
          std::copy_n(from, tensor.size(), tensor.data());
          from += tensor.size();
        },
        model);
  }

  LossSum sum(std::span<Model* const> gradients, std::span<const LossSum> losses) {
    if (processes_.count() == 1) return sum_shards(gradients, losses);
    exchange(gradients);
    // the run of every tensor, shard by shard
    const Index rank = processes_.rank(), own = partition_.size(rank);
    Index place = 0;  // in the own part
    visit(
        [&, i = std::size_t{0}](std::string_view, auto& tensor) mutable {
          const auto [first, count] = partition_.run(rank, i++);
          auto total = flat(tensor).segment(first, count);
          for (Index p = 0, s = 0; p < processes_.count(); ++p) {
            const Index end = processes_.first(shards_, p + 1);
            for (Index round = 0; s < end; ++s, ++round) {
              const Scalar* const from = received_.data() + (round * processes_.count() + p) * own + place;
              const Eigen::Map<const Vector<Scalar>> one(from, count);
              if (s == 0) total = one;
              if (s > 0) total += one;
            }
          }
          place += count;
        },
        *gradients[0]);
    std::vector<LossSum> all(static_cast<std::size_t>(shards_));
    std::copy(losses.begin(), losses.end(), all.begin() + first_shard());
    processes_.share(std::span(all));
    LossSum loss;
    for (const LossSum& one : all) loss += one;
    return loss;
  }

  /// Fills received_ with the own part of the gradients of all shards. In every round each process sends one of its shards,
  /// and received_ has a place for each process.
  void exchange(std::span<Model* const> gradients) {
    const Index count = processes_.count(), own = partition_.size(processes_.rank());
    const Index rounds = (shards_ + count - 1) / count;
    received_.resize(static_cast<std::size_t>(rounds * count * own));
    flat_.resize(static_cast<std::size_t>(partition_.total()));
    std::vector<int> sent(static_cast<std::size_t>(count)), from(sent), got(sent), to(sent);
    for (Index round = 0; round < rounds; ++round) {
      const bool sends = round < static_cast<Index>(gradients.size());
      if (sends) {
        Scalar* place = flat_.data();
        visit([&](std::string_view, const auto& tensor) { place = std::copy_n(tensor.data(), tensor.size(), place); },
              *gradients[static_cast<std::size_t>(round)]);
      }
      for (Index p = 0; p < count; ++p) {
        const auto i = static_cast<std::size_t>(p);
        const bool receives = processes_.first(shards_, p) + round < processes_.first(shards_, p + 1);
        sent[i] = sends ? detail::mpi_count(static_cast<std::size_t>(partition_.size(p))) : 0;
        from[i] = detail::mpi_count(static_cast<std::size_t>(partition_.first(p)));
        got[i] = receives ? detail::mpi_count(static_cast<std::size_t>(own)) : 0;
        to[i] = detail::mpi_count(static_cast<std::size_t>(p * own));
      }
      const MPI_Datatype type = sizeof(Scalar) == sizeof(float) ? MPI_FLOAT : MPI_DOUBLE;
      detail::check_mpi(MPI_Alltoallv(flat_.data(), sent.data(), from.data(), type, received_.data() + round * count * own,
                                      got.data(), to.data(), type, processes_.communicator()),
                        "MPI_Alltoallv");
    }
  }

  double squared_norm_of_parts(const Model& gradient) const {
    if (processes_.count() == 1) return squared_norm(gradient);
    const auto& pieces = partition_.pieces();
    const auto before = std::accumulate(pieces.begin(), pieces.begin() + processes_.rank(), std::size_t{0});
    std::vector<double> norms(std::accumulate(pieces.begin(), pieces.end(), std::size_t{0}));
    double* place = norms.data() + before;
    visit(
        [&, i = std::size_t{0}](std::string_view, const auto& tensor) mutable {
          const auto [first, count] = partition_.run(processes_.rank(), i++);
          for_each_piece(flat(tensor).segment(first, count), [&](const auto& piece) { *place++ = sum_of_squares(piece); });
        },
        gradient);
    processes_.share(std::span(norms), std::span<const std::size_t>(pieces));
    return std::accumulate(norms.begin(), norms.end(), 0.0);
  }

  const Processes& processes_;
  Index shards_;
  Partition partition_;
  Model part_, part_grad_;
  Optimizer optimizer_;  // of the part
  std::vector<Scalar> flat_, received_;
};

}  // namespace fbt
