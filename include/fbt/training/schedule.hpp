// Learning rate: linear warm-up, then half a cosine from the peak down to a fraction of it.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace fbt {

struct Schedule {
  double peak = 2e-3;
  Index warmup = 50;             ///< updates
  double final_fraction = 0.05;  ///< of the peak, at the end

  void validate() const {
    check(peak > 0 && is_finite(peak), "the learning rate must be above 0, found {}", peak);
    check(warmup >= 0, "warm-up must be at least 0 updates, found {}", warmup);
    check(final_fraction >= 0 && final_fraction <= 1,
          "the final fraction of the learning rate must be from 0 to 1, found {}", final_fraction);
  }

  /// The rate of the given update (from 0), with progress in [0, 1] being the share of the whole training that is done.
  double rate(std::int64_t update, double progress) const {
    const double warm = warmup > 0 ? std::min(1.0, static_cast<double>(update + 1) / static_cast<double>(warmup)) : 1.0;
    const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::clamp(progress, 0.0, 1.0)));
    return peak * warm * (final_fraction + (1 - final_fraction) * cosine);
  }
};

}  // namespace fbt
