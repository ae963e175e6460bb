// Fuzzes the readers of a training's state, and of its model alone.
#include "training.hpp"

#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Training training;
  const fuzz::MemoryLimit limit(size);
  fuzz::accepted([&] { fbt::load_trained_model<fuzz::Model>(fbt::TensorFile::parse(fuzz::text(data, size), "input")); });
  fuzz::accepted([&] {
    const fbt::TensorFile file = fbt::TensorFile::parse(fuzz::text(data, size), "input");
    fbt::load_training(file, training.trainer);
    for (int n = 0; n < 3; ++n) training.update(0.5);  // can go on, if its numbers are finite
  });
  return 0;
}
