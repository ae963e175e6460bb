// Fingerprints: a few words by which a file tells what it belongs to.
#pragma once

#include "fbt/core/types.hpp"
#include "fbt/core/visit.hpp"
#include "fbt/io/json.hpp"
#include "fbt/layers/compact_weights.hpp"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace fbt {

/// A hash of words (FNV-1a with a state of 64 bits). Words have 32, as a product moves bits upwards only: of words of 64 two
/// changed signs would cancel.
class Fingerprint {
 public:
  void add(std::uint32_t word) { hash_ = (hash_ ^ word) * 0x100000001b3u; }
  /// The bits of every number.
  template <class Derived>
  void add_numbers(const Eigen::DenseBase<Derived>& numbers) {
    using Scalar = typename Derived::Scalar;
    using Words = std::array<std::uint32_t, sizeof(Scalar) / sizeof(std::uint32_t)>;
    for (Index j = 0; j < numbers.cols(); ++j)
      for (Index i = 0; i < numbers.rows(); ++i)
        for (const std::uint32_t word : std::bit_cast<Words>(numbers(i, j))) add(word);
  }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

/// Identifies a text, by its tokens.
inline std::string fingerprint(Tokens tokens) {
  Fingerprint hash;
  for (const Token token : tokens) hash.add(static_cast<std::uint32_t>(token));
  return fmt::format("{} tokens {:016x}", tokens.size(), hash.value());
}

/// Identifies a model, by its config and the bits of its parameters.
template <class Model>
std::string model_fingerprint(const Model& model) {
  Fingerprint hash;
  for (const char c : write_config(model.config())) hash.add(static_cast<std::uint32_t>(static_cast<unsigned char>(c)));
  visit([&](std::string_view, const auto& tensor) { hash.add_numbers(tensor); }, model);
  visit_linear(model, [&](std::string_view, const auto& linear) {
    if (!linear.compact) return;
    for (Index row = 0; row < linear.outputs(); ++row) {
      for (Index b = 0; b < linear.compact->blocks(); ++b) {
        const auto block = linear.compact->row(row, b);
        hash.add(std::bit_cast<std::uint32_t>(block.scale));
        for (const std::int16_t entry : block.entries) hash.add(std::bit_cast<std::uint16_t>(entry));
      }
    }
  });
  return fmt::format("{} parameters {:016x}", count_parameters(model), hash.value());
}

}  // namespace fbt
