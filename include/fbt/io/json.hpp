// What is JSON in the files of fbt: the header of a safetensors file, and a config in its metadata.
#pragma once

#include "fbt/core/types.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fbt {

struct Config;

using Metadata = std::map<std::string, std::string>;

/// A tensor in a header: offsets are the first byte of its data and the one after the last.
struct HeaderEntry {
  std::string name, dtype;
  std::vector<std::uint64_t> shape, offsets;
};
struct HeaderContent {
  std::vector<HeaderEntry> entries;
  Metadata metadata;
};

// Function templates, so that the library of fbt::compiled can hold them: a program that links it need not read a JSON
// library.

/// Accepts exactly a header's grammar. Throws std::runtime_error at the first thing that is not; file is for messages.
template <class Char>
HeaderContent parse_header_json(std::basic_string_view<Char> text, const std::string& file);

/// In the order of the entries. Throws std::invalid_argument when a name or the metadata is not UTF-8; file is for messages.
template <class Text>
Text write_header_json(const Metadata& metadata, const std::vector<HeaderEntry>& entries, const Text& file);

/// A config as a JSON object.
template <class AnyConfig>
std::string write_config(const AnyConfig& config);

/// The config in a JSON object. Fields that are missing keep their defaults. Throws std::runtime_error, also for what
/// validate() refuses; name is for messages.
template <class AnyConfig = Config>
AnyConfig read_config(std::string_view text, std::string_view name);

}  // namespace fbt

#if !__has_include(<fbt/compiled.hpp>)
#include "fbt/io/json_definitions.hpp"
#endif
