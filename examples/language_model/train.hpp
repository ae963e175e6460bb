// `train`: learns a text for a number of updates or seconds, and writes to a folder
//   model.safetensors      the model with the smallest validation loss so far, or the latest while there is none
//   training.safetensors   all that --resume needs
//   metrics.jsonl          a line per report
//   loss.svg, layer_weights.svg
#pragma once

#include "language_model/metrics.hpp"
#include "language_model/model_file.hpp"
#include "language_model/train_flags.hpp"
#include "support/budget.hpp"
#include "support/interrupt.hpp"
#include "support/stopwatch.hpp"
#include "support/text_file.hpp"

#include "fbt/core/random.hpp"
#include "fbt/io/training_file.hpp"
#include "fbt/models/mimetic.hpp"
#include "fbt/text/vocabulary.hpp"
#include "fbt/training/evaluate.hpp"
#include "fbt/training/trainer.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

namespace example {

/// Where a training stands, besides what fbt::save_training() keeps.
struct Standing {
  Limits limits;
  double elapsed = 0;                                          ///< seconds, pauses left out
  double progress = 0;                                         ///< share of the training that is done
  double best_loss = std::numeric_limits<double>::infinity();  ///< smallest validation loss so far
  std::int64_t best_update = 0;
  std::int64_t validation_tokens = 0;  ///< that an evaluation reads; 0: not decided yet
};

template <class F, class Same>
void visit_standing(F&& f, Same& standing) {
  f("updates", standing.limits.updates);
  f("seconds", standing.limits.seconds);
  f("elapsed", standing.elapsed);
  f("progress", standing.progress);
  f("best_loss", standing.best_loss);
  f("best_update", standing.best_update);
  f("validation_tokens", standing.validation_tokens);
}

/// One run of a training: the loop around fbt::Trainer::update() with its reports, evaluations and files.
class Training {
 public:
  /// The tokens are those to learn from, then as many held out as given. clock: since the program began.
  Training(const TrainFlags& flags, Model model, const Standing& standing, const fbt::Vocabulary& vocabulary,
           fbt::Tokens tokens, std::size_t held_out, const Stopwatch& clock)
      : flags_(flags),
        standing_(standing),
        vocabulary_(vocabulary),
        validation_(tokens.last(held_out)),
        budget_(standing.limits, standing.elapsed, clock, flags.evaluate_every),
        model_(std::move(model)),
        adam_(model_, flags.adam),
        trainer_(model_, adam_, fbt::Batches(tokens.first(tokens.size() - held_out), flags.batches), flags.trainer) {
    if (standing.validation_tokens > 0)
      validation_ = validation_.first(std::min(validation_.size(), static_cast<std::size_t>(standing.validation_tokens)));
    const fbt::BatchOptions& batches = flags_.batches;
    budget_.expect_evaluation(static_cast<double>(validation_.size()),
                              static_cast<double>(batches.lanes * flags.trainer.segment_at(0, batches.segment)));
  }

  /// Goes on from the files in the folder. Throws when they do not fit, or the limit is reached already.
  void load() {
    fbt::load_training(path("training.safetensors"), trainer_);
    const std::int64_t limit = standing_.limits.updates;
    fbt::check(limit == 0 || updates() < limit, "--updates: expected more than the {} that the training in {} has, found {}",
               updates(), flags_.out, limit);
    reports_ = read_metrics(path("metrics.jsonl"), updates());
  }

  void run() {
    const Interrupt interrupt;
    const std::int64_t first = updates();
    fmt::print("{} parameters, {} tokens to learn from, {} held out, a vocabulary of {}\n", fbt::count_parameters(model_),
               trainer_.batches().data().size(), validation_.size(), vocabulary_.size());
    std::filesystem::create_directories(flags_.out);
    double progress = standing_.progress = budget_.progress(updates());
    save_training();  // an unwritable folder or a full disk shows now rather than at the end
    reported_at_ = budget_.elapsed();
    while (progress < 1 && !interrupt.requested()) {
      update(progress);
      progress = standing_.progress = std::max(progress, budget_.progress(updates()));
      const double now = budget_.elapsed();
      if (!validation_.empty() && budget_.evaluation_due(updates(), progress)) {
        report(evaluate());
        save();
      } else if (now >= reported_at_ + std::clamp(now / 50, 1.5, 30.0)) {
        report();
        if (now >= saved_at_ + 30) save();
      }
    }
    if (unreported_.updates > 0) report();
    if (saved_update_ < updates()) save();
    if (interrupt.requested()) {
      fmt::print("interrupted: update {} is saved; go on with --resume\n", updates());
    } else {
      fbt::ensure(updates() > first, "--seconds {}: no time was left for an update; give a larger limit", flags_.seconds);
    }
    if (std::isfinite(standing_.best_loss))
      fmt::print("best validation loss {:.4f}, at update {}\n", standing_.best_loss, standing_.best_update);
    if (flags_.config.span_ramp > 0)
      fmt::print("the heads look back at most {} of {} tokens\n", model_.core.longest_span(), flags_.config.window);
    fmt::print("all files are in {}\n", flags_.out);
  }

