// Cart-pole with hidden velocities: a cart on a track carries a pole that has to be kept upright (Barto, Sutton, Anderson,
// "Neuronlike adaptive elements that can solve difficult learning control problems", 1983), and the agent sees only where
// the cart is and how the pole leans, so that it has to remember how they were. The example of an environment of one's own.
#pragma once

#include "agent/environment.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace example::agent {

class CartPole : public Environment {
 public:
  /// Episodes of at most so many steps of 0.02 s.
  explicit CartPole(fbt::Index steps) : steps_(steps) {}

  fbt::Index inputs() const override { return 2; }
  std::vector<std::string> actions() const override { return {"left", "right"}; }

  void begin(fbt::Random& random) override {
    for (double* const value : {&x_, &angle_, &speed_, &turning_}) *value = 0.1 * random.uniform() - 0.05;
    step_ = 0;
  }
  void observe(Eigen::Ref<fbt::Vector<float>> seen) const override {
    seen << static_cast<float>(x_ / widest), static_cast<float>(angle_ / steepest);
  }
  /// A push of 10 N to either side; 0.1 for every step before the pole falls or the cart leaves the track.
  Outcome act(fbt::Index action, fbt::Random&) override {
    constexpr double gravity = 9.8, cart = 1, pole = 0.1, half_length = 0.5, seconds = 0.02;
    const double sine = std::sin(angle_), cosine = std::cos(angle_);
    const double pushed = ((action == 1 ? 10 : -10) + pole * half_length * turning_ * turning_ * sine) / (cart + pole);
    const double turn =
        (gravity * sine - cosine * pushed) / (half_length * (4.0 / 3 - pole * cosine * cosine / (cart + pole)));
    x_ += seconds * speed_;
    angle_ += seconds * turning_;
    speed_ += seconds * (pushed - pole * half_length * turn * cosine / (cart + pole));
    turning_ += seconds * turn;
    return {fell() ? 0 : 0.1, ++step_ == steps_ || fell()};
  }

  /// Upright to the last step.
  bool succeeded() const override { return step_ == steps_ && !fell(); }

  /// The tip of the pole above the cart.
  std::vector<std::string> map() const override {
    constexpr double columns = 48;
    std::vector<std::string> rows(2, std::string(static_cast<std::size_t>(columns) + 1, ' '));
    const auto column = [](double x) {
      return static_cast<std::size_t>(columns * (std::clamp(x / widest, -1.0, 1.0) + 1) / 2);
    };
    rows[0][column(x_ + std::sin(angle_))] = 'o';
    rows[1][column(x_)] = '@';
    return rows;
  }

 private:
  static constexpr double widest = 2.4, steepest = 0.21;  // metres, radians

  bool fell() const { return std::abs(x_) > widest || std::abs(angle_) > steepest; }

  fbt::Index steps_, step_ = 0;
  double x_ = 0, angle_ = 0, speed_ = 0, turning_ = 0;
};

}  // namespace example::agent
