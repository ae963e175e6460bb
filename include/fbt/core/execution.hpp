// Execution: how steps are computed, by how many threads and from which copy of the weights.
#pragma once

#include "fbt/core/names.hpp"
#include "fbt/core/types.hpp"

#include <array>
#include <string_view>
#include <utility>

namespace fbt {

/// How the weight matrices are kept for steps that nobody goes back through. A step of one sequence reads each of them once,
/// so that its time is nearly that of reading their bytes. With int8 and int4 what a matrix is multiplied with is rounded to 8 bits,
/// too, with a scale for every 32 entries.
enum class WeightFormat {
  full,  ///< as they are
  bf16,  ///< the first 16 bits of a float, rounded to the nearest: 2 bytes
  int8,  ///< whole numbers of 8 bits with a float scale for every 32 of a row: 1.125 bytes
  int4,  ///< the same of 4 bits: 0.625 bytes
};

template <>
struct Names<WeightFormat> {
  static constexpr std::array<std::pair<std::string_view, WeightFormat>, 4> list{{{"full", WeightFormat::full},
                                                                                  {"bf16", WeightFormat::bf16},
                                                                                  {"int8", WeightFormat::int8},
                                                                                  {"int4", WeightFormat::int4}}};
};

struct Execution {
  Index threads = 1;  ///< at most so many share a step, where it is large enough; results do not depend on it
  WeightFormat weights = WeightFormat::full;  ///< others than full round them, and need a model of float

  Execution() = default;
  /// A number stands for so many threads.
  Execution(Index threads_, WeightFormat weights_ = WeightFormat::full) : threads(threads_), weights(weights_) {}
};

}  // namespace fbt