 private:
  /// What has been trained since the last report.
  struct Unreported {
    std::int64_t updates = 0;
    double loss = 0, tokens = 0, seconds = 0;  // sums
    fbt::Trainer<Model>::Report last;
  };

  std::filesystem::path path(const char* name) const { return std::filesystem::path(flags_.out) / name; }
  std::int64_t updates() const { return adam_.updates; }

  void update(double progress) {
    const Stopwatch watch;
    unreported_.last = trainer_.update(flags_.schedule.rate(updates(), progress), progress);
    budget_.spent_on_update(watch.seconds());
    unreported_.seconds += watch.seconds();
    unreported_.loss += unreported_.last.loss;
    unreported_.tokens += static_cast<double>(unreported_.last.tokens);
    ++unreported_.updates;
  }

  /// The validation loss.
  double evaluate() {
    if (standing_.validation_tokens == 0) {
      if (const double share = budget_.longest_evaluation() / budget_.evaluation_seconds(); share < 1) {
        const double count = std::max(2.0, share * static_cast<double>(validation_.size()));
        validation_ = validation_.first(static_cast<std::size_t>(count));
        fmt::print("evaluating on the first {} tokens held out, to keep within the time\n", validation_.size());
      }
      standing_.validation_tokens = static_cast<std::int64_t>(validation_.size());
    }
    const fbt::EvaluationOptions options{.lanes = 64, .context = flags_.config.window, .threads = flags_.trainer.threads};
    const Stopwatch watch;
    const double loss = fbt::evaluate(model_, validation_, options).mean();
    budget_.spent_on_evaluation(watch.seconds());
    return loss;
  }

  void report(double validation_loss = Report::none) {
    const auto count = static_cast<double>(unreported_.updates);
    const auto layer_weights =
        model_.config().remembers_per_layer() ? fbt::Vector<float>() : model_.core.aggregator.mix.mix_weights();
    reports_.push_back({updates(),
                        budget_.elapsed(),
                        unreported_.loss / count,
                        validation_loss,
                        unreported_.tokens / unreported_.seconds,
                        unreported_.last.learning_rate,
                        unreported_.last.gradient_norm,
                        {layer_weights.begin(), layer_weights.end()}});
    fmt::print("{}  left {}\n", progress_line(reports_.back()), clock_text(budget_.seconds_left(updates())));
    std::fflush(stdout);
    unreported_ = {};
    reported_at_ = budget_.elapsed();
  }

  /// Writes all files. training.safetensors comes last: what the others hold beyond it is made again when it is resumed.
  void save() {
    const Stopwatch watch;
    if (const double loss = reports_.back().validation_loss; loss < standing_.best_loss) {
      standing_.best_loss = loss;
      standing_.best_update = updates();
    }
    if (!std::isfinite(standing_.best_loss) || standing_.best_update == updates())
      fbt::save_model(path("model.safetensors"), model_, vocabulary_.metadata(), fbt::Probe::store);
    fbt::write_atomically(path("metrics.jsonl"), {write_metrics(reports_)});
    fbt::write_atomically(path("loss.svg"), {loss_plot(reports_).svg()});
    fbt::write_atomically(path("layer_weights.svg"), {layer_weights_plot(reports_).svg()});
    save_training();
    budget_.spent_on_save(watch.seconds());
  }

  void save_training() {
    standing_.elapsed = saved_at_ = budget_.elapsed();
    saved_update_ = updates();
    nlohmann::ordered_json standing;
    visit_standing([&](const char* name, const auto& value) { standing[name] = value; }, standing_);
    fbt::Metadata metadata = vocabulary_.metadata();
    metadata["flags"] = write_flags(flags_).dump();
    metadata["standing"] = standing.dump();
    fbt::save_training(path("training.safetensors"), trainer_, metadata);
  }

