#include <fbt/core/types.hpp>

double sum_elsewhere(const fbt::Vector<double>& v);
double sum_elsewhere(const fbt::Vector<double>& v) { return v.sum(); }
