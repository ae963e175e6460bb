// The definitions of json.hpp. A program with fbt::compiled and a config of its own includes this, too.
#pragma once

#include "fbt/core/check.hpp"
#include "fbt/core/names.hpp"
#include "fbt/io/json.hpp"

#include <nlohmann/json.hpp>

#include <limits>
#include <set>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace fbt {

namespace detail {

/// Accepts exactly the header's grammar; stops at the first thing that is not.
struct HeaderReader final : nlohmann::json_sax<nlohmann::json> {
  explicit HeaderReader(const std::string& file_) : file(file_) {}
  const std::string& file;
  std::vector<HeaderEntry> entries;
  std::map<std::string, std::size_t> names;
  Metadata metadata;
  bool metadata_seen = false;
  int depth = 0;  // 1: the header, 2: a tensor or the metadata
  bool in_metadata = false, in_array = false;
  bool has_dtype = false, has_shape = false, has_offsets = false;  // of the tensor at hand
  std::string key_, field;

  [[noreturn]] void wrong(const std::string& expected, const std::string& found) const {
    const std::string where = depth < 2     ? std::string("the header")
                              : in_metadata ? "__metadata__"
                                            : "tensor " + entries.back().name;
    throw std::runtime_error(fmt::format("{}: {}: expected {}, found {}", file, where, expected, found));
  }
  std::string wanted() const {
    if (depth == 0) return "an object";
    if (depth == 1) return "an object for every name";
    if (in_metadata) return "strings as values";
    if (in_array) return "whole numbers of at least 0 in " + field;
    return field == "dtype" ? "a string as dtype" : "an array as " + field;
  }
  bool start_object(std::size_t) override {
    if (depth == 0) return ++depth;
    if (depth != 1) wrong(wanted(), "an object");
    in_metadata = key_ == "__metadata__";
    if (in_metadata) {
      if (metadata_seen) wrong("one __metadata__", "two");
      metadata_seen = true;
    } else {
      if (!names.emplace(key_, entries.size()).second) wrong("every name once", fmt::format("tensor {} twice", key_));
      entries.push_back({key_, {}, {}, {}});
      has_dtype = has_shape = has_offsets = false;
    }
    return ++depth;
  }
  bool key(std::string& text) override {
    if (depth == 1) {
      key_ = text;
    } else if (in_metadata) {
      field = text;
      if (metadata.contains(text)) wrong("every key once", fmt::format("{} twice", text));
    } else {
      bool* const seen = text == "dtype"          ? &has_dtype
                         : text == "shape"        ? &has_shape
                         : text == "data_offsets" ? &has_offsets
                                                  : nullptr;
      if (!seen) wrong("dtype, shape and data_offsets", fmt::format("{:?}", text));
      if (*seen) wrong("every field once", text + " twice");
      *seen = true;
      field = text;
    }
    return true;
  }
  bool end_object() override {
    if (depth == 2 && !in_metadata) {
      const HeaderEntry& entry = entries.back();
      if (!has_dtype || !has_shape || !has_offsets) wrong("dtype, shape and data_offsets", "not all of them");
      if (entry.offsets.size() != 2) wrong("2 data_offsets", std::to_string(entry.offsets.size()));
    }
    --depth;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth != 2 || in_metadata || in_array || field == "dtype") wrong(wanted(), "an array");
    return in_array = true;
  }
  bool end_array() override {
    in_array = false;
    return true;
  }
  bool number_unsigned(std::uint64_t value) override {
    if (!in_array) wrong(wanted(), "a number");
    HeaderEntry& entry = entries.back();
    (field == "shape" ? entry.shape : entry.offsets).push_back(value);
    return true;
  }
  bool string(std::string& text) override {
    if (depth == 2 && in_metadata) {
      metadata[field] = text;
    } else if (depth == 2 && !in_array && field == "dtype") {
      entries.back().dtype = text;
    } else {
      wrong(wanted(), "a string");
    }
    return true;
  }
  bool null() override {
    // a writer that has no metadata may say so
    if (depth != 1 || key_ != "__metadata__") wrong(wanted(), "null");
    if (std::exchange(metadata_seen, true)) wrong("one __metadata__", "two");
    return true;
  }
  bool boolean(bool) override { wrong(wanted(), "true or false"); }
  bool number_integer(std::int64_t) override { wrong(wanted(), "a negative number"); }
  bool number_float(double, const std::string& text) override { wrong(wanted(), text); }
  bool binary(nlohmann::json::binary_t&) override { wrong(wanted(), "binary data"); }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::json::exception&) override {
    throw std::runtime_error(
        fmt::format("{}: expected a JSON object in UTF-8 as header, found an error at its byte {}", file, at));
  }
};

}  // namespace detail

