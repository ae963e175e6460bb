#include "fbt/io/tensor_view.hpp"

#include "support/catch.hpp"

#include <bit>
#include <cmath>
#include <limits>

using namespace fbt;

TEST_CASE("files: for little-endian machines, others are told") {
  if constexpr (std::endian::native == std::endian::little) {
    CHECK_NOTHROW(check_byte_order("a"));
  } else {
    CHECK_THROWS_WITH(check_byte_order("a"),
                      "a: the numbers in the file are little-endian: expected such a machine, found a "
                      "big-endian one");
  }
}

TEST_CASE("tensor view: F16, all of them") {
  const auto half = [](std::uint16_t bits) {
    TensorView view;
    view.dtype = Dtype::f16;
    view.bytes = {reinterpret_cast<const char*>(&bits), sizeof(bits)};
    return view.number(0);
  };
  CHECK(half(0x3c00) == 1);
  CHECK(half(0x3555) == 0.333251953125);
  CHECK(half(0xc000) == -2);
  CHECK(half(0x7bff) == 65504);
  CHECK(half(0x0400) == 0x1p-14);         // the smallest normal number
  CHECK(half(0x03ff) == 1023 * 0x1p-24);  // the largest subnormal one
  CHECK(half(0x0001) == 0x1p-24);
  CHECK(half(0x7c00) == std::numeric_limits<double>::infinity());
  CHECK(half(0xfc00) == -std::numeric_limits<double>::infinity());
  CHECK(std::signbit(half(0x8000)));
  int wrong = 0;
  for (std::uint16_t bits = 0; bits < 0x7c00; ++bits) {  // the distance to the next number follows from the exponent
    const double next = bits == 0x7bff ? 65536 : half(static_cast<std::uint16_t>(bits + 1));
    wrong += next - half(bits) != std::ldexp(1, std::max(bits >> 10, 1) - 25);
    wrong += half(static_cast<std::uint16_t>(bits | 0x8000)) != -half(bits);
  }
  for (std::uint16_t bits = 0x7c01; bits < 0x8000; ++bits) wrong += !std::isnan(half(bits));
  CHECK(wrong == 0);
}

TEST_CASE("tensor view: shapes of matrices and vectors, and of views of them") {
  using Shape = std::vector<std::uint64_t>;
  const Matrix<float> matrix(2, 3), column(4, 1);
  CHECK(shape_of(matrix) == Shape{2, 3});
  CHECK(shape_of(column) == Shape{4, 1});
  CHECK(shape_of(matrix.middleCols(1, 2)) == Shape{2, 2});
  CHECK(shape_of(Vector<double>(4)) == Shape{4});
  CHECK(shape_of(Matrix<double>(0, 3)) == Shape{0, 3});
  CHECK(shape_text(shape_of(matrix)) == "(2, 3)");
  CHECK(shape_text(Shape{}) == "()");
}

TEST_CASE("tensor view: whole numbers") {
  const std::string bytes = "\xfe\xff\xff\xff\xff\xff\xff\xff";
  const auto number = [&](Dtype dtype) { return TensorView{"", dtype, {1}, bytes}.number(0); };
  for (const Dtype dtype : {Dtype::i8, Dtype::i16, Dtype::i32, Dtype::i64}) CHECK(number(dtype) == -2);
  CHECK(number(Dtype::u8) == 254);
  CHECK(number(Dtype::u16) == 65534);
  CHECK(number(Dtype::u32) == 4294967294.0);
  CHECK(number(Dtype::u64) == 0x1p64);
  CHECK(TensorView{"", Dtype::boolean, {1}, "\1"}.number(0) == 1);
  CHECK(std::isnan(number(Dtype::f8_e4m3)));
}

TEST_CASE("tensor view: the bytes of a shape") {
  CHECK(tensor_bytes(Dtype::f32, {2, 3}) == 24u);
  CHECK(tensor_bytes(Dtype::f64, {}) == 8u);
  CHECK(tensor_bytes(Dtype::boolean, {5}) == 5u);
  CHECK(tensor_bytes(Dtype::f4, {3, 2}) == 3u);
  CHECK(tensor_bytes(Dtype::f6_e2m3, {4}) == 3u);
  CHECK(tensor_bytes(Dtype::f32, {1u << 31, 0, 1u << 31}) == 0u);
  CHECK_FALSE(tensor_bytes(Dtype::u8, {std::uint64_t(1) << 32, std::uint64_t(1) << 32}));
}

TEST_CASE("tensor view: dtypes of scalar types") {
  CHECK(dtype_info(dtype_of<float>()).name == "F32");
  CHECK(dtype_info(dtype_of<double>()).name == "F64");
  CHECK(dtype_info(dtype_of<std::int32_t>()).name == "I32");
  CHECK(dtype_info(dtype_of<std::int64_t>()).name == "I64");
  for (const DtypeInfo& info : dtypes) CHECK(&dtype_info(info.dtype) == &info);
}
