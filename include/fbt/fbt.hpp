// fbt: the Feedback Transformer (arXiv 2002.09402). Includes everything a program needs; testing/ is included by itself.
#pragma once

#include "fbt/generation/beam_search.hpp"
#include "fbt/generation/generate.hpp"
#include "fbt/io/folder_lock.hpp"
#include "fbt/io/model_file.hpp"
#include "fbt/io/pytorch/import.hpp"
#include "fbt/io/session_file.hpp"
#include "fbt/io/training_file.hpp"
#include "fbt/models/encoder_decoder.hpp"
#include "fbt/models/mimetic.hpp"
#include "fbt/models/sequence_model.hpp"
#include "fbt/text/vocabulary.hpp"
#include "fbt/training/evaluate.hpp"
#include "fbt/training/pair_batches.hpp"
#include "fbt/training/schedule.hpp"
#include "fbt/training/trainer.hpp"
#include "fbt/version.hpp"

// With the target fbt::compiled: declares what its library holds, so that it is not compiled again.
#if __has_include(<fbt/compiled.hpp>)
#include <fbt/compiled.hpp>
#endif
