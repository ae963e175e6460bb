#include "fbt/io/compact_tensors.hpp"

#include "fbt/io/fingerprint.hpp"
#include "fbt/io/model_file.hpp"
#include "fbt/models/sequence_model.hpp"
#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/helpers.hpp"
#include "support/scratch.hpp"

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

using namespace fbt;

namespace {

using Model = FeedbackTransformer<float>;

/// Odd sizes: columns that are no multiple of 32, nor of 2.
Model odd_model(WeightFormat format) {
  Random random(1);
  Model model({.vocabulary = 11, .width = 40, .layers = 1, .heads = 2, .feed_forward = 71, .window = 4}, random);
  if (format != WeightFormat::full) compact_weights(model, format);
  return model;
}
Matrix<float> logits_of(const Model& model) {
  auto stepper = model.start(2);
  Matrix<float> logits;
  for (const Token token : {1, 5, 10}) logits = model.step(std::vector<Token>{token, 3}, stepper);
  return logits;
}
WeightFormat any_format() { return GENERATE(WeightFormat::bf16, WeightFormat::int8, WeightFormat::int4); }

}  // namespace

TEST_CASE("compact tensors: a model comes back as it was written, probe included") {
  const WeightFormat format = any_format();
  const ScratchFolder folder;
  const Model model = odd_model(format);
  save_model(folder / "model", model, {{"mine", "kept"}}, Probe::store);
  const auto [loaded, metadata] = load_model<Model>(folder / "model");
  CHECK(metadata.at("mine") == "kept");
  CHECK(metadata.at("fbt.weights") == name_of(format));
  CHECK(weights_of(loaded) == format);
  CHECK(logits_of(loaded) == logits_of(model));
  CHECK(model_fingerprint(loaded) == model_fingerprint(model));
  CHECK(model_fingerprint(loaded) != model_fingerprint(odd_model(WeightFormat::full)));
  save_model(folder / "again", loaded, {{"mine", "kept"}}, Probe::store);
  CHECK(read_all(folder / "again") == read_all(folder / "model"));
}

TEST_CASE("compact tensors: what a file says of its weights is not handed on to another model's") {
  const ScratchFolder folder;
  save_model(folder / "model", odd_model(WeightFormat::int8));
  const auto metadata = load_model<Model>(folder / "model").metadata;
  save_model(folder / "full", odd_model(WeightFormat::full), metadata);
  CHECK(weights_of(load_model<Model>(folder / "full").model) == WeightFormat::full);
  Model mixed = odd_model(WeightFormat::full);
  compact_weights(mixed.head, WeightFormat::int8);
  CHECK_THROWS_AS(save_model(folder / "mixed", mixed), std::invalid_argument);
  CHECK_FALSE(std::filesystem::exists(folder / "mixed"));
}

TEST_CASE("compact tensors: the numbers in a file, as other programs read them") {
  const WeightFormat format = any_format();
  const ScratchFolder folder;
  const Model full = odd_model(WeightFormat::full);
  save_model(folder / "model", odd_model(format));
  const TensorFile file = TensorFile::read(folder / "model");
  const Matrix<float>& weight = full.core.blocks[0].feed_forward.second.weight;  // (40, 71)
  const TensorView& entries = file.get("blocks.0.feed_forward.second.weight");
  CHECK(file.find("blocks.0.feed_forward.second.bias")->dtype == Dtype::f32);
  if (format == WeightFormat::bf16) {
    CHECK(entries.dtype == Dtype::bf16);
    CHECK(file.find("blocks.0.feed_forward.second.weight_scale") == nullptr);
  } else {
    CHECK(entries.dtype == (format == WeightFormat::int8 ? Dtype::i8 : Dtype::u8));
    CHECK(file.get("blocks.0.feed_forward.second.weight_scale").shape == std::vector<std::uint64_t>{40, 3});
  }
  const std::uint64_t columns = format == WeightFormat::int4 ? 36 : 71;
  CHECK(entries.shape == std::vector<std::uint64_t>{40, columns});
  double worst = 0;
  for (std::uint64_t i = 0; i < 40; ++i) {
    for (std::uint64_t k = 0; k < 71; ++k) {
      double w = 0;
      if (format == WeightFormat::bf16) {
        w = entries.number(i * 71 + k);
      } else {
        const double scale = file.get("blocks.0.feed_forward.second.weight_scale").number(i * 3 + k / 32);
        if (format == WeightFormat::int8) {
          w = scale * entries.number(i * 71 + k);
        } else {
          const auto both = static_cast<int>(entries.number(i * 36 + k / 2));
          w = scale * ((k % 2 == 0 ? both % 16 : both / 16) - 8);
        }
      }
      worst = std::max(worst, std::abs(w - static_cast<double>(weight(static_cast<Index>(i), static_cast<Index>(k)))));
    }
  }
  const double largest = static_cast<double>(weight.cwiseAbs().maxCoeff());
  CHECK(worst < largest / (format == WeightFormat::bf16 ? 256 : format == WeightFormat::int8 ? 250 : 7.9));
  CHECK(worst > 0);
}

