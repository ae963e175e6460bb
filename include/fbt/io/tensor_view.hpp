// A tensor in a file: its dtype, its shape and its bytes, row-major.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/types.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fbt {

/// Those of the safetensors format. The last ones have no numbers here, but files that hold such tensors can be read.
enum class Dtype {
  f16,
  bf16,
  f32,
  f64,
  boolean,
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64,
  f4,
  f6_e2m3,
  f6_e3m2,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  c64
};

struct DtypeInfo {
  std::string_view name;
  Dtype dtype;
  std::uint64_t bits;
  bool parameters;  ///< whether parameters may be stored as this
};
inline constexpr std::array<DtypeInfo, 20> dtypes{
    {{"F16", Dtype::f16, 16, true},         {"BF16", Dtype::bf16, 16, true},       {"F32", Dtype::f32, 32, true},
     {"F64", Dtype::f64, 64, true},         {"BOOL", Dtype::boolean, 8, false},    {"I8", Dtype::i8, 8, false},
     {"I16", Dtype::i16, 16, false},        {"I32", Dtype::i32, 32, false},        {"I64", Dtype::i64, 64, false},
     {"U8", Dtype::u8, 8, false},           {"U16", Dtype::u16, 16, false},        {"U32", Dtype::u32, 32, false},
     {"U64", Dtype::u64, 64, false},        {"F4", Dtype::f4, 4, false},           {"F6_E2M3", Dtype::f6_e2m3, 6, false},
     {"F6_E3M2", Dtype::f6_e3m2, 6, false}, {"F8_E4M3", Dtype::f8_e4m3, 8, false}, {"F8_E5M2", Dtype::f8_e5m2, 8, false},
     {"F8_E8M0", Dtype::f8_e8m0, 8, false}, {"C64", Dtype::c64, 64, false}}};
inline const DtypeInfo& dtype_info(Dtype dtype) {
  return *std::find_if(dtypes.begin(), dtypes.end(), [&](const DtypeInfo& info) { return info.dtype == dtype; });
}
/// The bytes of a tensor; none when there are too many to count.
inline std::optional<std::uint64_t> tensor_bytes(Dtype dtype, const std::vector<std::uint64_t>& shape) {
  std::uint64_t bits = dtype_info(dtype).bits;
  for (const std::uint64_t n : shape) {
    if (n > 0 && bits > std::numeric_limits<std::uint64_t>::max() / n) return std::nullopt;
    bits *= n;
  }
  return bits / 8 + (bits % 8 > 0);
}

template <class T>
constexpr Dtype dtype_of() {
  if constexpr (std::is_same_v<T, float>) {
    return Dtype::f32;
  } else if constexpr (std::is_same_v<T, double>) {
    return Dtype::f64;
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return Dtype::i32;
  } else {
    static_assert(std::is_same_v<T, std::int64_t>, "no safetensors dtype for this type");
    return Dtype::i64;
  }
}

/// The shape that a matrix (rows, columns) or a vector (n) has in a file.
template <class Derived>
std::vector<std::uint64_t> shape_of(const Eigen::DenseBase<Derived>& tensor) {
  std::vector<std::uint64_t> shape{static_cast<std::uint64_t>(tensor.rows())};
  if (Derived::ColsAtCompileTime != 1) shape.push_back(static_cast<std::uint64_t>(tensor.cols()));
  return shape;
}

/// A tensor inside a file that has been read.
struct TensorView {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::uint64_t> shape;
  std::string_view bytes;

  std::uint64_t size() const { return bytes.size() * 8 / dtype_info(dtype).bits; }

  /// Element i in row-major order, as a number; NaN for a dtype that has none here. The data need not be aligned.
  double number(std::uint64_t i) const {
    switch (dtype) {
      case Dtype::f16: return half(at<std::uint16_t>(i));
      case Dtype::bf16:
        return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(at<std::uint16_t>(i)) << 16));
      case Dtype::f32: return static_cast<double>(at<float>(i));
      case Dtype::f64: return at<double>(i);
      case Dtype::i8: return at<std::int8_t>(i);
      case Dtype::i16: return at<std::int16_t>(i);
      case Dtype::i32: return at<std::int32_t>(i);
      case Dtype::i64: return static_cast<double>(at<std::int64_t>(i));
      case Dtype::boolean:
      case Dtype::u8: return at<std::uint8_t>(i);
      case Dtype::u16: return at<std::uint16_t>(i);
      case Dtype::u32: return at<std::uint32_t>(i);
      case Dtype::u64: return static_cast<double>(at<std::uint64_t>(i));
      default: return std::numeric_limits<double>::quiet_NaN();
    }
  }

  template <class T>
  T at(std::uint64_t i) const {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    return value;
  }

 private:
  static double half(std::uint16_t bits) {
    const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const double sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 31) {
      return fraction ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
    }
    return sign * (exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24));
  }
};

/// Throws std::runtime_error on a machine that cannot use the numbers in a file as they are.
inline void check_byte_order(std::string_view file) {
  ensure(std::endian::native == std::endian::little,
         "{}: the numbers in the file are little-endian: expected such a machine, found a big-endian one", file);
}

/// "(2, 3)", for messages.
template <class Range>
std::string shape_text(const Range& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

}  // namespace fbt