  TrainFlags flags_;
  Standing standing_;
  const fbt::Vocabulary& vocabulary_;
  fbt::Tokens validation_;
  Budget budget_;
  Model model_;
  fbt::Adam<Model> adam_;
  fbt::Trainer<Model> trainer_;
  std::vector<Report> reports_;
  Unreported unreported_;
  double saved_at_ = 0, reported_at_ = 0;
  std::int64_t saved_update_ = 0;
};

namespace detail {

/// What a training file holds for train().
struct Stored {
  fbt::Config config;
  fbt::Vocabulary vocabulary;
  nlohmann::ordered_json flags;
  Standing standing;
};

inline Stored read_stored(const std::filesystem::path& path) {
  const fbt::Metadata metadata = fbt::TensorFile::read(path).metadata();
  fbt::ensure(metadata.contains("flags") && metadata.contains("standing") && metadata.contains("fbt.training.config"),
              "{}: expected a training of this program, found another file", path.string());
  Stored stored{fbt::read_config(metadata.at("fbt.training.config"), path.string()),
                fbt::Vocabulary::read(metadata, path.string()),
                nlohmann::ordered_json::parse(metadata.at("flags")),
                {}};
  const auto standing = nlohmann::json::parse(metadata.at("standing"));
  visit_standing(
      [&]<class T>(const char* name, T& value) {
        if (!standing.at(name).is_null()) value = standing.at(name).get<T>();
      },
      stored.standing);
  return stored;
}

/// The limits of the whole training, from those of this run. Throws std::invalid_argument when there is nothing to do.
inline Limits choose_limits(const TrainFlags& flags, const std::optional<Stored>& stored) {
  fbt::check(flags.updates >= 0, "--updates must be at least 0, found {}", flags.updates);
  fbt::check(flags.seconds >= 0 && flags.seconds < 1e9, "--seconds must be from 0 to 1e9, found {}", flags.seconds);
  const bool given = flags.updates > 0 || flags.seconds > 0;
  if (!stored) return given ? Limits{flags.updates, flags.seconds} : Limits{0, 60};
  fbt::check(given || stored->standing.progress < 1,
             "the training in {} has reached its end; give --updates (in all) or --seconds (more) to go on", flags.out);
  if (!given) return stored->standing.limits;
  return {flags.updates, flags.seconds > 0 ? stored->standing.elapsed + flags.seconds : 0};
}

/// The model to begin with, under the flags' memory rule and dropout; the flags take over the rest of its config. Throws
/// std::invalid_argument when a flag that was given contradicts it.
inline TextModel read_start(TrainFlags& flags, const CLI::App& command) {
  TextModel start = load_text_model(flags.start_from);
  fbt::check(start.vocabulary.kind() != fbt::TokenKind::number,
             "--start-from {}: expected a model of text, found one without a vocabulary", flags.start_from);
  if (const auto rule = start.model.config().memory_rule; rule != flags.config.memory_rule)
    fmt::print("the memory rule changes from {} to {}\n", fbt::name_of(rule), fbt::name_of(flags.config.memory_rule));
  start.model.core.set_memory_rule(flags.config.memory_rule, flags.config.memory_layer);
  TrainFlags begun = flags;
  begun.vocabulary = start.vocabulary.kind();
  begun.config = start.model.config();
  begun.config.dropout = flags.config.dropout;
  merge_flags(flags, write_flags(begun), command, flags.start_from, "do without --start-from");
  flags.config = begun.config;
  fbt::Random random(0);
  Model model(flags.config, random);
  fbt::visit([](std::string_view, auto& to, const auto& from) { to = from; }, model, std::as_const(start.model));
  start.model = std::move(model);
  return start;
}

/// How many tokens to hold out. Throws std::invalid_argument when there are too few.
inline std::size_t choose_held_out(const TrainFlags& flags, std::size_t tokens) {
  const fbt::BatchOptions& batches = flags.batches;
  const double fraction = flags.validation_fraction;
  fbt::check(fraction >= 0 && fraction < 1, "--validation-fraction must be at least 0 and below 1, found {}", fraction);
  const auto held_out = static_cast<std::size_t>(fraction * static_cast<double>(tokens));
  const double needed = static_cast<double>(batches.lanes) * static_cast<double>(batches.segment) + 1;
  fbt::check(static_cast<double>(tokens - held_out) >= needed,
             "{}: the text is too short: {} lanes of segments of {} tokens need {} tokens, found {} and {} held out; lower "
             "--lanes, --segment or --validation-fraction",
             flags.data, batches.lanes, batches.segment, needed, tokens - held_out, held_out);
  fbt::check(
      fraction == 0 || held_out >= 2,
      "{}: the text is too short: an evaluation needs 2 tokens, found {} held out; raise --validation-fraction, or set "
      "it to 0",
      flags.data, held_out);
  return held_out;
}

/// Throws std::invalid_argument when the machine cannot hold what a training needs.
inline void check_memory(const fbt::Config& config, const fbt::BatchOptions& batches, fbt::Index shards) {
  // the model, its moments, a gradient per shard; keys and values of twice the window and their gradients; inputs, outputs
  // and attention weights of a segment
  const auto number = [](auto... factors) { return (static_cast<double>(factors) * ...); };
  const double slot = 2 * number(batches.lanes, config.heads, config.head_columns(), config.key_values());
  const double token =
      number(config.layers + 1, config.width) +
      number(config.layers, 2 * config.hidden_units() + config.heads * std::min(config.window, batches.segment));
  const double needed =
      sizeof(float) * ((3 + static_cast<double>(shards)) * config.parameters() +
                       4 * static_cast<double>(config.window) * slot + number(batches.lanes, batches.segment) * token);
  const double present = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  fbt::check(
      needed < present,
      "too large for this machine: {:.3g} parameters, {} lanes, segments of {} and a window of {} tokens need more than "
      "{:.0f} GB of memory, found {:.0f} GB",
      config.parameters(), batches.lanes, batches.segment, config.window, needed / 1e9, present / 1e9);
}

}  // namespace detail

/// command: which flags were given. clock: since the program began.
inline void train(TrainFlags flags, const CLI::App& command, const Stopwatch& clock) {
  const std::filesystem::path folder = flags.out;
  std::optional<detail::Stored> stored;
  std::optional<TextModel> start;
  if (flags.resume) {
    const std::filesystem::path file = folder / "training.safetensors";
    try {
      stored = detail::read_stored(file);
      merge_flags(flags, stored->flags, command, file.string(), "choose another --out folder");
      flags.config = stored->config;
    } catch (const nlohmann::json::exception& error) {
      throw std::runtime_error(fmt::format("{}: expected a training of this program: {}", file.string(), error.what()));
    }
  } else {
    for (const char* name : {"model.safetensors", "training.safetensors"})
      fbt::check(!std::filesystem::exists(folder / name),
                 "{}: the folder already holds {}; add --resume to go on with it, "
                 "or choose another --out folder",
                 flags.out, name);
    if (!flags.start_from.empty()) start = detail::read_start(flags, command);
  }
  Standing standing = stored ? stored->standing : Standing{};
  standing.limits = detail::choose_limits(flags, stored);
  if (flags.schedule.peak == 0) flags.schedule.peak = flags.default_learning_rate();
  flags.trainer.validate(flags.batches.lanes, flags.batches.segment);
  flags.schedule.validate();
  flags.adam.validate();
  fbt::check(flags.trainer.span_penalty == 0 || flags.config.span_ramp > 0,
             "--span-penalty {}: expected --span-ramp, too; without it no span is learned", flags.trainer.span_penalty);
  fbt::check(flags.mimetic >= 0 && flags.mimetic <= 100, "--mimetic must be from 0 to 100, found {}", flags.mimetic);
  fbt::check(!start || flags.mimetic == 0,
             "--mimetic {}: expected random parameters, found those of --start-from; leave out one of the flags",
             flags.mimetic);
  fbt::check(flags.evaluate_every >= 0, "--evaluate-every must be at least 0 updates, found {}", flags.evaluate_every);

  const std::string text = read_text_file(flags.data);
  const fbt::Vocabulary vocabulary = stored  ? stored->vocabulary
                                     : start ? start->vocabulary
                                             : fbt::Vocabulary(flags.vocabulary, text, flags.data);
  const std::vector<fbt::Token> tokens = vocabulary.encode(text, flags.data);
  if (!stored && !start) {
    flags.config.vocabulary = vocabulary.size();
    flags.config.share_key_value = !flags.config.remembers_per_layer();
  }
  flags.config.validate();
  detail::check_memory(flags.config, flags.batches, flags.trainer.shards);
  const std::size_t held_out = detail::choose_held_out(flags, tokens.size());
  fbt::Random random(flags.batches.seed);
  Model model = start ? std::move(start->model) : Model(flags.config, random);
  if (flags.mimetic > 0) fbt::initialize_mimetic(model, flags.mimetic);
  Training training(flags, std::move(model), standing, vocabulary, tokens, held_out, clock);
  if (stored) training.load();
  training.run();
}

}  // namespace example
