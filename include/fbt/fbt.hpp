// fbt: the Feedback Transformer (arXiv 2002.09402). Includes everything a program needs; testing/ is included by itself.
#pragma once

#include "fbt/models/feedback_transformer.hpp"
#include "fbt/version.hpp"