template <class Char>
HeaderContent parse_header_json(std::basic_string_view<Char> text, const std::string& file) {
  detail::HeaderReader reader(file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  return {std::move(reader.entries), std::move(reader.metadata)};
}

template <class Text>
Text write_header_json(const Metadata& metadata, const std::vector<HeaderEntry>& entries, const Text& file) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (const HeaderEntry& entry : entries)
    header[entry.name] = {{"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", entry.offsets}};
  try {
    return header.dump();
  } catch (const nlohmann::json::exception&) {
    throw std::invalid_argument(fmt::format("{}: expected names and metadata in UTF-8, found other bytes", file));
  }
}

template <class AnyConfig>
std::string write_config(const AnyConfig& config) {
  nlohmann::ordered_json json;
  visit_config(
      [&]<class T>(const char* name, const T& value) {
        if constexpr (std::is_enum_v<T>) {
          json[name] = name_of(value);
        } else {
          json[name] = value;
        }
      },
      config);
  return json.dump();
}

template <class AnyConfig>
AnyConfig read_config(std::string_view text, std::string_view name) {
  // values deeper than messages need are left out: nlohmann's dump() calls itself for every level
  const auto shallow = [](int depth, nlohmann::json::parse_event_t, const nlohmann::json&) { return depth <= 2; };
  const auto json = nlohmann::json::parse(text, shallow, false);
  ensure(json.is_object(), "{}: expected a JSON object as config, found something else", name);
  std::set<std::string> unknown;
  for (const auto& item : json.items()) unknown.insert(item.key());
  AnyConfig config;
  visit_config(
      [&]<class T>(const char* field, T& value) {
        if (!json.contains(field)) return;
        unknown.erase(field);
        const auto& found = json[field];
        if constexpr (std::is_enum_v<T>) {
          const auto enumerator = found.is_string() ? find_name<T>(found.template get<std::string>()) : std::nullopt;
          ensure(enumerator.has_value(), "{}: config {}: expected one of {}, found {}", name, field, names_of<T>(),
                 found.dump());
          value = *enumerator;
        } else if constexpr (std::is_same_v<T, bool>) {
          ensure(found.is_boolean(), "{}: config {}: expected true or false, found {}", name, field, found.dump());
          value = found.template get<bool>();
        } else if constexpr (std::is_integral_v<T>) {
          constexpr auto most = static_cast<double>(std::numeric_limits<T>::max() / 2);
          ensure(found.is_number_integer() && found.template get<double>() >= 0 && found.template get<double>() <= most,
                 "{}: config {}: expected a whole number of at least 0, found {}", name, field, found.dump());
          value = found.template get<T>();
        } else {
          ensure(found.is_number(), "{}: config {}: expected a number, found {}", name, field, found.dump());
          value = found.template get<T>();
        }
      },
      config);
  ensure(unknown.empty(), "{}: config: unknown field {}; the file may come from a newer version", name,
         unknown.empty() ? "" : *unknown.begin());
  try {
    config.validate();
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(fmt::format("{}: {}", name, error.what()));
  }
  return config;
}

}  // namespace fbt
