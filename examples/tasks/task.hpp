// Task: what there is to learn, by name: its words, its examples, and a recipe to train on it.
#pragma once

#include "tasks/algorithmic.hpp"
#include "tasks/example.hpp"
#include "tasks/random_walk.hpp"
#include "tasks/recall.hpp"
#include "tasks/state_tracking.hpp"
#include "tasks/strings.hpp"

#include "fbt/core/random.hpp"
#include "fbt/models/config.hpp"

#include <array>
#include <string_view>
#include <utility>
#include <vector>

namespace example {

enum class Task {
  copy,
  reverse,
  counting,
  random_walk,
  algorithmic_3,
  algorithmic_5,
  parity,
  modular_5,
  s5,
  flip_flop,
  recall
};

}  // namespace example

template <>
struct fbt::Names<example::Task> {
  static constexpr std::array<std::pair<std::string_view, example::Task>, 11> list{
      {{"copy", example::Task::copy},
       {"reverse", example::Task::reverse},
       {"counting", example::Task::counting},
       {"random_walk", example::Task::random_walk},
       {"algorithmic_3", example::Task::algorithmic_3},
       {"algorithmic_5", example::Task::algorithmic_5},
       {"parity", example::Task::parity},
       {"modular_5", example::Task::modular_5},
       {"s5", example::Task::s5},
       {"flip_flop", example::Task::flip_flop},
       {"recall", example::Task::recall}}};
};

namespace example {

inline bool is_string(Task task) { return task == Task::copy || task == Task::reverse || task == Task::counting; }
inline bool is_algorithmic(Task task) { return task == Task::algorithmic_3 || task == Task::algorithmic_5; }
inline bool tracks_state(Task task) {
  return task == Task::parity || task == Task::modular_5 || task == Task::s5 || task == Task::flip_flop;
}
/// Whether a model is tested at its trained length and at several times that.
inline bool has_test_lengths(Task task) { return tracks_state(task) || task == Task::recall; }
inline int variables(Task task) { return task == Task::algorithmic_3 ? 3 : 5; }

inline Words words(Task task) {
  switch (task) {
    case Task::random_walk: return random_walk::words();
    case Task::parity: return modular::words(2);
    case Task::modular_5: return modular::words(5);
    case Task::s5: return s5::words();
    case Task::flip_flop: return flip_flop::words();
    case Task::recall: return recall::words();
    default: return is_string(task) ? strings::words() : algorithmic::words(variables(task));
  }
}

/// An example of the given length: letters of the string, actions, statements, tokens, or pairs.
inline Example draw(Task task, fbt::Index length, fbt::Random& random) {
  using strings::Answer;
  switch (task) {
    case Task::copy: return strings::draw(Answer::same, strings::letters, length, random);
    case Task::reverse: return strings::draw(Answer::reversed, strings::letters, length, random);
    case Task::counting: return strings::draw(Answer::same, 1, length, random);
    case Task::random_walk: return random_walk::draw(length, random);
    case Task::parity: return modular::draw(2, length, random);
    case Task::modular_5: return modular::draw(5, length, random);
    case Task::s5: return s5::draw(120, length, random);
    case Task::flip_flop: return flip_flop::draw(flip_flop::Ignored::usual, length, random);
    case Task::recall: return recall::draw(length, random);
    default: return algorithmic::draw(variables(task), length, random);
  }
}

/// An example of a length drawn from shortest to longest.
inline Example draw_between(Task task, fbt::Index shortest, fbt::Index longest, fbt::Random& random) {
  return draw(task, shortest + random.below(longest - shortest + 1), random);
}

/// So many examples, each drawn by draw_one(random).
template <class DrawOne>
std::vector<Example> draw_many(fbt::Index count, std::uint64_t seed, DrawOne&& draw_one) {
  fbt::Random random(seed);
  std::vector<Example> examples;
  for (fbt::Index i = 0; i < count; ++i) examples.push_back(draw_one(random));
  return examples;
}

inline std::vector<Example> draw(Task task, fbt::Index count, fbt::Index shortest, fbt::Index longest, std::uint64_t seed) {
  return draw_many(count, seed, [&](fbt::Random& random) { return draw_between(task, shortest, longest, random); });
}

/// Examples end to end. With a segment above 0 each is filled up to that many tokens with some that are not scored.
inline Example join(const std::vector<Example>& examples, fbt::Index segment) {
  Example stream;
  for (const Example& example : examples) {
    stream.tokens.insert(stream.tokens.end(), example.tokens.begin(), example.tokens.end());
    stream.labels.insert(stream.labels.end(), example.labels.begin(), example.labels.end());
    for (auto i = static_cast<fbt::Index>(example.tokens.size()); i < segment; ++i) stream.add(example.tokens.back());
  }
  return stream;
}

/// Examples to be predicted: programs in groups, so that the memory is carried from one to the next as in training.
inline std::vector<Example> group(Task task, const std::vector<Example>& examples) {
  if (!is_algorithmic(task)) return examples;
  constexpr std::size_t size = 10;
  std::vector<Example> groups;
  for (std::size_t i = 0; i < examples.size(); i += size)
    groups.push_back(join({examples.begin() + static_cast<std::ptrdiff_t>(i),
                           examples.begin() + static_cast<std::ptrdiff_t>(std::min(i + size, examples.size()))},
                          0));
  return groups;
}

}  // namespace example
