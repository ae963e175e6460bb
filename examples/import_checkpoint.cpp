// Reads a checkpoint of a public PyTorch implementation, says what it is, compares it with numbers that PyTorch computed,
// and converts it.
#include "support/comparison.hpp"
#include "support/flags.hpp"
#include "support/path_flag.hpp"
#include "support/program.hpp"
#include "support/text_file.hpp"

#include "fbt/io/pytorch/import.hpp"
#include "fbt/text/vocabulary.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>

namespace {

struct Options {
  std::string weights, out, characters, export_path, layout, verify;
  fbt::Index window = 0;
  bool use_double = false, bytes = false;
  double logit_error = 1e-4, loss_error = 1e-5, gradient_error = 1e-3;
};

/// The vocabulary that the flags give to a model, if they do.
std::optional<fbt::Vocabulary> choose_vocabulary(const Options& options, fbt::Index size) {
  std::optional<fbt::Vocabulary> vocabulary;
  if (options.bytes) {
    vocabulary.emplace(fbt::TokenKind::byte, "", "");
  } else if (!options.characters.empty()) {
    std::string characters = example::read_text_file(options.characters);
    if (characters.starts_with("\xef\xbb\xbf")) characters.erase(0, 3);  // a byte order mark
    // an editor ends a file with a line end, which is a character too many then
    const auto begins = [](char c) { return (c & 0xc0) != 0x80; };
    const auto extra = std::count_if(characters.begin(), characters.end(), begins) - size;
    if (characters.ends_with("\r\n") && extra == 2) characters.resize(characters.size() - 2);
    if (characters.ends_with('\n') && extra == 1) characters.pop_back();
    vocabulary = fbt::Vocabulary::in_order(characters, options.characters);
  }
  fbt::check(!vocabulary || vocabulary->size() == size, "{}: expected {} tokens, as the model has, found {}",
             options.bytes ? "--bytes" : options.characters, size, vocabulary ? vocabulary->size() : 0);
  return vocabulary;
}

/// Prints the largest differences from the expected numbers. False when one is too large.
template <class Scalar>
bool verify(const fbt::ImportedModel<Scalar>& imported, const Options& options) {
  const example::Comparison found = example::compare(imported, fbt::TensorFile::read(options.verify));
  fmt::print("max |logit error|: {:.3g}\n", found.logits);
  fmt::print("|loss error|: {:.3g}\n", found.loss);
  fmt::print("max relative gradient error (worst of {} tensors: {}): {:.3g}\n", found.tensors, found.worst_tensor,
             found.gradients);
  bool good = true;
  const auto expect = [&](const char* what, double error, double most) {
    if (error <= most) return;
    good = false;
    fmt::print(stderr, "error: {}: expected {} error of at most {:g}, found {:.3g}\n", options.weights, what, most, error);
  };
  expect("a logit", found.logits, options.logit_error);
  expect("a loss", found.loss, options.loss_error);
  expect("a relative gradient", found.gradients, options.gradient_error);
  return good;
}

template <class Scalar>
bool run(const Options& options) {
  fbt::check(!options.use_double || !options.verify.empty() || !options.out.empty() || !options.export_path.empty(),
             "--double has no effect without --verify, --out or --export; leave it out");
  const fbt::TensorFile file = fbt::TensorFile::read(options.weights);
  fbt::check(options.window > 0 || fbt::recognise_layout(file) != fbt::Layout::lucidrains,
             "{}: a lucidrains file does not tell its memory length: give it as --window (mem_len in Python)",
             options.weights);
  const auto imported = fbt::import_model<Scalar>(file, options.window);
  const auto vocabulary = choose_vocabulary(options, imported.model.config().vocabulary);
  fmt::print("{}: layout {}, {} parameters\n{}\n", options.weights, fbt::name_of(imported.layout),
             fbt::count_parameters(imported.model), fbt::write_config(imported.model.config()));
  for (const std::string& warning : imported.warnings) fmt::print(stderr, "warning: {}: {}\n", options.weights, warning);
  if (!options.verify.empty() && !verify(imported, options)) return false;
  if (!options.out.empty()) {
    fbt::Metadata metadata = vocabulary ? vocabulary->metadata() : fbt::Metadata{};
    if (imported.layout == fbt::Layout::fbt) metadata.insert(imported.metadata.begin(), imported.metadata.end());
    fbt::save_model(options.out, imported.model, metadata, fbt::Probe::store);
    fmt::print("wrote {}\n", options.out);
  }
  if (!options.export_path.empty()) {
    const auto layout = options.layout.empty() ? imported.layout : fbt::from_name<fbt::Layout>(options.layout, "--layout");
    fbt::check(layout != fbt::Layout::fbt, "--layout: expected the one to write for PyTorch, found fbt; --out writes that");
    fbt::export_model(options.export_path, imported.model, layout, imported.details);
    fmt::print("wrote {}\n", options.export_path);
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Reads checkpoints of the public PyTorch feedback transformers.");
  example::prepare(app);
  using example::add_flag, example::add_path_flag;
  add_path_flag(app, "weights", options.weights, "the safetensors file to read")->required();
  add_flag(app, "window", options.window,
           "how many past tokens a token sees; only lucidrains files do not tell (mem_len); 0: as the file says");
  auto* const out = add_path_flag(app, "out", options.out, "write the model as a file of fbt");
  auto* const characters =
      add_path_flag(app, "characters", options.characters,
                    "text file with the characters of the vocabulary, in the order of their tokens; stored "
                    "in the --out file");
  characters->needs(out);
  add_flag(app, "bytes", options.bytes, "the tokens are bytes; stored in the --out file")->needs(out)->excludes(characters);
  auto* const export_path = add_path_flag(app, "export", options.export_path, "write the model for PyTorch");
  add_flag(app, "layout", options.layout,
           "whose model reads the --export file: official, labml, lucidrains; default: the one the weights are from")
      ->needs(export_path);
  auto* const verify =
      add_path_flag(app, "verify", options.verify,
                    "compare with tokens, targets, logits, loss and grad.* in this safetensors file; exit code 1 "
                    "when an error is too large");
  add_flag(app, "double", options.use_double, "compute in double");
  add_flag(app, "max-logit-error", options.logit_error, "absolute")->needs(verify);
  add_flag(app, "max-loss-error", options.loss_error, "absolute")->needs(verify);
  add_flag(app, "max-gradient-error", options.gradient_error, "relative to the largest gradient of the tensor")
      ->needs(verify);
  return example::run(app, argc, argv,
                      [&] { return (options.use_double ? run<double>(options) : run<float>(options)) ? 0 : 1; });
}
