// Environment: what an agent acts in. One of your own is a class with these functions and a line in task.hpp;
// cart_pole.hpp is a short example.
#pragma once

#include "fbt/core/random.hpp"
#include "fbt/core/types.hpp"

#include <Eigen/Core>

#include <string>
#include <vector>

namespace example::agent {

/// What came of an action.
struct Outcome {
  double reward = 0;
  bool ended = false;  ///< the episode, also when only its time is over: nothing may follow but begin()
};

class Environment {
 public:
  virtual ~Environment() = default;

  /// The size of an observation. Like the actions it is the same in all episodes.
  virtual fbt::Index inputs() const = 0;
  /// What the actions are called; action i is the i-th.
  virtual std::vector<std::string> actions() const = 0;

  /// Begins a new episode. Whatever is random comes from random, here and in act().
  virtual void begin(fbt::Random& random) = 0;
  /// Writes what the agent sees now; seen (inputs) holds zeros.
  virtual void observe(Eigen::Ref<fbt::Vector<float>> seen) const = 0;
  /// action: from 0 to the number of actions - 1.
  virtual Outcome act(fbt::Index action, fbt::Random& random) = 0;

  /// Whether the episode is a success so far, and how many places have been found in it.
  virtual bool succeeded() const = 0;
  virtual fbt::Index places() const { return 0; }

  /// What there is, for people to look at, the agent itself included: rows of one length with '@' for the agent, '#' for a
  /// wall, and ' ' or '.' for nothing; other characters are things of the task.
  virtual std::vector<std::string> map() const = 0;
};

}  // namespace example::agent
