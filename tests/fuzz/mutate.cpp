// Changes safetensors files in a way that reaches further than changes of bytes: the header's length stays right.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  std::minstd_rand random(seed);
  const auto choice = random() % 16;
  std::uint64_t length = 0;
  if (size >= 8) std::memcpy(&length, data, 8);
  if (choice == 0 || size < 8 || length > size - 8) return LLVMFuzzerMutate(data, size, most);

  if (choice < 4) {  // the data
    const std::size_t begin = 8 + length;
    if (begin >= most) return LLVMFuzzerMutate(data, size, most);
    return begin + LLVMFuzzerMutate(data + begin, size - begin, most - begin);
  }
  const std::size_t rest = size - 8 - length, room = most - std::min(most, 8 + rest);
  if (room == 0) return LLVMFuzzerMutate(data, size, most);
  const std::vector<std::uint8_t> tail(data + 8 + length, data + size);
  length = std::min<std::size_t>(length, room);
  length = LLVMFuzzerMutate(data + 8, length, room);
  std::memcpy(data, &length, 8);
  std::copy(tail.begin(), tail.end(), data + 8 + length);
  return 8 + length + rest;
}
