// A file of somebody who compiles with more warnings than we do: none may come from our headers, or from setting one member
// of an options struct by name. Only compiled.
#include <fbt/fbt.hpp>
#include <fbt/testing/gradient_check.hpp>

#include <vector>

int main() {
  fbt::Random random(1);
  fbt::FeedbackTransformer<float> model({.vocabulary = 11}, random);
  const fbt::LstmModel<double> lstm({.vocabulary = 11}, random);
  const fbt::MemoryOptions memory{.heads = 2};
  const fbt::Schedule schedule{.warmup = 10};
  const fbt::ParameterGroup frozen{.frozen = true}, group{.pattern = "*"};
  const fbt::Reduction<fbt::FeedbackTransformer<float>> reduction{.first_shard = 1}, loss{.sum = {}};
  const fbt::Segment segment{.lanes = 2};
  const fbt::Epilogue<float> epilogue{.relu = true};

  const std::vector<fbt::Token> text(5000, 1);
  fbt::Adam<fbt::FeedbackTransformer<float>> adam(model, {.beta2 = 0.9, .groups = {{.pattern = "*"}}});
  fbt::Trainer trainer(model, adam, fbt::Batches(text, {.lanes = 8}), fbt::TrainerOptions{.threads = 2});
  trainer.update(schedule.rate(0, 0.5));
  fbt::evaluate(model, text, fbt::EvaluationOptions{.lanes = 8});
  fbt::save_model("model", model);
  fbt::save_training("training", trainer);

  const std::vector<fbt::Token> prompt{1};
  const auto emit = [](fbt::Token) { return true; };
  fbt::generate(lstm, prompt, {.length = 5, .sampling = {.top_k = 3}}, emit);
  fbt::generate(model, prompt, fbt::GenerationOptions{.sampling = {.seed = 3}}, emit);
  const std::vector<fbt::GenerationRequest> requests{{.prompt = {1}}, {.prompt = {2}, .options = {.stop = {{3}}}}};
  fbt::generate(model, std::span(requests), 2, [](std::size_t, fbt::Token) { return true; });

  const fbt::FeedForward<double> layer(5, 7, fbt::Activation::geglu, 0.1, random);
  return fbt::check_layer(layer, 5, 5, random).ok() && memory.heads == 2 && frozen.frozen && !group.frozen &&
                 reduction.first_shard == 1 && !loss.sum && segment.lanes == 2 && epilogue.relu
             ? 0
             : 1;
}
