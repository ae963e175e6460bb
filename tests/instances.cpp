#include "instances.hpp"

template class fbt::FeedbackTransformer<float>;
template class fbt::FeedbackTransformer<double>;
template class fbt::Trainer<fbt::FeedbackTransformer<float>>;
