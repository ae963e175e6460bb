// A part of io, which may include io but no training, of either kind.
#pragma once

#include "fbt/io/model_file.hpp"
#include "fbt/io/pytorch/layout.hpp"
#include "fbt/io/training_file.hpp"
#include "fbt/layers/nested/misplaced.hpp"
#include "fbt/training/trainer.hpp"
