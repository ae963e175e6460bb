// Fuzzes the reader of safetensors files.
#include "fbt/io/safetensors.hpp"

#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryLimit limit(size);
  fuzz::accepted([&] {
    const fbt::TensorFile file = fbt::TensorFile::parse(fuzz::text(data, size), "input");
    std::uint64_t bytes = 0;
    double sum = 0;
    for (const fbt::TensorView& tensor : file.tensors()) {
      fuzz::require(file.find(tensor.name) == &tensor, "every tensor is found under its name");
      std::uint64_t elements = 1;
      for (const std::uint64_t n : tensor.shape) elements *= n;
      fuzz::require(elements == tensor.size(), "a tensor has as many elements as its shape says");
      bytes += tensor.bytes.size();
      for (std::uint64_t i = 0; i < tensor.size(); ++i) sum += tensor.number(i);
    }
    [[maybe_unused]] volatile const double used = sum;
    fuzz::require(bytes < size, "the tensors are a part of the file");
  });
  return 0;
}
