// Fuzzes the loader of models, fbt's own and those of the public implementations.
#include "fbt/io/pytorch/import.hpp"

#include "fuzz.hpp"

namespace {

/// A model that was loaded can be used.
void step(const fbt::FeedbackTransformer<float>& model) {
  if (model.config().window > 64) return;  // the memory's size is the user's choice, not the file's
  auto state = model.start(1);
  const fbt::Token token = 0;
  for (int n = 0; n < 2; ++n)
    fuzz::require(model.step({&token, 1}, state).rows() == model.config().vocabulary, "there is a logit for every token");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryLimit limit(size);
  fuzz::accepted([&] {
    const fbt::TensorFile file = fbt::TensorFile::parse(fuzz::text(data, size), "input");
    const bool native = file.metadata().contains("fbt.config");
    const bool alone = fuzz::accepted([&] { step(fbt::import_model<float>(file).model); });
    const bool loaded = fuzz::accepted([&] { fbt::load_model<fbt::FeedbackTransformer<float>>(file); });
    fuzz::require(loaded == (native && alone), "load_model reads fbt's own files, import_model them as well");
    if (!native) fuzz::accepted([&] { step(fbt::import_model<float>(file, 3).model); });
  });
  return 0;
}
