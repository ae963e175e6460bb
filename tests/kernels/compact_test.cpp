#include "fbt/kernels/compact.hpp"

#include "support/catch.hpp"
#include "support/framed.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using namespace fbt;
using namespace fbt::kernels;

namespace {

const std::vector<WeightFormat> formats{WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4};

/// The entries as they were rounded.
Matrix<float> entries(const CompactMatrix& w) {
  Matrix<float> result(w.rows(), w.depth());
  for (Index i = 0; i < w.rows(); ++i)
    for (Index k = 0; k < w.depth(); ++k) result(i, k) = w(i, k);
  return result;
}

CompactMatrix packed(const In<float>& w, WeightFormat format) {
  CompactMatrix result;
  result.pack(w, format);
  return result;
}

CompactColumns columns(const In<float>& x, WeightFormat format) {
  CompactColumns result;
  result.resize(x.rows(), x.cols(), format);
  result.take(x);
  return result;
}

Matrix<float> product(const CompactMatrix& w, const In<float>& x) {
  Matrix<float> y(w.rows(), x.cols());
  w.multiply_rows(0, w.rows(), columns(x, w.format()), y, {});
  return y;
}

/// x as the products of a format read it.
Exact rounded(const Matrix<float>& x, WeightFormat format) {
  Exact result = exact(x);
  if (format == WeightFormat::bf16) return result;
  const CompactColumns read = columns(x, format);
  for (Index c = 0; c < x.cols(); ++c)
    for (Index k = 0; k < x.rows(); ++k)
      result(k, c) = static_cast<long double>(read.blocks(c)[k / 32].scale) * read.blocks(c)[k / 32].q[k % 32];
  return result;
}

}  // namespace

TEST_CASE("CompactMatrix: entries by hand") {
  Matrix<float> w(2, 4);
  w << 1, -254, 63, 0,  //
      0.1f, 4, -8, 7.4f;
  const Matrix<float> bytes = entries(packed(w, WeightFormat::int8));  // scales 2 and 8/127
  CHECK(bytes(0, 0) == 0);                                             // half of a scale: to the even one
  CHECK(bytes(0, 1) == -254);
  CHECK(bytes(0, 2) == 64);  // 31.5 to the even one
  CHECK(bytes(0, 3) == 0);
  CHECK(bytes(1, 0) == Approx(2 * 8 / 127.0));
  CHECK(bytes(1, 1) == Approx(64 * 8 / 127.0));
  const Matrix<float> nibbles = entries(packed(w, WeightFormat::int4));  // scales 31.75 and 1
  CHECK(nibbles.row(0) == (Matrix<float>(1, 4) << 0, -254, 63.5f, 0).finished());
  CHECK(nibbles.row(1) == (Matrix<float>(1, 4) << 0, 4, -8, 7).finished());

  w << 1, 1 + 0x1p-8f, 1 + 0x3p-8f, 1 + 0x1.1p-8f,  // halfway, twice, and a little more
      -0x1.fffffep127f, 0x1p-130f, std::numeric_limits<float>::infinity(), 0;
  const Matrix<float> halves = entries(packed(w, WeightFormat::bf16));
  CHECK(halves.row(0) == (Matrix<float>(1, 4) << 1, 1, 1 + 0x1p-6f, 1 + 0x1p-7f).finished());
  CHECK(halves(1, 0) == -std::numeric_limits<float>::infinity());
  CHECK(halves(1, 1) == 0x1p-130f);
  CHECK(halves(1, 2) == std::numeric_limits<float>::infinity());
}

TEST_CASE("CompactMatrix: an entry is off by half of a step at most") {
  Random random(1);
  const Matrix<float> w = random_matrix<float>(50, 100, random);
  const Matrix<float> halves = entries(packed(w, WeightFormat::bf16));
  CHECK(((halves - w).array().abs() / w.array().abs()).maxCoeff() <= 0x1p-8f);
  CHECK(((halves - w).array().abs() / w.array().abs()).maxCoeff() > 0x1p-10f);
  for (Index k0 = 0; k0 < 100; k0 += 32) {
    const Index count = std::min<Index>(32, 100 - k0);
    for (Index i = 0; i < 50; ++i) {
      const auto block = w.row(i).segment(k0, count);
      const float greatest = block.cwiseAbs().maxCoeff();
      const auto off = [&](WeightFormat format) {
        return (entries(packed(w, format)).row(i).segment(k0, count) - block).cwiseAbs().maxCoeff() / greatest;
      };
      if (i % 10 != 0) continue;
      CHECK(off(WeightFormat::int8) <= 0.5f / 127 + 1e-6f);
      CHECK(off(WeightFormat::int4) <= 1.0f / 8 + 1e-6f);  // 8 becomes 7 where the greatest is the other one
    }
  }
}

TEST_CASE("CompactColumns: entries are rounded to 127ths of the greatest of their 32") {
  Random random(1);
  const Matrix<float> x = random_matrix<float>(100, 3, random);
  const Exact found = rounded(x, WeightFormat::int8);
  const CompactColumns read = columns(x, WeightFormat::int8);
  for (Index c = 0; c < 3; ++c) {
    for (Index b = 0; b < 4; ++b) {
      const auto block = x.col(c).segment(32 * b, std::min<Index>(32, 100 - 32 * b));
      const float greatest = block.cwiseAbs().maxCoeff();
      CHECK(largest(exact(block) - found.col(c).segment(32 * b, block.size())) <= 0.501L * greatest / 127);
      CHECK(read.blocks(c)[b].scale == Approx(greatest / 127));
      int sum = 0;
      for (const int q : read.blocks(c)[b].q) sum += q;
      CHECK(read.blocks(c)[b].sum == sum);
    }
  }
  CHECK(rounded(x, WeightFormat::bf16) == exact(x));
}

