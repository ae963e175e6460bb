#include "fbt/core/random.hpp"

#include "support/catch.hpp"

#include <array>

using namespace fbt;

TEST_CASE("Random: the same numbers everywhere") {
  Random random(42);
  CHECK(random.bits() == 0xc757960b442b0ac3u);
  CHECK(random.bits() == 0x4bb22a7f77ff8c6cu);
  CHECK(random.bits() == 0x04950439d3c5eafeu);
  CHECK(random.bits() == 0xb769fb44902f2dc2u);
  random = Random(42);
  CHECK(random.uniform() == 0.7786802079682894);
  CHECK(random.uniform() == 0.295687347526835);
  random = Random(42);
  CHECK(random.normal() == Approx(0.9804123362114753).epsilon(1e-14));
  CHECK(random.normal() == Approx(-0.12382445875104282).epsilon(1e-14));
  CHECK(random.normal() == Approx(-0.14929389777971688).epsilon(1e-14));
}

TEST_CASE("Random: xoshiro256++ and splitmix64 as published") {
  Random random(0);
  random.set_state({1, 2, 3, 4});
  CHECK(random.bits() == 41943041u);
  CHECK(random.bits() == 58720359u);
  CHECK(random.bits() == 3588806011781223u);
  CHECK(random.bits() == 3591011842654386u);
  CHECK(mix_seed(0) == 0xe220a8397b1dcdafu);
  CHECK(mix_seed(1) == 0x910a2dec89025cc1u);
  CHECK(mix_seed(7, 3) == 0x6baa78681a99f995u);
}

TEST_CASE("Random: a saved state goes on where it was") {
  Random random(3);
  for (int i = 0; i < 10; ++i) random.normal();
  const Random::State state = random.state();
  const double next[] = {random.normal(), random.uniform(), random.normal()};
  Random other(99);
  other.set_state(state);
  CHECK(other.normal() == next[0]);
  CHECK(other.uniform() == next[1]);
  CHECK(other.normal() == next[2]);
  CHECK(other.state() == random.state());
}

TEST_CASE("Random: uniform numbers") {
  Random random(1);
  double sum = 0, least = 1, most = 0;
  for (int i = 0; i < 100000; ++i) {
    const double u = random.uniform();
    sum += u;
    least = std::min(least, u);
    most = std::max(most, u);
  }
  CHECK(least >= 0);
  CHECK(least < 1e-4);
  CHECK(most < 1);
  CHECK(most > 1 - 1e-4);
  CHECK(sum / 1e5 == Approx(0.5).epsilon(0.01));
}

TEST_CASE("Random: the largest bits stay below 1 and below n") {
  Random random(0);
  // the next result is rotl(s0 + s3, 23) + s0, here all ones
  random.set_state({0, 1, 1, ~std::uint64_t{0}});
  CHECK(random.bits() == ~std::uint64_t{0});
  random.set_state({0, 1, 1, ~std::uint64_t{0}});
  CHECK(random.uniform() == 1 - 0x1p-53);
  constexpr Index large = Index{1} << (sizeof(Index) > 4 ? 40 : 30);
  for (const Index n : {Index{1}, Index{7}, large, large - 1}) {
    random.set_state({0, 1, 1, ~std::uint64_t{0}});
    CHECK(random.below(n) == n - 1);
  }
}

TEST_CASE("Random: whole numbers below n are equally likely") {
  Random random(1);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts.at(static_cast<std::size_t>(random.below(7)));
  for (const int count : counts) CHECK(count == Approx(10000).epsilon(0.05));
}

TEST_CASE("Random: normal numbers") {
  Random random(1);
  double sum = 0, squares = 0, fourths = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
    fourths += x * x * x * x;
  }
  CHECK(sum / 1e5 == Approx(0).margin(0.01));
  CHECK(squares / 1e5 == Approx(1).epsilon(0.02));
  CHECK(fourths / 1e5 == Approx(3).epsilon(0.05));
}

TEST_CASE("Random: filling matrices") {
  Random random(1), same(1);
  Matrix<float> m(50, 40);
  fill_uniform(m, 0.5, random);
  CHECK(m.minCoeff() >= -0.5f);
  CHECK(m.minCoeff() < -0.45f);
  CHECK(m.maxCoeff() <= 0.5f);
  CHECK(m.maxCoeff() > 0.45f);
  CHECK(m(1, 0) == static_cast<float>(0.5 * (2 * (same.uniform(), same.uniform()) - 1)));  // column after column
  RowMatrix<double> n(50, 40);
  fill_normal(n, 3, random);
  CHECK(n.squaredNorm() / 2000 == Approx(9).epsilon(0.1));
}

TEST_CASE("Random: an idle one fills nothing") {
  Random random = Random::idle();
  Matrix<double> m = Matrix<double>::Constant(2, 3, 7);
  fill_uniform(m, 1, random);
  fill_normal(m, 1, random);
  CHECK(m == Matrix<double>::Constant(2, 3, 7));
  CHECK(random.is_idle());
  CHECK_FALSE(Random(0).is_idle());
}
