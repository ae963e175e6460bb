// A layer of one's own, and its test: the gradient check proves the backward pass against numeric derivatives.
#include <fbt/core/random.hpp>
#include <fbt/core/types.hpp>
#include <fbt/testing/gradient_check.hpp>

#include <cmath>

/// y = weight * x / sqrt(mean(x^2) + epsilon), over the rows of each column (root mean square norm, Zhang and Sennrich,
/// 2019). Follows the contract at the top of fbt/layers/layer.hpp.
template <class Scalar>
struct RmsNorm {
  fbt::Vector<Scalar> weight;  ///< (n)
  Scalar epsilon = Scalar(1e-5);

  struct Trace {
    fbt::Matrix<Scalar> normal, dy;  // n = x / root (n, T*B), and the output deltas
    fbt::Vector<Scalar> inverse;     // 1 / root (T*B)
    fbt::Index lanes = 0;
  };

  void prepare(Trace& trace, const fbt::Segment& segment) const {
    trace.lanes = segment.lanes;
    trace.normal.resize(weight.size(), segment.columns());
    trace.dy.resize(weight.size(), segment.columns());
    trace.inverse.resize(segment.columns());
  }

  void forward(const fbt::In<Scalar>& x, Trace& trace, fbt::Index t, fbt::Out<Scalar> y) const {
    for (fbt::Index b = 0; b < trace.lanes; ++b) {
      const fbt::Index column = t * trace.lanes + b;
      // n = x / sqrt(mean(x^2) + epsilon),  y = weight * n
      trace.inverse(column) = 1 / std::sqrt(x.col(b).array().square().mean() + epsilon);
      trace.normal.col(column) = trace.inverse(column) * x.col(b);
      y.col(b) = weight.cwiseProduct(trace.normal.col(column));
    }
  }

  void backward(const fbt::In<Scalar>& dy, Trace& trace, fbt::Index t, fbt::Out<Scalar> dx) const {
    fbt::step_columns(trace.dy, t, trace.lanes) = dy;
    for (fbt::Index b = 0; b < trace.lanes; ++b) {
      const auto n = trace.normal.col(t * trace.lanes + b);
      // y = weight * n  =>  dn = weight * dy;  n = x / root  =>  dx = (dn - n * mean(n * dn)) / root
      dx.col(b) = weight.cwiseProduct(dy.col(b));
      const Scalar mean = n.dot(dx.col(b)) / static_cast<Scalar>(n.size());
      dx.col(b) = trace.inverse(t * trace.lanes + b) * (dx.col(b) - mean * n);
    }
  }

  void accumulate(Trace& trace, RmsNorm& grad) const {
    // y = weight * n  =>  dweight = sum over columns of dy * n
    grad.weight += trace.dy.cwiseProduct(trace.normal).rowwise().sum();
  }

  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
  }
};

int main() {
  constexpr fbt::Index size = 7;
  fbt::Random random(1);
  RmsNorm<double> layer{fbt::random_matrix(size, 1, random)};
  const fbt::GradientReport report = fbt::check_layer(layer, size, size, random);
  fmt::print("{} derivatives, largest relative error {:.1e} in {}\n", report.compared, report.worst, report.where);
  return report.worst < 1e-7 ? 0 : 1;
}
