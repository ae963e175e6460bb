// Run by one process or by several, as tests/CMakeLists.txt has it: what is expected is what one process does.
#include "fbt/training/data_parallel.hpp"
#include "fbt/training/gathered_training.hpp"

#include "fbt/io/training_file.hpp"
#include "fbt/models/encoder_decoder.hpp"
#include "fbt/models/sequence_model.hpp"
#include "mpi/together.hpp"
#include "support/scratch.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

using namespace fbt;

namespace {

/// A folder that all processes see.
class SharedFolder {
 public:
  explicit SharedFolder(const Processes& processes) : processes_(processes) {
    std::string name(64, ' ');
    if (processes.is_first()) {
      name = (std::filesystem::temp_directory_path() / "fbt-mpi-XXXXXX").string();
      REQUIRE(::mkdtemp(name.data()));
    }
    path_ = processes.gather(name)[0];
  }
  ~SharedFolder() {
    processes_.gather("");  // all are done with it
    std::error_code none;
    if (processes_.is_first()) std::filesystem::remove_all(path_, none);
  }
  std::filesystem::path operator/(const char* name) const { return path_ / name; }

 private:
  const Processes& processes_;
  std::filesystem::path path_;
};

}  // namespace

TEST_CASE("DataParallel: to the last bit the training of one process") { check_same_training<FeedbackTransformer<float>>(); }

TEST_CASE("DataParallel: a training is saved as that of one process is, and goes on at any number") {
  using Model = FeedbackTransformer<float>;
  const Processes processes;
  const SharedFolder folder(processes);
  const auto text = small_text();
  Model one = small_model<Model>(), model = one;
  Training alone(one, Batches(text, batch_options), adam_options(), trainer_options());
  Together together(processes, model, Batches(text, batch_options));
  update(alone, 3);
  update(together.trainer, 3);
  const auto path = folder / "together.safetensors";
  save_together(together.trainer, [&](const auto& whole) {
    save_training(path, whole, {{"of", "a test"}});
    save_training(folder / "alone.safetensors", alone.trainer, {{"of", "a test"}});
  });
  CHECK(read_all(path) == read_all(folder / "alone.safetensors"));

  // other parameters, moments and memories before
  Model other = small_model<Model>(7);
  Together resumed(processes, other, Batches(text, batch_options));
  update(resumed.trainer, 1);
  load_together(resumed.trainer, [&](auto& whole) { CHECK(load_training(path, whole).at("of") == "a test"); });
  CHECK(resumed.optimizer.updates == 3);
  const auto expected = update(alone, 4);
  CHECK(update(resumed.trainer, 4) == expected);
  CHECK(same(other, one));

  // one process cannot read it: nothing has changed, anywhere
  const Index last = processes.count() - 1;
  const auto missing = processes.rank() == last ? folder / "nowhere" : path;
  CHECK_THROWS_WITH(load_together(resumed.trainer, [&](auto& whole) { load_training(missing, whole); }),
                    ContainsSubstring("process " + std::to_string(last) + ": ") && ContainsSubstring("nowhere"));
  CHECK(same(other, one));
  CHECK(update(resumed.trainer, 2) == update(alone, 2));
}

