#include "fbt/kernels/packed.hpp"

#include "support/catch.hpp"
#include "support/framed.hpp"

#include <utility>
#include <vector>

using namespace fbt;
using namespace fbt::kernels;

namespace {

/// The largest error of all products of one shape.
template <class Scalar>
long double worst_product_error(Index rows, Index depth, Index columns, Random& random, Packed<Scalar>& packed) {
  const Matrix<Scalar> w = random_matrix<Scalar>(rows, depth, random), x = random_matrix<Scalar>(depth, columns, random);
  const Matrix<Scalar> start = random_matrix<Scalar>(rows, columns, random);
  const Matrix<Scalar> undefined = Matrix<Scalar>::Constant(rows, columns, Framed<Scalar>::nan);
  const Vector<Scalar> bias = random_matrix<Scalar>(rows, 1, random);
  Framed<Scalar> w_framed(w), w_transposed(w.transpose()), x_framed(x), start_framed(start), bias_framed(bias);
  const Exact exact_w = exact(w), exact_x = exact(x), product = times(exact_w, exact_x);
  const Exact added = product + exact(start), with_bias = product + exact(bias).replicate(1, columns);
  const Exact with_all = (with_bias + exact(start)).cwiseMax(0.0L);

  long double worst = 0;
  const auto see = [&](Framed<Scalar>& y, const Exact& expected) {
    constexpr long double epsilon = std::numeric_limits<Scalar>::epsilon();
    worst = std::max(worst, y.intact() ? error_of(exact(y.view()), expected, exact_w, exact_x, epsilon) : infinity);
  };
  for (const bool transposed : {false, true}) {
    transposed ? packed.pack_transposed(w_transposed.view()) : packed.pack(w_framed.view());
    if (packed.rows() != rows || packed.depth() != depth) return infinity;
    Framed<Scalar> plain(undefined), biased(undefined), sum(start), all(undefined);
    const Scalar* const b = bias_framed.view().data();
    packed.multiply(x_framed.view(), plain.view());
    packed.multiply(x_framed.view(), biased.view(), {.bias = b});
    packed.multiply(x_framed.view(), sum.view(), {.add = sum.view().data(), .add_stride = sum.view().outerStride()});
    packed.multiply(x_framed.view(), all.view(), {b, start_framed.view().data(), start_framed.view().outerStride(), true});
    see(plain, product);
    see(biased, with_bias);
    see(sum, added);
    see(all, with_all);
  }
  return worst;
}

}  // namespace

TEMPLATE_TEST_CASE("Packed: products of all small shapes", "", float, double, long double) {
  Random random(1);
  Packed<TestType> packed;  // packed again and again: nothing of an earlier matrix may remain
  long double worst = 0;
  const Index last = std::is_same_v<TestType, long double> ? 20 : 70;
  for (Index size = 1; size <= last; ++size) {
    for (const Index a : {1, 7, 33}) {
      for (const Index b : {1, 5, 16}) {
        worst = std::max(worst, worst_product_error<TestType>(size, a, b, random, packed));
        worst = std::max(worst, worst_product_error<TestType>(a, size, b, random, packed));
        worst = std::max(worst, worst_product_error<TestType>(a, b, size, random, packed));
      }
    }
  }
  constexpr Index block = detail::block_depth;
  for (const auto& [depth, columns] :
       std::vector<std::pair<Index, Index>>{{block, 8}, {block + 2, 37}, {block * 3 / 2, 33}, {2 * block + 1, 9}})
    worst = std::max(worst, worst_product_error<TestType>(193, depth, columns, random, packed));
  CHECK(worst < 1);
}

TEMPLATE_TEST_CASE("Packed: a column's product is the same to the last bit whatever stands beside it", "", float, double) {
  Random random(2);
  for (const Index depth : {3, 40, 300}) {
    const Matrix<TestType> w = random_matrix<TestType>(70, depth, random), x = random_matrix<TestType>(depth, 9, random);
    Packed<TestType> packed;
    packed.pack(w);
    Matrix<TestType> together(70, 9), moved(70, 8), alone(70, 1);
    packed.multiply(x, together);
    packed.multiply(x.rightCols(8), moved);
    CHECK(moved == together.rightCols(8));
    for (Index c = 0; c < 9; ++c) {
      packed.multiply(x.col(c), alone);
      CHECK(alone == together.col(c));
    }
  }
}

