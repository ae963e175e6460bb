// A SequenceModel with a core of one's own, which remembers nothing. MISSING: it has no most_slots().
#include "fbt/models/sequence_model.hpp"

using namespace fbt;

class OwnCore {
 public:
  using Scalar = float;
  using Config = fbt::Config;
  static constexpr const char* config_key = "own.config";

  struct Memory {
    void clear() {}
    void clear(Index) {}
  };
  struct Trace {
    Segment segment;
    StepOrder order;
    Matrix<float> x, y;

    auto input(Index t) { return step_columns(x, t, segment.lanes); }
    const auto& outputs() const { return y; }
  };

  OwnCore() = default;
  OwnCore(const Config& config, Random&) : config_(config) {}
  const Config& config() const { return config_; }
  Memory make_memory(Index) const { return {}; }
  void check_memory(const Memory&, Index) const {}
#ifndef MISSING
  Index most_slots(const Memory&, Index) const { return 0; }
#endif
  bool lanes_begin_alone() const { return true; }
  void prepare(Trace& trace, const Segment& segment, Index = 0) const {
    trace.segment = segment;
    trace.order.prepare(segment);
    trace.x.resize(config_.width, segment.columns());
  }
  void forward(const In<float>& x, Memory&, Trace&, Index, Out<float> y) const { y = x; }
  void backward(const In<float>& dy, const Memory&, Trace&, Index, Out<float> dx) const { dx = dy; }
  void forward_segment(Memory&, Trace& trace) const { trace.y = trace.x; }
  void backward_segment(Out<float>, const Memory&, Trace&, OwnCore&) const {}
  void accumulate(Trace&, Index, Index, OwnCore&) const {}
  template <class F, class... Same>
  static void visit(F&&, Same&...) {}

 private:
  Config config_;
};

SequenceModel<TokenInput<float>, OwnCore, Head<float>> model_with_core;