TEST_CASE("CompactMatrix: products of many shapes, with all that an epilogue does") {
  Random random(1);
  for (const WeightFormat format : formats) {
    CAPTURE(name_of(format));
    for (const Index rows : {1, 7, 16, 33, 130}) {
      for (const Index depth : {1, 31, 32, 100}) {
        for (const Index lanes : {1, 2, 3, 4, 7, 8, 13}) {
          CAPTURE(rows, depth, lanes);
          const Matrix<float> w = random_matrix<float>(rows, depth, random), x = random_matrix<float>(depth, lanes, random);
          const Vector<float> bias = random_matrix<float>(rows, 1, random);
          Framed<float> w_framed(w), x_framed(x), bias_framed(bias), add(random_matrix<float>(rows, lanes, random));
          Framed<float> y(Matrix<float>::Constant(rows, lanes, Framed<float>::nan)), all = y;
          const CompactMatrix matrix = packed(w_framed.view(), format);
          const CompactColumns read = columns(x_framed.view(), format);
          matrix.multiply_rows(0, rows, read, y.view(), {});
          matrix.multiply_rows(0, rows, read, all.view(),
                               {bias_framed.view().data(), add.view().data(), add.view().outerStride(), true});
          const Exact left = exact(entries(matrix)), right = rounded(x, format), expected = times(left, right);
          const Exact with_all = (expected + exact(bias).replicate(1, lanes) + exact(add.view())).cwiseMax(0.0L);
          CHECK(error_of(exact(y.view()), expected, left, right, std::numeric_limits<float>::epsilon()) < 1);
          CHECK(error_of(exact(all.view()), with_all, left, right, std::numeric_limits<float>::epsilon()) < 1);
          CHECK(y.intact());
          CHECK(all.intact());
        }
      }
    }
  }
}

TEST_CASE("CompactMatrix: a column's product does not depend on what is computed beside it, nor on the number of threads") {
  Random random(1);
  for (const WeightFormat format : formats) {
    CAPTURE(name_of(format));
    const Matrix<float> w = random_matrix<float>(240, 300, random), x = random_matrix<float>(300, 15, random);
    const CompactMatrix matrix = packed(w, format);
    const Matrix<float> together = product(matrix, x);
    for (Index c = 0; c < x.cols(); ++c) CHECK(product(matrix, x.col(c)) == together.col(c));
    Matrix<float> parts(240, 15);
    matrix.multiply_rows(0, 48, columns(x, format), parts, {});
    matrix.multiply_rows(48, 64, columns(x, format), parts, {});
    matrix.multiply_rows(112, 128, columns(x, format), parts, {});
    CHECK(parts == together);
    Team team(3);
    CompactMatrix by_team;
    by_team.pack(w, format, &team);
    CHECK(entries(by_team) == entries(matrix));
  }
}

TEST_CASE("CompactMatrix: what is not finite stays so, and zeros give zeros") {
  for (const WeightFormat format : formats) {
    CAPTURE(name_of(format));
    for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()}) {
      CAPTURE(wrong);
      Matrix<float> w = Matrix<float>::Ones(20, 40), x = Matrix<float>::Ones(40, 2);
      w(3, 35) = wrong;
      const Matrix<float> y = product(packed(w, format), x);
      for (Index i = 0; i < 20; ++i) CHECK(std::isfinite(y(i, 0)) == (i != 3));
      x(10, 1) = wrong;
      const Matrix<float> z = product(packed(Matrix<float>::Ones(20, 40), format), x);
      CHECK(z.col(0).allFinite());
      for (Index i = 0; i < 20; ++i) CHECK(!std::isfinite(z(i, 1)));
    }
    Matrix<float> w = Matrix<float>::Zero(5, 40), x = Matrix<float>::Zero(40, 1);
    CHECK(product(packed(w, format), Matrix<float>::Ones(40, 1)).isZero(0));
    CHECK(product(packed(Matrix<float>::Ones(5, 40), format), x).isZero(0));
    w.setConstant(1e-41f);  // too small for a scale, or nearly
    CHECK(product(packed(w, format), Matrix<float>::Ones(40, 1)).cwiseAbs().maxCoeff() <= 5e-40f);
    x.setConstant(1e-41f);
    CHECK(product(packed(Matrix<float>::Ones(5, 40), format), x).cwiseAbs().maxCoeff() <= 5e-40f);
  }
}

TEST_CASE("CompactMatrix: its bytes") {
  const Matrix<float> w = Matrix<float>::Ones(160, 320);
  CHECK(packed(w, WeightFormat::bf16).bytes() == 160 * 320 * 2);
  CHECK(packed(w, WeightFormat::int8).bytes() == 160 * 320 * 9 / 8);
  CHECK(packed(w, WeightFormat::int4).bytes() == 160 * 320 * 5 / 8);
}
