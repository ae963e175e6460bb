// Reads every file in the given folders as one input of a harness, in place of libFuzzer, and says how many there were.
#include "fuzz.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <vector>

int main(int argc, char** argv) {
  int count = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::vector<char> content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
      const auto exact = std::make_unique<std::uint8_t[]>(content.size());  // so that a sanitizer sees every read past it
      std::copy(content.begin(), content.end(), exact.get());
      std::fprintf(stderr, "%s, %zu bytes\n", entry.path().c_str(), content.size());  // the last one printed is to blame
      LLVMFuzzerTestOneInput(exact.get(), content.size());
      ++count;
    }
  }
  std::printf("%d inputs, all read or refused\n", count);
  return count > 0 ? 0 : 1;
}
