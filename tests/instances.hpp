// The models are compiled once for all test files, in instances.cpp.
#pragma once

#include <fbt/models/feedback_transformer.hpp>
#include <fbt/training/trainer.hpp>

extern template class fbt::FeedbackTransformer<float>;
extern template class fbt::FeedbackTransformer<double>;
extern template class fbt::Trainer<fbt::FeedbackTransformer<float>>;
