#include <fbt/core/types.hpp>

double sum_elsewhere(const fbt::Vector<double>& v);

int main() { return sum_elsewhere(fbt::Vector<double>::Ones(5)) == 5 ? 0 : 1; }