TEST_CASE("compact tensors: files that do not fit are refused, and say why") {
  const ScratchFolder folder;
  const std::string path = (folder / "model").string();
  const Model model = odd_model(WeightFormat::int8);
  const auto message = [&](auto&& change) {
    TensorWriter writer;
    writer.metadata = {{Model::config_key, write_config(model.config())}, {"fbt.weights", "int8"}};
    change(writer);
    writer.write(path);
    return message_of<std::runtime_error>([&] { load_model<Model>(path); });
  };
  const auto all = [&](TensorWriter& writer) { add_parameters(writer, "", model); };
  CHECK(message([&](TensorWriter& writer) {
          all(writer);
          writer.metadata["fbt.weights"] = "int3";
        }) == path + ": fbt.weights: expected bf16, int8 or int4, found \"int3\"");
  CHECK(message([&](TensorWriter& writer) {
          all(writer);
          writer.metadata["fbt.weights"] = "full";
        }) == path + ": fbt.weights: expected bf16, int8 or int4, found \"full\"");
  const std::string as_int4 = message([&](TensorWriter& writer) {
    all(writer);
    writer.metadata["fbt.weights"] = "int4";
  });
  CHECK(as_int4.find("head.weight: expected shape (11, 20), found (11, 40)") != std::string::npos);
  const std::string as_full = message([&](TensorWriter& writer) {
    all(writer);
    writer.metadata.erase("fbt.weights");
  });
  CHECK(as_full.find("head.weight: expected dtype F16, BF16, F32 or F64, found I8") != std::string::npos);
  CHECK(as_full.find("unexpected head.weight_scale of shape (11, 2)") != std::string::npos);
  const std::string missing = message([&](TensorWriter& writer) { add_parameters(writer, "", model.core); });
  CHECK(missing.find("missing head.weight of shape (11, 40)") != std::string::npos);
  CHECK(missing.find("missing head.weight_scale of shape (11, 2)") != std::string::npos);
  const std::string doubles = message([&](TensorWriter& writer) {
    Model other = model;
    other.head.linear.compact = nullptr;
    add_parameters(writer, "", other.core);
    add_parameters(writer, "", other.input);
    writer.add("head.bias", model.head.linear.bias);
    writer.add("norm_out.weight", model.head.norm.weight);
    writer.add("norm_out.bias", model.head.norm.bias);
    writer.add("head.weight", Matrix<double>(Matrix<double>::Ones(11, 40)));
    writer.add("head.weight_scale", Matrix<float>(Matrix<float>::Ones(11, 2)));
  });
  CHECK(doubles.find("head.weight: expected dtype I8, found F64") != std::string::npos);
  save_model(path, model);
  CHECK(message_of<std::runtime_error>([&] { load_model<FeedbackTransformer<double>>(path); }) ==
        path + ": expected a model of full weights, since it is to be one of double, found weights of int8");
}
