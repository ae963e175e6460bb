// Processes: those that train together, over MPI. A thin layer that throws where MPI returns a code. Part of fbt::mpi.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"

#include <fmt/format.h>

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fbt {

namespace detail {

/// Throws std::runtime_error when an MPI function has failed.
inline void check_mpi(int code, const char* function) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  ensure(false, "{}: {}", function, std::string_view(text.data(), static_cast<std::size_t>(length)));
}

/// MPI counts in int.
inline int mpi_count(std::size_t count) {
  ensure(count <= static_cast<std::size_t>(std::numeric_limits<int>::max()),
         "MPI: expected a message of at most {} units, found {}", std::numeric_limits<int>::max(), count);
  return static_cast<int>(count);
}

}  // namespace detail

/// MPI from the beginning of a program to its end. Threads may compute, one of them communicates. An exception that leaves
/// its scope in one process ends all of them (MPI_Abort), since the others may wait for what will not come: catch in it what
/// all processes throw.
class MpiSession {
 public:
  /// Throws std::runtime_error when MPI cannot be used by a program of several threads.
  MpiSession(int& argc, char**& argv) {
    int provided = 0;
    detail::check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    if (provided >= MPI_THREAD_FUNNELED) return;
    MPI_Finalize();
    ensure(false, "MPI: expected one with support of threads (MPI_THREAD_FUNNELED), found level {}", provided);
  }
  ~MpiSession() {
    if (std::uncaught_exceptions() > exceptions_) MPI_Abort(MPI_COMM_WORLD, 1);
    MPI_Finalize();
  }
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

 private:
  int exceptions_ = std::uncaught_exceptions();
};

/// The processes of a communicator. What is said to be collective is to be called by all of them, in the same order.
class Processes {
 public:
  /// Collective. MPI is initialised; the communicator is duplicated, so that nothing of the caller's gets in between.
  explicit Processes(MPI_Comm communicator = MPI_COMM_WORLD) {
    detail::check_mpi(MPI_Comm_dup(communicator, &communicator_), "MPI_Comm_dup");
    MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(communicator_, &rank_);
    MPI_Comm_size(communicator_, &count_);
  }
  ~Processes() { MPI_Comm_free(&communicator_); }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  Index rank() const { return rank_; }    ///< of this process, from 0
  Index count() const { return count_; }  ///< of all processes
  bool is_first() const { return rank_ == 0; }
  MPI_Comm communicator() const { return communicator_; }

  /// The part of 0 .. total - 1 that is a process's: from first(total, p) to first(total, p + 1) - 1.
  Index first(Index total, Index process) const { return total * process / count_; }

  /// Collective: the largest values of all processes, entry by entry.
  void largest(std::span<double> values) const {
    detail::check_mpi(
        MPI_Allreduce(MPI_IN_PLACE, values.data(), detail::mpi_count(values.size()), MPI_DOUBLE, MPI_MAX, communicator_),
        "MPI_Allreduce");
  }

  /// Collective: every process has its part of values at its place, counts[p] of them at the sum of those before; fills in
  /// the parts of the others.
  template <class T>
  void share(std::span<T> values, std::span<const std::size_t> counts) const {
    static_assert(std::is_trivially_copyable_v<T>);
    std::vector<int> sizes, places;
    int place = 0;
    for (const std::size_t count : counts) {
      places.push_back(place);
      sizes.push_back(detail::mpi_count(count));
      place = detail::mpi_count(static_cast<std::size_t>(place) + count);
    }
    MPI_Datatype unit = MPI_DATATYPE_NULL;
    detail::check_mpi(MPI_Type_contiguous(static_cast<int>(sizeof(T)), MPI_BYTE, &unit), "MPI_Type_contiguous");
    MPI_Type_commit(&unit);
    const int code = MPI_Allgatherv(MPI_IN_PLACE, 0, unit, values.data(), sizes.data(), places.data(), unit, communicator_);
    MPI_Type_free(&unit);
    detail::check_mpi(code, "MPI_Allgatherv");
  }
  /// Of values that are cut as first() says.
  template <class T>
  void share(std::span<T> values) const {
    std::vector<std::size_t> counts;
    const auto total = static_cast<Index>(values.size());
    for (Index p = 0; p < count(); ++p) counts.push_back(static_cast<std::size_t>(first(total, p + 1) - first(total, p)));
    share(values, std::span<const std::size_t>(counts));
  }

  /// Collective: the text of every process.
  std::vector<std::string> gather(const std::string& text) const {
    std::vector<std::size_t> sizes(static_cast<std::size_t>(count_));
    sizes[static_cast<std::size_t>(rank_)] = text.size();
    share(std::span(sizes));
    std::string all(std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}), ' ');
    const auto own = sizes.begin() + rank_;
    std::copy(text.begin(), text.end(),
              all.begin() + static_cast<std::ptrdiff_t>(std::accumulate(sizes.begin(), own, std::size_t{0})));
    share(std::span(all), std::span<const std::size_t>(sizes));
    std::vector<std::string> texts;
    std::size_t place = 0;
    for (const std::size_t size : sizes) {
      texts.push_back(all.substr(place, size));
      place += size;
    }
    return texts;
  }

  /// Collective: calls f. When it throws in any process, all throw a std::runtime_error that names the first of them and
  /// what it says.
  template <class F>
  void together(F&& f) const {
    std::string failure;
    try {
      f();
    } catch (const std::exception& error) {
      failure = fmt::format(" {}", error.what());  // not empty
    }
    const std::vector<std::string> failures = gather(failure);
    for (std::size_t p = 0; p < failures.size(); ++p) ensure(failures[p].empty(), "process {}:{}", p, failures[p]);
  }

  /// Collective: all throw std::runtime_error unless a text is the same in all processes. what: its name, for the message.
  void expect_same(std::string_view what, const std::string& text) const {
    const std::vector<std::string> texts = gather(text);
    for (std::size_t p = 1; p < texts.size(); ++p)
      ensure(texts[p] == texts[0], "process {}: expected the same {} as process 0 has, {}, found {}", p, what, texts[0],
             texts[p]);
  }

  /// Sends bytes to another process, which receives them.
  void send(std::span<const std::byte> bytes, Index to) const {
    detail::check_mpi(
        MPI_Send(bytes.data(), detail::mpi_count(bytes.size()), MPI_BYTE, static_cast<int>(to), 0, communicator_),
        "MPI_Send");
  }
  std::vector<std::byte> receive(Index from) const {
    MPI_Status status;
    detail::check_mpi(MPI_Probe(static_cast<int>(from), 0, communicator_, &status), "MPI_Probe");
    int size = 0;
    MPI_Get_count(&status, MPI_BYTE, &size);
    std::vector<std::byte> bytes(static_cast<std::size_t>(size));
    detail::check_mpi(MPI_Recv(bytes.data(), size, MPI_BYTE, static_cast<int>(from), 0, communicator_, MPI_STATUS_IGNORE),
                      "MPI_Recv");
    return bytes;
  }

 private:
  MPI_Comm communicator_ = MPI_COMM_NULL;
  int rank_ = 0, count_ = 1;
};

}  // namespace fbt
