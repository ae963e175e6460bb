// Fuzzes the reader of a session.
#include "training.hpp"

#include "fbt/io/session_file.hpp"

#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::Model model = fuzz::exact_model();
  const fuzz::MemoryLimit limit(size);
  fuzz::accepted([&] {
    auto [session, metadata] = fbt::load_session(fbt::TensorFile::parse(fuzz::text(data, size), "input"), model);
    fbt::Index count = 0;
    session.write({.length = 5}, [&](fbt::Token token) {  // can go on, if its numbers are finite
      fuzz::require(token >= 0 && token < model.config().vocabulary, "a token of the vocabulary");
      return ++count < 5;
    });
  });
  return 0;
}
