// Trainings by several processes of models beside the Feedback Transformer.
#include "fbt/models/encoder_decoder.hpp"
#include "fbt/models/sequence_model.hpp"
#include "fbt/training/pair_batches.hpp"
#include "mpi/together.hpp"

#include <vector>

using namespace fbt;

TEST_CASE("DataParallel: LSTMs, in double") { check_same_training<LstmModel<double>>(); }

TEST_CASE("DataParallel: translators, too") {
  EncoderDecoderConfig config;
  config.decoder = small_config<Config>();
  config.decoder.cross_attention = true;
  config.encoder_layers = 1;
  Random random(2);
  const EncoderDecoder<float> before(config, random);
  std::vector<TokenPair> pairs;
  for (Index i = 0; i < 40; ++i)
    pairs.push_back({random_tokens(1 + random.below(9), 30, random), random_tokens(random.below(9), 30, random)});
  const PairBatches batches(pairs, {.lanes = 7});
  EncoderDecoder<float> one = before, model = before;
  Training<EncoderDecoder<float>, PairBatches> alone(one, batches, {}, trainer_options());
  const Processes processes;
  DataParallel<EncoderDecoder<float>> optimizer(processes, model, shards);
  Trainer trainer(model, optimizer, batches, trainer_options(), CrossEntropy{}, optimizer.reduction());
  CHECK(update(trainer, 8) == update(alone, 8));
  CHECK(same(model, one));
}
