// Rule: which model learns a task. The one place that knows: rules of the FeedbackTransformer have the names of its memory
// rules.
#pragma once

#include "tasks/recipe.hpp"

#include "fbt/core/random.hpp"
#include "fbt/io/model_file.hpp"
#include "fbt/models/mimetic.hpp"
#include "fbt/models/sequence_model.hpp"

#include <array>
#include <filesystem>
#include <string_view>
#include <utility>

namespace example {

enum class Rule { feedback, average, top_only, recurrent, transformer, lstm, lstm_attention };

}  // namespace example

template <>
struct fbt::Names<example::Rule> {
  static constexpr std::array<std::pair<std::string_view, example::Rule>, 7> list{
      {{"feedback", example::Rule::feedback},
       {"average", example::Rule::average},
       {"top_only", example::Rule::top_only},
       {"recurrent", example::Rule::recurrent},
       {"transformer", example::Rule::transformer},
       {"lstm", example::Rule::lstm},
       {"lstm_attention", example::Rule::lstm_attention}}};
};

namespace example {

/// Calls f(model) with a new model.
template <class F>
void with_new_model(Rule rule, const Recipe& recipe, fbt::Index vocabulary, std::uint64_t seed, F&& f) {
  fbt::Random random(seed);
  if (rule == Rule::lstm || rule == Rule::lstm_attention) {
    fbt::LstmConfig config;
    config.vocabulary = vocabulary;
    config.width = recipe.width;
    config.layers = recipe.layers;
    config.attention = rule == Rule::lstm_attention;
    config.heads = recipe.heads;
    config.window = recipe.window;
    config.dropout = recipe.dropout;
    fbt::LstmModel<float> model(config, random);
    f(model);
  } else {
    fbt::Config config;
    config.memory_rule = fbt::from_name<fbt::MemoryRule>(fbt::name_of(rule), "rule");
    config.share_key_value = !config.remembers_per_layer();
    config.vocabulary = vocabulary;
    config.width = recipe.width;
    config.layers = recipe.layers;
    config.heads = recipe.heads;
    config.window = recipe.window;
    config.position = recipe.position;
    config.dropout = recipe.dropout;
    if (recipe.span_ramp < recipe.window) config.span_ramp = recipe.span_ramp;
    fbt::FeedbackTransformer<float> model(config, random);
    if (recipe.mimetic > 0) fbt::initialize_mimetic(model, recipe.mimetic);
    f(model);
  }
}

/// Calls f(model, metadata) with the model in a file. Throws std::runtime_error that says what is wrong with it.
template <class F>
void with_model_file(const std::filesystem::path& path, F&& f) {
  const fbt::TensorFile file = fbt::TensorFile::read(path);
  if (file.metadata().contains(fbt::LstmModel<float>::config_key)) {
    const auto loaded = fbt::load_model<fbt::LstmModel<float>>(file);
    f(loaded.model, loaded.metadata);
  } else {
    const auto loaded = fbt::load_model<fbt::FeedbackTransformer<float>>(file);
    f(loaded.model, loaded.metadata);
  }
}

}  // namespace example
