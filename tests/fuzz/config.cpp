// Fuzzes the reader of files with flags.
#include "support/config_file.hpp"

#include "fuzz.hpp"

#include <algorithm>
#include <string>

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryLimit limit(size);
  const std::string text = fuzz::text(data, size);
  fuzz::accepted([&] {
    const auto lines = example::read_config_lines(text, "input");
    nlohmann::ordered_json flags;
    for (const auto& line : lines) {
      fuzz::require(!line.name.empty() && !line.values.empty(), "a flag has a name and a value");
      flags[line.name] = line.values;
    }
    const auto again = example::read_config_lines(example::write_config_lines(flags), "input");
    fuzz::require(again.size() == lines.size(), "flags are read as they are written");
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const auto& values = lines[i].values;
      const bool is_text =
          std::all_of(values.begin(), values.end(), [](const std::string& one) { return fbt::is_utf8(one); });
      fuzz::require(again[i].name == lines[i].name && (again[i].values == values || !is_text), "as it is written");
    }
  });
  return 0;
}