TEST_CASE("DataParallel: an update that fails does so in all processes, and changes nothing") {
  using Model = FeedbackTransformer<float>;
  const Processes processes;
  // only the last lane, so the last shard, reads the token whose embedding is not a number
  auto text = small_text();
  std::ranges::replace(text, 29, 0);
  text[(text.size() - 1) / 7 * 6 + 1] = 29;
  Model one = small_model<Model>(), model = one;
  Training alone(one, Batches(text, batch_options), adam_options(), trainer_options());
  Together together(processes, model, Batches(text, batch_options));
  const auto spoil = [](Model& m) { m.input.embedding.weight(0, 29) = std::numeric_limits<float>::quiet_NaN(); };
  spoil(one);
  spoil(model);
  std::string message;
  try {
    update(alone, 1);
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  CHECK(message.find("expected a finite") != std::string::npos);
  const Model before = model;
  CHECK_THROWS_WITH(update(together.trainer, 1), message);
  CHECK(together.optimizer.updates == 0);
  bool kept = true;
  visit([&](std::string_view, const auto& x,
            const auto& y) { kept = kept && (x.array() == y.array() || x.array().isNaN()).all(); },
        model, before);
  CHECK(kept);
}

TEST_CASE("DataParallel: what does not fit together is refused by all processes") {
  using Model = FeedbackTransformer<float>;
  const Processes processes;
  const Index last = processes.count() - 1;
  const Model model = small_model<Model>();
  CHECK_THROWS_WITH(
      DataParallel(processes, model, last),
      fmt::format("expected at least as many shards as processes, found {} shards for {} processes", last, last + 1));
  Model trained = model;
  DataParallel<Model> optimizer(processes, trained, shards);
  const auto text = small_text();
  for (const Index others : {shards - 2, shards + 2}) {
    TrainerOptions options = trainer_options();
    options.shards = others;
    CHECK_THROWS_AS(
        Trainer(trained, optimizer, Batches(text, batch_options), options, CrossEntropy{}, optimizer.reduction()),
        std::invalid_argument);
  }
  if (last == 0) return;
  Config config = model.config();
  config.dropout = processes.rank() == last ? 0.5 : 0;  // the same parameters, another model
  Random random(1);
  CHECK_THROWS_WITH(DataParallel(processes, Model(config, random), shards),
                    fmt::format("process {}: expected the same dropout as process 0 has, 0, found 0.5", last));
  EncoderDecoderConfig pair;
  pair.decoder = config;
  pair.decoder.cross_attention = true;
  pair.source_vocabulary = 5;
  CHECK_THROWS_WITH(DataParallel(processes, EncoderDecoder<float>(pair, random), shards),
                    fmt::format("process {}: expected the same dropout as process 0 has, 0, found 0.5", last));
  const Model other = small_model<Model>(processes.rank() == last ? 2 : 1);
  const auto named = ContainsSubstring(fmt::format("process {}: expected the same build of fbt, model and shards", last));
  CHECK_THROWS_WITH(DataParallel(processes, other, shards), named);
  CHECK_THROWS_WITH(DataParallel(processes, model, processes.rank() == last ? shards + 1 : shards), named);
  CHECK_THROWS_WITH(DataParallel(processes, model, processes.rank() == last ? 1 : shards), named);
}

TEST_CASE("Processes: errors, texts and numbers are shared") {
  const Processes processes;
  const Index count = processes.count(), rank = processes.rank();
  CHECK_NOTHROW(processes.together([] {}));
  CHECK_THROWS_WITH(processes.together([&] {
    if (rank >= count / 2) throw std::runtime_error(fmt::format("out of cheese {}", rank));
  }),
                    fmt::format("process {0}: out of cheese {0}", count / 2));
  const auto texts = processes.gather(std::string(static_cast<std::size_t>(rank), 'x') + std::to_string(rank));
  REQUIRE(static_cast<Index>(texts.size()) == count);
  for (Index p = 0; p < count; ++p)
    CHECK(texts[static_cast<std::size_t>(p)] == std::string(static_cast<std::size_t>(p), 'x') + std::to_string(p));
  std::vector<double> numbers{static_cast<double>(rank), -1.0, rank == 0 ? 3.0 : 0.0};
  processes.largest(numbers);
  CHECK(numbers == std::vector<double>{static_cast<double>(count - 1), -1, 3});
  std::vector<LossSum> sums(11);
  for (Index i = processes.first(11, rank); i < processes.first(11, rank + 1); ++i)
    sums[static_cast<std::size_t>(i)] = {0.5 * static_cast<double>(i), i};
  processes.share(std::span(sums));
  for (Index i = 0; i < 11; ++i) CHECK(sums[static_cast<std::size_t>(i)].sum == 0.5 * static_cast<double>(i));
}

TEST_CASE("Partition: parts are about equal, and cut between pieces") {
  const auto model = small_model<FeedbackTransformer<float>>();
  const Index parts = GENERATE(1, 2, 3, 8, 500);
  const Partition partition(model, parts);
  CHECK(partition.total() == count_parameters(model));
  CHECK(partition.first(0) == 0);
  std::vector<Index> firsts{0};
  visit([&](std::string_view, const auto& tensor) { firsts.push_back(firsts.back() + tensor.size()); }, model);
  std::vector<Index> covered(firsts.size() - 1, 0);
  for (Index p = 0; p < parts; ++p) {
    CHECK(partition.size(p) >= 0);
    CHECK(partition.size(p) <= partition.total() / parts + 4096);
    Index size = 0;
    for (std::size_t i = 0; i < covered.size(); ++i) {
      const auto [first, count] = partition.run(p, i);
      size += count;
      if (count == 0) continue;
      CHECK(first == covered[i]);
      CHECK(first % 4096 == 0);
      covered[i] += count;
    }
    CHECK(size == partition.size(p));
  }
  for (std::size_t i = 0; i < covered.size(); ++i) CHECK(covered[i] == firsts[i + 1] - firsts[i]);
}
