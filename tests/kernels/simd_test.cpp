#include "fbt/kernels/simd.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

using namespace fbt;

TEST_CASE("simd: only for float and double") {
  CHECK_FALSE(detail::has_simd<long double>);
  CHECK_FALSE(detail::has_simd<int>);
  CHECK(detail::has_simd<float> == detail::has_simd<double>);
}

#if FBT_VECTOR_BYTES > 0
namespace {

template <class Scalar>
void check_exp() {
  constexpr long double epsilon = std::numeric_limits<Scalar>::epsilon();
  const Scalar lowest = detail::Simd<Scalar>::exp_lowest;
  long double worst = 0;
  for (int i = 0; i <= 100000; ++i) {
    const Scalar x = lowest * static_cast<Scalar>(i) / 100000;
    const Scalar y = detail::exp_negative<Scalar>(detail::SimdOf<Scalar>{} + x)[0];
    const long double expected = std::exp(static_cast<long double>(x));
    worst = std::max(worst, std::abs(y - expected) / (expected * epsilon));
  }
  CHECK(worst < 2);  // units in the last place
  const auto at = [](Scalar x) { return detail::exp_negative<Scalar>(detail::SimdOf<Scalar>{} + x)[0]; };
  CHECK(at(0) == 1);
  CHECK(at(-std::numeric_limits<Scalar>::infinity()) < 1e-37);
  CHECK(at(-std::numeric_limits<Scalar>::max()) >= 0);
  CHECK(std::isnan(at(std::numeric_limits<Scalar>::quiet_NaN())));
}

template <class Scalar>
void check_reductions() {
  constexpr int width = detail::simd_width<Scalar>;
  std::vector<Scalar> entries(width * width);
  for (int i = 0; i < width * width; ++i) entries[static_cast<std::size_t>(i)] = static_cast<Scalar>((i * 37) % 101 - 50);
  detail::SimdOf<Scalar> rows[width];
  for (int i = 0; i < width; ++i) {
    const auto first = entries.begin() + i * width;
    rows[i] = detail::load(&*first);
    CHECK(detail::sum<Scalar>(rows[i]) == std::accumulate(first, first + width, Scalar(0)));
    CHECK(detail::largest<Scalar>(rows[i]) == *std::max_element(first, first + width));
  }
  const auto sums = detail::sums<Scalar>(rows);
  for (int i = 0; i < width; ++i) {
    const auto first = entries.begin() + i * width;
    CHECK(sums[i] == std::accumulate(first, first + width, Scalar(0)));
  }
}

template <class Scalar>
void check_parts() {
  for (int n = 0; n < detail::simd_width<Scalar>; ++n) {
    const std::vector<Scalar> whole(detail::simd_width<Scalar>, Scalar(7));
    const auto v = detail::load_part(whole.data(), n);
    for (int i = 0; i < detail::simd_width<Scalar>; ++i) CHECK(v[i] == (i < n ? 7 : 0));
  }
  for (Index n = 0; n <= 3 * detail::simd_width<Scalar>; ++n) {
    std::vector<Scalar> from(static_cast<std::size_t>(n));  // exactly n: a sanitizer sees what is read beyond
    std::iota(from.begin(), from.end(), Scalar(1));
    std::vector<Scalar> to(from.size() + 8, Scalar(-1)), expected = to;
    std::transform(from.begin(), from.end(), expected.begin(), [](Scalar x) { return 2 * x; });
    detail::for_each_vector<Scalar>(
        n, [&](Index i, auto&& load, auto&& store) { store(to.data() + i, load(from.data() + i) * Scalar(2)); });
    CHECK(to == expected);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("simd: exp of numbers up to 0", "", float, double) { check_exp<TestType>(); }

TEMPLATE_TEST_CASE("simd: sums and the largest entry", "", float, double) { check_reductions<TestType>(); }

TEMPLATE_TEST_CASE("simd: vectors over any length touch nothing else", "", float, double) { check_parts<TestType>(); }
#endif
