// Rule: which model an agent has. Rules of a VectorModel have the names of its memory rules; `none` is a model that begins
// every step with an empty memory, to see what a task is without any.
#pragma once

#include "agent/task.hpp"

#include "fbt/core/random.hpp"
#include "fbt/io/model_file.hpp"
#include "fbt/models/sequence_model.hpp"

#include <array>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace example::agent {

enum class Rule { feedback, average, top_only, recurrent, transformer, lstm, none };

}  // namespace example::agent

template <>
struct fbt::Names<example::agent::Rule> {
  static constexpr std::array<std::pair<std::string_view, example::agent::Rule>, 7> list{
      {{"feedback", example::agent::Rule::feedback},
       {"average", example::agent::Rule::average},
       {"top_only", example::agent::Rule::top_only},
       {"recurrent", example::agent::Rule::recurrent},
       {"transformer", example::agent::Rule::transformer},
       {"lstm", example::agent::Rule::lstm},
       {"none", example::agent::Rule::none}}};
};

namespace example::agent {

using FeedbackAgent = fbt::VectorModel<float>;
using LstmAgent = fbt::SequenceModel<fbt::VectorInput<float>, fbt::LstmCore<float>, fbt::Head<float>>;

struct ModelSizes {
  fbt::Index width = 32, layers = 2, heads = 4, window = 16;
};

/// Calls f(model) with a new model for observations and actions of an environment.
template <class F>
void with_new_model(Rule rule, const ModelSizes& sizes, const Environment& environment, std::uint64_t seed, F&& f) {
  const auto fill = [&](auto config) {
    config.inputs = environment.inputs();
    config.outputs = static_cast<fbt::Index>(environment.actions().size()) + 1;
    config.width = sizes.width;
    config.layers = sizes.layers;
    config.heads = sizes.heads;
    config.window = sizes.window;
    return config;
  };
  fbt::Random random(seed);
  if (rule == Rule::lstm) {
    LstmAgent model(fill(fbt::LstmConfig{}), random);
    f(model);
  } else {
    fbt::Config config = fill(fbt::Config{});
    if (rule != Rule::none) config.memory_rule = fbt::from_name<fbt::MemoryRule>(fbt::name_of(rule), "rule");
    config.share_key_value = !config.remembers_per_layer();
    FeedbackAgent model(config, random);
    f(model);
  }
}

/// What a model's file tells of its training.
struct Origin {
  Task task = Task::t_maze;
  Rule rule = Rule::feedback;
  fbt::Index length = 0;
};

inline fbt::Metadata write_origin(const Origin& origin) {
  return {{"agent.task", std::string(fbt::name_of(origin.task))},
          {"agent.rule", std::string(fbt::name_of(origin.rule))},
          {"agent.length", fmt::format("{}", origin.length)}};
}

/// Throws std::runtime_error for the file of another program.
inline Origin read_origin(const fbt::TensorFile& file) {
  const auto text = [&](const char* name) {
    const auto found = file.metadata().find(name);
    fbt::ensure(found != file.metadata().end(),
                "{}: expected a model that agent train wrote, found no {} in its __metadata__", file.name(), name);
    return found->second;
  };
  const auto named = [&]<class Enum>(const char* name, Enum) {
    const auto value = fbt::find_name<Enum>(text(name));
    fbt::ensure(value.has_value(), "{}: {}: expected one of {}, found {:?}", file.name(), name, fbt::names_of<Enum>(),
                text(name));
    return *value;
  };
  Origin origin{named("agent.task", Task{}), named("agent.rule", Rule{}), 0};
  const std::string length = text("agent.length");
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), origin.length);
  fbt::ensure(error == std::errc() && end == length.data() + length.size() && origin.length >= 1 && origin.length <= 100'000,
              "{}: agent.length: expected a number from 1 to 100000, found {:?}", file.name(), length);
  return origin;
}

/// Calls f(model, origin) with the model in a file. Throws std::runtime_error that says what is wrong with it.
template <class F>
void with_model_file(const std::filesystem::path& path, F&& f) {
  const fbt::TensorFile file = fbt::TensorFile::read(path);
  const Origin origin = read_origin(file);
  const auto run = [&](const auto& model) {
    const auto environment = environment_maker(origin.task, origin.length, Lengths::even)();
    const auto outputs = static_cast<fbt::Index>(environment->actions().size()) + 1;
    fbt::ensure(model.config().inputs == environment->inputs() && model.head.outputs() == outputs,
                "{}: a model of the task {} has {} inputs and {} outputs, found {} and {}", file.name(),
                fbt::name_of(origin.task), environment->inputs(), outputs, model.config().inputs, model.head.outputs());
    f(model, origin);
  };
  if (origin.rule == Rule::lstm) {
    run(fbt::load_model<LstmAgent>(file).model);
  } else {
    run(fbt::load_model<FeedbackAgent>(file).model);
  }
}

}  // namespace example::agent
