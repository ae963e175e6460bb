// What a model needs to read segments, held together.
#pragma once

#include "fbt/core/segment.hpp"
#include "fbt/core/types.hpp"

namespace fbt {

/// A memory and a trace of a model, for its segments. The model has to live on; its parameters may change in between.
template <class Model>
struct Lanes {
  using Scalar = typename Model::Scalar;

  Lanes(const Model& model_, Index lanes) : Lanes(model_, model_.make_memory(lanes)) {}
  Lanes(const Model& model_, const typename Model::Memory& carried) : memory(carried), model(&model_) {}
  template <class Any>
  Lanes(const Model&&, const Any&) = delete;

  typename Model::Memory memory;
  typename Model::Trace trace;
  const Model* model;

  const Matrix<Scalar>& forward(typename Model::Values values, const Segment& segment) {
    return model->forward(values, segment, memory, trace);
  }
  void backward(const In<Scalar>& doutputs, Model& grad) { model->backward(doutputs, memory, trace, grad); }
};

}  // namespace fbt
