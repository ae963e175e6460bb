// `convert`: a model in a file of weights of 16, 8 or 4 bits, which is loaded without the full ones.
#pragma once

#include "support/flags.hpp"
#include "support/path_flag.hpp"

#include "fbt/io/model_file.hpp"
#include "fbt/layers/compact_weights.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <string>

namespace example {

struct ConvertFlags {
  std::string model, out;
  fbt::WeightFormat weights = fbt::WeightFormat::int8;
};

/// Beside the flags of the model.
inline void add_convert_flags(CLI::App& command, ConvertFlags& flags) {
  add_flag(command, "weights", flags.weights, "what the matrices are rounded to: bf16, int8 or int4");
  add_path_flag(command, "out", flags.out, "file to write, for --model of the other commands")->required();
}

/// model: that of flags.model; metadata: what its file keeps beside it.
template <class Model>
void convert(Model model, const fbt::Metadata& metadata, const ConvertFlags& flags) {
  fbt::check(flags.weights != fbt::WeightFormat::full, "--weights: expected bf16, int8 or int4, found full");
  const fbt::WeightFormat found = fbt::weights_of(model);
  fbt::ensure(found == fbt::WeightFormat::full, "{}: expected a model of full weights, found weights of {}", flags.model,
              fbt::name_of(found));
  const double full = sizeof(float) * static_cast<double>(fbt::count_parameters(model));
  fbt::compact_weights(model, flags.weights);
  fbt::save_model(flags.out, model, metadata, fbt::Probe::store);
  const auto size = static_cast<double>(std::filesystem::file_size(flags.out));
  fmt::print("{}: {} parameters with weights of {} in {:.2f} MB, full ones take {:.2f} MB\n", flags.out,
             fbt::count_parameters(model), fbt::name_of(flags.weights), size / 1e6, full / 1e6);
}

}  // namespace example
