// A norm and a feed-forward part of one's own in the place of the library's: a model with RMSNorm (Zhang and Sennrich, 2019)
// and a SwiGLU feed-forward part (Shazeer, 2020), as LLaMA has them. The gradient check proves every derivative, then the
// model learns a sentence. Both follow the layer contract at the top of fbt/layers/layer.hpp: a layer is its parameters, all
// else is in a Trace.
#include "support/run.hpp"

#include <fbt/fbt.hpp>
#include <fbt/testing/gradient_check.hpp>

#include <cmath>

/// y = weight * x / sqrt(mean(x^2) + epsilon), over the rows of each column.
template <class Scalar>
struct RmsNorm {
  fbt::Vector<Scalar> weight;  ///< (n)
  Scalar epsilon = 0;

  struct Trace {
    fbt::Matrix<Scalar> normal, dy;  // n = x / root and the output deltas (n, T*B)
    fbt::Vector<Scalar> inverse;     // 1 / root (T*B)
    fbt::Index lanes = 0;
  };

  RmsNorm() = default;
  RmsNorm(fbt::Index size, double epsilon_)
      : weight(fbt::Vector<Scalar>::Ones(size)), epsilon(static_cast<Scalar>(epsilon_)) {}

  void prepare(Trace& trace, const fbt::Segment& segment) const {
    trace.lanes = segment.lanes;
    trace.normal.resize(weight.size(), segment.columns());
    trace.dy.setZero(weight.size(), segment.columns());
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
  void accumulate(Trace& trace, fbt::Index first, fbt::Index count, RmsNorm& grad) const {
    // y = weight * n  =>  dweight = sum of dy * n
    const auto dy = fbt::step_columns(trace.dy, first, trace.lanes, count);
    grad.weight += dy.cwiseProduct(fbt::step_columns(trace.normal, first, trace.lanes, count)).rowwise().sum();
  }
  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    f("weight", layers.weight...);
  }
};

/// y = W_down (silu(W_gate x) * W_up x), silu(a) = a / (1 + exp(-a)).
template <class Scalar>
struct SwiGlu {
  fbt::Linear<Scalar> gate, up;  ///< (f, d)
  fbt::Linear<Scalar> down;      ///< (d, f)

  struct Trace {
    typename fbt::Linear<Scalar>::Trace gate, up, down;
    fbt::Matrix<Scalar> a, b;           // gate and up (f, T*B)
    fbt::Matrix<Scalar> da, dh, dx_up;  // of one step
    fbt::Index lanes = 0;
  };

  SwiGlu() = default;
  SwiGlu(fbt::Index width, fbt::Index hidden, fbt::Activation, double, fbt::Random& random)
      : gate(width, hidden, random, false), up(width, hidden, random, false), down(hidden, width, random, false) {}

  void prepare(Trace& trace, const fbt::Segment& segment) const {
    gate.prepare(trace.gate, segment);
    up.prepare(trace.up, segment);
    down.prepare(trace.down, segment);
    trace.lanes = segment.lanes;
    for (auto* m : {&trace.a, &trace.b}) m->resize(gate.outputs(), segment.columns());
    for (auto* m : {&trace.da, &trace.dh}) m->resize(gate.outputs(), segment.lanes);
    trace.dx_up.resize(gate.inputs(), segment.lanes);
  }
  void forward(const fbt::In<Scalar>& x, Trace& trace, fbt::Index t, fbt::Out<Scalar> y) const {
    auto a = fbt::step_columns(trace.a, t, trace.lanes), b = fbt::step_columns(trace.b, t, trace.lanes);
    gate.forward(x, trace.gate, t, a);
    up.forward(x, trace.up, t, b);
    trace.dh = a.array() / (1 + (-a.array()).exp()) * b.array();  // h = silu(a) * b
    down.forward(trace.dh, trace.down, t, y);
  }
  void backward(const fbt::In<Scalar>& dy, Trace& trace, fbt::Index t, fbt::Out<Scalar> dx) const {
    const auto a = fbt::step_columns(trace.a, t, trace.lanes).array(),
               b = fbt::step_columns(trace.b, t, trace.lanes).array();
    down.backward(dy, trace.down, t, trace.dh);
    // h = silu(a) * b  =>  db = dh * silu(a),  da = dh * b * s (1 + a (1 - s)) with s = 1 / (1 + exp(-a))
    const auto s = 1 / (1 + (-a).exp());
    trace.da = trace.dh.array() * b * s * (1 + a * (1 - s));
    trace.dh.array() *= a * s;
    gate.backward(trace.da, trace.gate, t, dx);
    up.backward(trace.dh, trace.up, t, trace.dx_up);
    dx += trace.dx_up;
  }
  void accumulate(Trace& trace, fbt::Index first, fbt::Index count, SwiGlu& grad) const {
    gate.accumulate(trace.gate, first, count, grad.gate);
    up.accumulate(trace.up, first, count, grad.up);
    down.accumulate(trace.down, first, count, grad.down);
  }
  template <class F, class... Same>
  static void visit(F&& f, Same&... layers) {
    fbt::visit_child("gate", f, layers.gate...);
    fbt::visit_child("up", f, layers.up...);
    fbt::visit_child("down", f, layers.down...);
  }
};

template <class Scalar>
using OwnBlock = fbt::Block<Scalar, RmsNorm<Scalar>, SwiGlu<Scalar>>;

int run() {
  fbt::Random random(1);
  bool good = true;
  const auto prove = [&](const char* what, const fbt::GradientReport& report) {
    fmt::print("{:8} {:4} derivatives, largest relative error {:.0e} in {}\n", what, report.compared, report.worst,
               report.where);
    good = good && report.ok();
  };
  const fbt::Config small{.vocabulary = 5, .width = 6, .layers = 2, .heads = 2, .feed_forward = 5, .window = 3};
  prove("RmsNorm", fbt::check_layer(RmsNorm<double>(6, 1e-5), 6, 6, random));
  prove("SwiGlu", fbt::check_layer(SwiGlu<double>(6, 5, {}, 0, random), 6, 6, random));
  prove("block",
        fbt::check_block(OwnBlock<double>(small, random), {fbt::PositionTerm::relative_key, 3, 2, 3, random}, 6, random));
  prove("core", fbt::check_core(fbt::FeedbackCore<double, OwnBlock<double>>(small, random), random));

  // the model is a word longer than fbt::FeedbackTransformer<float>
  const std::string sentence = "a norm of one's own is a word, not a copy. ";
  std::vector<fbt::Token> text;
  for (int i = 0; i < 20; ++i) text.insert(text.end(), sentence.begin(), sentence.end());
  fbt::FeedbackTransformer<float, OwnBlock<float>> model({.vocabulary = 128, .width = 32, .layers = 2, .window = 16},
                                                         random);
  fbt::Adam adam(model);
  fbt::Trainer trainer(model, adam, fbt::Batches(text, {.lanes = 4, .segment = 32}), {});
  double loss = 0;
  for (int i = 0; i < 120; ++i) loss = trainer.update(5e-3, i / 120.0).loss;
  fmt::print("loss after 120 updates: {:.4f} nats per character\n", loss);
  return good && loss < 0.2 ? 0 : 1;
}

int main() { return example::run(run); }
