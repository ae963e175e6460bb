// sample_model FILE: writes a small model with random parameters, tokens for it, and what it makes of them (logits, loss and
// the gradients of all parameters), as a safetensors file. Another implementation can be checked against it.
#include "configurations.hpp"
#include "support/run.hpp"

#include "fbt/io/model_file.hpp"
#include "fbt/training/losses.hpp"

int main(int argc, char** argv) {
  return example::run([&] {
    fbt::check(argc == 2, "expected one argument, the file to write");
    fbt::Config config;
    config.vocabulary = 11;
    config.width = 16;
    config.layers = 3;
    config.heads = 2;
    config.window = 5;
    bench::Model model = bench::make_model(config);
    fbt::Random random(4);
    fbt::visit([&](std::string_view, auto& tensor) { fbt::fill_normal(tensor, 0.3, random); }, model);  // nothing at 0 or 1

    const fbt::Segment segment{12, 3, true, 0};
    const auto tokens = bench::random_tokens(segment.columns() + segment.lanes, config.vocabulary);
    const fbt::Tokens inputs = fbt::Tokens(tokens).first(static_cast<std::size_t>(segment.columns()));
    const fbt::Tokens targets = fbt::Tokens(tokens).last(inputs.size());
    auto memory = model.make_memory(segment.lanes);
    bench::Model::Trace trace;
    const fbt::Matrix<float> logits = model.forward(inputs, segment, memory, trace);
    fbt::Matrix<float> dlogits(logits.rows(), logits.cols());
    const auto loss =
        fbt::CrossEntropy{}.operator()<float>(logits, targets, 1 / static_cast<float>(segment.columns()), dlogits);
    auto grad = fbt::zeros_like(model);
    model.backward(dlogits, memory, trace, grad);

    fbt::TensorWriter writer;
    fbt::add_parameters(writer, "", model);
    fbt::add_parameters(writer, "grad.", grad);
    writer.add("tokens", std::vector<fbt::Token>(inputs.begin(), inputs.end()));  // (T*B), the lanes of step 0 first
    writer.add("targets", std::vector<fbt::Token>(targets.begin(), targets.end()));
    writer.add("logits", logits.transpose());  // (T*B, V)
    writer.add("loss", std::vector<float>{static_cast<float>(loss.mean())});
    writer.metadata["fbt.config"] = fbt::write_config(config);
    writer.metadata["lanes"] = fmt::format("{}", segment.lanes);
    writer.write(argv[1]);
    return 0;
  });
}