TEST_CASE("Packed: a team packs what one thread packs") {
  Random random(1);
  const Matrix<float> w = random_matrix<float>(300, 301, random), x = random_matrix<float>(301, 3, random);
  const Matrix<float> x_long = random_matrix<float>(300, 3, random);
  Team team(GENERATE(2, 3));
  Packed<float> alone, together;
  Matrix<float> expected(300, 3), y(300, 3), expected_long(301, 3), y_long(301, 3);
  alone.pack(w);
  together.pack(w, &team);
  alone.multiply(x, expected);
  together.multiply(x, y);
  CHECK(y == expected);
  alone.pack_transposed(w);
  together.pack_transposed(w, &team);
  alone.multiply(x_long, expected_long);
  together.multiply(x_long, y_long);
  CHECK(y_long == expected_long);
}

TEST_CASE("SharedPack: copies share what was packed until one of them packs anew") {
  Random random(1);
  const Matrix<double> one = random_matrix<double>(3, 4, random), two = random_matrix<double>(5, 4, random);
  const Matrix<double> x = random_matrix<double>(4, 2, random);
  const auto product = [&](const SharedPack<Packed<double>>& packed) {
    Matrix<double> y(packed->rows(), 2);
    (*packed).multiply(x, y);
    return y;
  };
  SharedPack<Packed<double>> first;
  CHECK_FALSE(first.has());
  first.own().pack(one);
  REQUIRE(first.has());
  const Packed<double>* const storage = &*first;
  first.own().pack(one);
  CHECK(&*first == storage);  // alone, it is packed in the same place again
  const Matrix<double> expected = product(first);
  CHECK((expected - one * x).norm() < 1e-14);

  SharedPack<Packed<double>> second = first, third = first;
  CHECK(&*second == storage);
  second.own().pack(two);  // the others still read the first matrix
  CHECK(&*second != storage);
  CHECK(&*third == storage);
  CHECK(product(first) == expected);
  CHECK((product(second) - two * x).norm() < 1e-14);
  third = second;
  CHECK(&*third == &*second);
  first.own().pack(two);
  CHECK(&*first == storage);  // nobody else is left there
}

TEMPLATE_TEST_CASE("Packed: empty shapes", "", float, double, long double) {
  using M = Matrix<TestType>;
  Packed<TestType> packed;
  CHECK(packed.rows() == 0);
  packed.pack(M(3, 0));
  M y = M::Constant(3, 2, 7);
  packed.multiply(M(0, 2), y);
  CHECK(y == M(M::Zero(3, 2)));
  const Vector<TestType> bias = Vector<TestType>::Constant(3, 5);
  packed.multiply(M(0, 2), y, {.bias = bias.data()});
  CHECK(y == M(M::Constant(3, 2, 5)));
  packed.pack(M::Ones(3, 2));
  M none(3, 0);
  packed.multiply(M(2, 0), none);
}

TEMPLATE_TEST_CASE("add_outer: adds the product of all columns", "", float, double, long double) {
  Random random(1);
  const Index columns = GENERATE(1, 255, 512, 513, 600);  // pieces of 512
  fbt::Vector<TestType> scratch;
  const Index wide = columns == 513 ? 300 : 33;  // pieces of up to 256 rows of the right matrix
  for (const auto& [rows, inputs] : std::vector<std::pair<Index, Index>>{{1, 1}, {7, 50}, {50, 7}, {40, wide}}) {
    Framed<TestType> a(random_matrix<TestType>(rows, columns, random)), b(random_matrix<TestType>(inputs, columns, random));
    Framed<TestType> sum(random_matrix<TestType>(rows, inputs, random));
    const Exact left = exact(a.view()), right = exact(b.view()).transpose(),
                expected = exact(sum.view()) + times(left, right);
    add_outer<TestType>(a.view(), b.view(), sum.view(), scratch);
    CHECK(error_of(exact(sum.view()), expected, left, right, std::numeric_limits<TestType>::epsilon()) < 1);
    CHECK(sum.intact());
  }
}

TEMPLATE_TEST_CASE("Packed: what is not a number is not hidden by relu", "", float, double, long double) {
  Packed<TestType> packed;
  packed.pack(Matrix<TestType>::Constant(5, 2, std::numeric_limits<TestType>::quiet_NaN()));
  Matrix<TestType> y(5, 3);
  packed.multiply(Matrix<TestType>::Ones(2, 3), y, {.relu = true});
  CHECK(y.array().isNaN().all());
}
