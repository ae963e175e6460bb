// `train`: learns a task, reports what it gets right of new examples, and writes to a folder
//   model.safetensors      the model, with the name of its task
//   training.safetensors   all that --resume needs
//   metrics.jsonl          a line per report, the last one with the results
#pragma once

#include "support/budget.hpp"
#include "support/interrupt.hpp"
#include "support/path_flag.hpp"
#include "support/processes.hpp"
#include "support/run.hpp"
#include "support/sound.hpp"
#include "support/stopwatch.hpp"
#include "support/stored_flags.hpp"
#include "support/text_file.hpp"
#include "tasks/example_file.hpp"
#include "tasks/lesson.hpp"
#include "tasks/predict.hpp"
#include "tasks/recipe.hpp"
#include "tasks/rule.hpp"
#include "tasks/task.hpp"

#include "fbt/core/processors.hpp"
#include "fbt/core/random.hpp"
#include "fbt/io/fingerprint.hpp"
#include "fbt/io/folder_lock.hpp"
#include "fbt/io/training_file.hpp"
#include "fbt/training/adam.hpp"
#include "fbt/training/schedule.hpp"
#include "fbt/training/trainer.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <iterator>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace example {

struct TaskTrainFlags {
  Task task = Task::random_walk;
  Rule rule = Rule::feedback;
  std::string out, data, test_data;
  bool resume = false;
  Recipe recipe;  ///< what was given
  std::int64_t updates = 0;
  fbt::Index shards = 2;
  fbt::Index threads = fbt::available_processors();
  std::uint64_t seed = 1;
};

inline void add_task_train_flags(CLI::App& command, TaskTrainFlags& flags) {
  add_flag(command, "task", flags.task, "what to learn; required without --resume")->default_str("");
  add_flag(command, "rule", flags.rule, "which model learns it");
  add_path_flag(command, "out", flags.out, "folder to write to; without it nothing is written");
  add_flag(command, "resume", flags.resume, "go on with the training in the folder; flags not given are as they were");
  add_path_flag(command, "data", flags.data,
                "file of examples of the full length to train on, instead of new ones: a line each, and what is to be "
                "answered in FILE.labels, `_` where nothing is; as show --official and the paper's generator write them");
  add_path_flag(command, "test-data", flags.test_data, "likewise, to be tested on");
  add_flag(command, "updates", flags.updates, "end after so many updates, earlier runs included; 0: no limit");
  add_flag(command, "shards", flags.shards, "groups of lanes, which threads take first; part of the result, unlike threads");
  add_flag(command, "threads", flags.threads, "most threads to work on");
  add_flag(command, "seed", flags.seed, "for the examples, the initial parameters and dropout");
  add_recipe_flags(command, flags.recipe);
}

/// Throws std::invalid_argument for flags that were given and would have no effect.
inline void refuse_vain_flags(const TaskTrainFlags& flags, const Recipe& recipe, const CLI::App& command) {
  if (flags.rule == Rule::lstm) refuse_flags(command, {"window", "heads"}, "with --rule lstm, which has no attention");
  if (flags.rule == Rule::lstm || flags.rule == Rule::lstm_attention)
    refuse_flags(command, {"span-ramp", "position", "mimetic"},
                 fmt::format("with --rule {}: it is for the attention of the other rules", fbt::name_of(flags.rule)));
  if (!is_algorithmic(flags.task))
    refuse_flags(command, {"segment", "fresh"},
                 fmt::format("with --task {}: a segment is an example", fbt::name_of(flags.task)));
  if (flags.task == Task::s5)
    refuse_flags(command, {"first-length"}, "with --task s5, whose first examples have fewer permutations");
  constexpr const char* none_before = "without a --curriculum above 0, and examples shorter than --length to begin with";
  const bool none_shorter = lessons(flags.task, recipe).empty();
  if (none_shorter && recipe.curriculum > 0)
    refuse_flags(command, {"curriculum"}, "without examples shorter than --length to begin with");
  const bool no_lessons = recipe.curriculum == 0 || none_shorter;
  if (no_lessons) refuse_flags(command, {"first-length", "advance"}, none_before);
  if (is_algorithmic(flags.task) && recipe.first_length >= recipe.length)
    refuse_flags(command, {"first-length"}, none_before);
  if (!flags.data.empty() && no_lessons)
    refuse_flags(command, {"examples"}, "with --data, which has them, and no lessons before");
  if (!flags.test_data.empty()) refuse_flags(command, {"tests", "test-length"}, "with --test-data, which has them");
}

/// The list of flags for support/stored_flags.hpp. Those of the learning rate and its like may change.
template <class Flags>
auto task_flags(Flags& flags) {
  return [&flags](const auto& f) {
    using enum OnResume;
    f("task", flags.task, keep);
    f("rule", flags.rule, keep);
    f("data", flags.data, keep);
    f("test-data", flags.test_data, keep);
    f("shards", flags.shards, keep);
    f("seed", flags.seed, keep);
    visit_recipe(
        [&](const char* name, const char*, auto& value) {
          constexpr std::string_view changeable[] = {"learning-rate", "warmup", "clip", "fresh", "advance"};
          const bool may = std::find(std::begin(changeable), std::end(changeable), name) != std::end(changeable);
          if (name != std::string_view("seconds")) f(name, value, may ? may_change : keep);
        },
        flags.recipe);
  };
}

/// Where a training stands, besides what fbt::save_training() keeps.
struct TaskStanding {
  Limits limits;
  double elapsed = 0;               ///< seconds, pauses left out
  double progress = 0;              ///< share of the training that is done
  std::size_t lesson = 0;           ///< the place of the present one
  std::int64_t lesson_updates = 0;  ///< since it began
  double recent_loss = 0;           ///< a running mean over it
  bool test_missing = false;        ///< the one after the last update was interrupted

  bool ended() const { return progress >= 1 && !test_missing; }
};

template <class F, class Same>
void visit_task_standing(F&& f, Same& standing) {
  f("updates", standing.limits.updates);
  f("seconds", standing.limits.seconds);
  f("elapsed", standing.elapsed);
  f("progress", standing.progress);
  f("lesson", standing.lesson);
  f("lesson_updates", standing.lesson_updates);
  f("recent_loss", standing.recent_loss);
  f("test_missing", standing.test_missing);
}

/// The test examples of a training.
struct Tests {
  struct Kind {
    std::string name;  ///< what the name of a result begins with
    std::vector<Example> examples;
  };
  std::vector<Kind> kinds;  ///< at least one

  /// file: of test examples; empty: they are drawn.
  Tests(Task task, const Recipe& r, std::uint64_t seed, const std::string& file) {
    std::uint64_t which = 1;  // of the seeds
    const auto add = [&](const std::string& name, fbt::Index shortest, fbt::Index longest) {
      kinds.push_back({name, group(task, draw(task, r.tests, shortest, longest, fbt::mix_seed(seed, ++which)))});
    };
    if (!file.empty()) {
      kinds.push_back({"", group(task, read_examples(file, words(task)))});
      return;
    }
    if (is_string(task)) {
      add("", r.length + 1, r.test_length);
    } else if (has_test_lengths(task)) {
      add("", r.length, r.length);
      for (fbt::Index length = r.length; length < r.test_length;) {
        length = std::min(2 * length, r.test_length);
        add(fmt::format("length_{}_", length), length, length);
      }
    } else {
      add("", r.test_length, r.test_length);
    }
    if (is_string(task)) add("trained_lengths_", 1, r.length);  // new ones
    if (task == Task::flip_flop)
      for (const auto& kind : {std::pair("sparse_", flip_flop::Ignored::most), {"dense_", flip_flop::Ignored::few}})
        kinds.push_back({kind.first, draw_many(r.tests, fbt::mix_seed(seed, ++which), [&](fbt::Random& random) {
                           return flip_flop::draw(kind.second, r.length, random);
                         })});
    for (const Kind& kind : kinds)
      fbt::check(std::any_of(kind.examples.begin(), kind.examples.end(), has_label),
                 "nothing is scored in test examples of a --length of {} and a --test-length of {}; give larger ones",
                 r.length, r.test_length);
  }

  static bool has_label(const Example& example) {
    return std::any_of(example.labels.begin(), example.labels.end(), [](fbt::Token label) { return label != unscored; });
  }

  /// At least two of them.
  std::vector<fbt::Token> some_tokens() const {
    const std::vector<fbt::Token>& first = kinds.front().examples.front().tokens;
    std::vector<fbt::Token> tokens = first;
    tokens.insert(tokens.end(), first.begin(), first.end());
    return tokens;
  }

  double tokens() const {
    double count = 0;
    for (const Kind& kind : kinds)
      for (const Example& example : kind.examples) count += static_cast<double>(example.tokens.size());
    return count;
  }
};

/// Examples to train on, end to end, and how they are read.
struct TaskData {
  Example stream;
  fbt::BatchOptions options;

  TaskData(Task task, const Recipe& r, std::uint64_t seed, const std::vector<Example>& examples) {
    const bool carried = is_algorithmic(task);  // programs follow one another, all else are sequences of their own
    std::size_t longest = 0;
    for (const Example& example : examples) longest = std::max(longest, example.tokens.size());
    options = {.lanes = r.lanes,
               .segment = carried ? r.segment : static_cast<fbt::Index>(longest),
               .segments = carried ? fbt::Segments::carried : fbt::Segments::independent,
               .seed = seed};
    stream = join(examples, carried ? 0 : options.segment);
  }

  /// Throws std::invalid_argument when there are too few for the lanes.
  auto batches() const { return fbt::Batches(stream.tokens, stream.labels, options); }
};

/// What a model gets right, with the names it has in files.
template <class Model>
nlohmann::ordered_json test(Task task, const Model& model, const Tests& tests, fbt::Index threads,
                            const Interrupt& interrupt, const Processes& processes) {
  const auto accuracy = [&](const std::vector<Example>& examples) {
    return processes.evaluate<Accuracy>([&](const auto& share) {
      const auto count = static_cast<fbt::Index>(examples.size());
      const auto [first, end] = processes.own_part((count + prediction_lanes - 1) / prediction_lanes);
      const std::vector<Example> own(examples.begin() + std::min(count, first * prediction_lanes),
                                     examples.begin() + std::min(count, end * prediction_lanes));
      std::vector<Accuracy> found(static_cast<std::size_t>(processes.count()));
      found[static_cast<std::size_t>(processes.rank())] = measure(own, predict(model, own, threads, &interrupt));
      share(std::span(found));
      Accuracy sum;
      for (const Accuracy& one : found) sum += one;
      return sum;
    });
  };
  nlohmann::ordered_json results;
  for (const auto& [name, examples] : tests.kinds) {
    const Accuracy result = accuracy(examples);
    results[name + (is_string(task) ? "character_accuracy" : "accuracy")] = result.of_labels();
    if (is_string(task)) results[name + "sequence_accuracy"] = result.of_examples();
  }
  return results;
}

/// "accuracy 99.1%", with all its results.
inline std::string percentages(const nlohmann::ordered_json& results) {
  std::string text;
  for (const auto& [name, value] : results.items()) {
    std::string plain = name;
    std::replace(plain.begin(), plain.end(), '_', ' ');
    text += fmt::format("{}{} {:.2f}%", text.empty() ? "" : ", ", plain, 100 * value.template get<double>());
  }
  return text;
}

/// Trains a model, and tests it now and then and at the end.
template <class Model>
class TaskTraining {
 public:
  /// given: examples of the full length to train on; none: they are drawn. clock: since the program began.
  TaskTraining(const TaskTrainFlags& flags, const Recipe& recipe, const TaskStanding& standing,
               const std::vector<Example>& given, const Tests& tests, Model& model, const Stopwatch& clock,
               Processes& processes)
      : processes_(processes),
        flags_(flags),
        recipe_(recipe),
        model_(model),
        given_(given),
        tests_(tests),
        standing_(standing),
        resuming_(flags.resume),
        budget_(standing.limits, standing.elapsed, clock, 0),
        optimizer_(processes.optimizer(model, flags.shards)),
        schedule_{.peak = recipe.learning_rate, .warmup = recipe.warmup} {
    schedule_.validate();
  }

  /// Returns the exit code of the program. After an error what was reached is saved, and the error is thrown on.
  int run() {
    print_now("{} by {}: {} parameters\n", fbt::name_of(flags_.task), fbt::name_of(flags_.rule),
              fbt::count_parameters(model_));
    try {
      bool interrupted = false;
      try {
        std::vector<Lesson> all = lessons(flags_.task, recipe_);
        all.push_back(full_lesson(flags_.task, recipe_));
        fbt::check(standing_.lesson < all.size(), "{}: expected one of {} lessons, found the place {}", flags_.out,
                   all.size(), standing_.lesson);
        for (std::size_t i = standing_.lesson; i < all.size(); ++i) train(all, i);
        interrupted = !standing_.ended();
      } catch (const Interrupted&) {
        interrupted = true;
      }
      finish(interrupted);
      return interrupted ? interrupt_.exit_code() : 0;
    } catch (const std::exception& error) {
      if (!processes_.all_are_here()) throw;
      throw std::runtime_error(text_of(error) + rescue());
    }
  }

 private:
  using Trainer = fbt::Trainer<Model, fbt::CrossEntropy, Processes::Optimizer<Model>>;

  std::filesystem::path path(const char* name) const { return std::filesystem::path(flags_.out) / name; }

  /// Writes what was learned: by all updates, or until the user wanted to stop.
  void finish(bool interrupted) {
    nlohmann::ordered_json last{
        {"task", fbt::name_of(flags_.task)},           {"rule", fbt::name_of(flags_.rule)}, {"seed", flags_.seed},
        {"parameters", fbt::count_parameters(model_)}, {"updates", optimizer_.updates},     {"seconds", budget_.elapsed()}};
    if (!results_.is_null()) last.update(results_);
    if constexpr (requires { model_.core.aggregator.mix.mix_weights(); }) {
      if (flags_.rule == Rule::feedback) {
        const auto shares = model_.core.aggregator.mix.mix_weights();
        last["layer_weights"] = std::vector<float>(shares.begin(), shares.end());
      }
    }
    if (interrupted) last["interrupted"] = true;
    write(last);
    save();
    if (interrupted)
      fmt::print("interrupted at update {}{}\n", optimizer_.updates, flags_.out.empty() ? "" : "; go on with --resume");
    print_now("{} by {}: {}\n", fbt::name_of(flags_.task), fbt::name_of(flags_.rule),
              results_.is_null() ? "not tested" : percentages(results_));
  }

  void save() const {
    if (flags_.out.empty()) return;
    fbt::ensure(is_sound(model_, tests_.some_tokens()),
                "update {}: expected a model of finite numbers, found others; try a smaller --learning-rate or --clip",
                optimizer_.updates);
    processes_.first_does([&] {
      fbt::save_model(path("model.safetensors"), model_, {{"task", std::string(fbt::name_of(flags_.task))}},
                      fbt::Probe::store);
    });
  }

  /// After an error: saves what was reached in this run, unless it is harmed. Returns what to say of it.
  std::string rescue() const {
    if (flags_.out.empty() || optimizer_.updates == first_update_) return "";
    try {
      save();
      return fmt::format("; the model of update {} is in {}", optimizer_.updates, flags_.out);
    } catch (const std::exception&) {
      return "";
    }
  }

  /// Writes what --resume needs.
  void save_training(Trainer& trainer) {
    saved_at_ = standing_.elapsed = budget_.elapsed();
    if (flags_.out.empty()) return;
    nlohmann::ordered_json standing;
    visit_task_standing([&](const char* name, const auto& value) { standing[name] = value; }, standing_);
    TaskTrainFlags flags = flags_;
    flags.recipe = recipe_;
    processes_.save_training(path("training.safetensors"), trainer,
                             {{"flags", dump_flags(task_flags(flags))}, {"standing", standing.dump()}});
  }

  /// Goes on from the files in the folder. Throws when they do not fit, or the limit is reached already.
  void load_training(Trainer& trainer) {
    processes_.load_training(path("training.safetensors"), trainer);
    first_update_ = optimizer_.updates;
    const std::int64_t limit = standing_.limits.updates;
    fbt::check(limit == 0 || optimizer_.updates < limit || standing_.test_missing,
               "--updates: expected more than the {} that the training in {} has, found {}", optimizer_.updates, flags_.out,
               limit);
    standing_.progress = processes_.first_says(budget_.progress(optimizer_.updates));
    resuming_ = false;
    if (!std::filesystem::exists(path("metrics.jsonl"))) return;
    std::istringstream lines(read_text_file(path("metrics.jsonl")));
    for (std::string line; std::getline(lines, line);) {  // the reports up to now, without results
      const auto report = nlohmann::json::parse(line, nullptr, false);
      if (report.is_object() && report.contains("update") && report["update"].is_number() &&
          report["update"].get<double>() <= static_cast<double>(optimizer_.updates))
        metrics_ += line + '\n';
    }
  }

  /// Goes on with a lesson until its share of the training is done, or the loss is small enough, which in the last it never
  /// is.
  void train(const std::vector<Lesson>& all, std::size_t place) {
    const Lesson& lesson = all[place];
    if (!resuming_ && (standing_.progress >= lesson.until || stops_)) return;
    const double small_loss = place + 1 < all.size() ? recipe_.advance : -1;
    length_ = lesson.length;
    const fbt::Index count = recipe_.examples * recipe_.length / lesson.length;  // of shorter ones as many more
    const bool in_file = place + 1 == all.size() && !given_.empty();
    const TaskData data(flags_.task, recipe_, flags_.seed,
                        in_file ? given_ : draw_many(count, fbt::mix_seed(flags_.seed, 1), lesson.draw_one));
    Trainer trainer(model_, optimizer_, data.batches(),
                    {.shards = flags_.shards, .threads = flags_.threads, .fresh = recipe_.fresh, .clip = recipe_.clip}, {},
                    processes_.reduction(optimizer_));
    const auto tokens_per_update = static_cast<double>(recipe_.lanes * data.options.segment);
    budget_.expect_evaluation(tests_.tokens(), tokens_per_update);
    if (resuming_) {
      load_training(trainer);
    } else {
      standing_.lesson = place;
      standing_.lesson_updates = 0;
      standing_.recent_loss = 0;
    }
    double& recent = standing_.recent_loss;
    std::int64_t& n = standing_.lesson_updates;
    try {
      while (standing_.progress < lesson.until && (n < 100 || recent > small_loss) && !stops_) {
        const Stopwatch watch;
        const auto report = trainer.update(schedule_.rate(optimizer_.updates, standing_.progress), standing_.progress);
        budget_.spent_on_update(watch.seconds());
        recent += (report.loss - recent) / static_cast<double>(std::min<std::int64_t>(++n, 50));
        ++unreported_.updates;
        unreported_.loss += report.loss;
        unreported_.tokens += tokens_per_update;
        unreported_.seconds += watch.seconds();
        const Next next = decide();
        standing_.progress = next.progress;
        stops_ = next.stop;
        if (next.report) this->report(report, next.evaluate);
        if (next.save) save_training(trainer);
      }
      if (standing_.progress >= 1 && standing_.test_missing) test_now();
      if (stops_ || standing_.progress >= 1) save_training(trainer);
    } catch (const std::exception&) {  // or the user did not want to wait for a test
      if (processes_.all_are_here() && is_sound(model_, tests_.some_tokens())) save_training(trainer);
      throw;
    }
  }

  Next decide() const {
    Next next{std::max(standing_.progress, budget_.progress(optimizer_.updates)), interrupt_.requested()};
    const double now = budget_.elapsed();
    next.evaluate = budget_.evaluation_due(optimizer_.updates, next.progress);
    next.report = next.evaluate || now >= reported_at_ + std::clamp(now / 30, 1.5, 30.0);
    next.save = next.evaluate || now >= saved_at_ + 30;
    return processes_.first_decides(next);
  }

  void test_now() {
    standing_.test_missing = true;
    results_ = test(flags_.task, model_, tests_, flags_.threads, interrupt_, processes_);
    standing_.test_missing = false;
  }

  void report(const typename Trainer::Report& last, bool with_test) {
    const double loss = unreported_.loss / unreported_.updates, speed = unreported_.tokens / unreported_.seconds;
    nlohmann::ordered_json line{
        {"update", optimizer_.updates}, {"seconds", budget_.elapsed()},        {"loss", loss},
        {"tokens_per_second", speed},   {"learning_rate", last.learning_rate}, {"gradient_norm", last.gradient_norm}};
    if (with_test) {
      const Stopwatch watch;
      test_now();
      line.update(results_);
      save();
      budget_.spent_on_evaluation(watch.seconds());
    }
    write(line);
    unreported_ = {};
    reported_at_ = budget_.elapsed();
    print_now("update {:6}  length {:3}  loss {:.4f}  norm {:5.2f}  rate {:.2e}  {:6.0f} tokens/s  {:4.0f} s  {}\n",
              optimizer_.updates, length_, loss, last.gradient_norm, last.learning_rate, speed, budget_.elapsed(),
              with_test ? percentages(results_) : "");
  }

  void write(const nlohmann::ordered_json& line) {
    metrics_ += line.dump() + '\n';
    if (!flags_.out.empty()) processes_.first_does([&] { fbt::write_atomically(path("metrics.jsonl"), {metrics_}); });
  }

  /// Sums since the last report.
  struct Unreported {
    double updates = 0, loss = 0, tokens = 0, seconds = 0;
  };

  Processes& processes_;
  const TaskTrainFlags& flags_;
  const Recipe& recipe_;
  Model& model_;
  const std::vector<Example>& given_;
  const Tests& tests_;
  TaskStanding standing_;
  bool resuming_;  // until the files are read
  Budget budget_;
  Processes::Optimizer<Model> optimizer_;  // over all lessons
  fbt::Schedule schedule_;
  Interrupt interrupt_{processes_.is_first() ? "stopping after this update; what is learned is saved, if there is an --out\n"
                                             : nullptr};
  nlohmann::ordered_json results_;
  std::string metrics_;
  Unreported unreported_;
  bool stops_ = false;     // the user wants it
  fbt::Index length_ = 0;  // of the examples that are trained on
  double reported_at_ = 0, saved_at_ = 0;
  std::int64_t first_update_ = 0;  // that this run goes on from
};

namespace detail {

/// Where the training in the folder stands; its flags go to those that were not given. Throws when they do not fit.
inline TaskStanding read_standing(TaskTrainFlags& flags, const CLI::App& command) {
  const std::string file = (std::filesystem::path(flags.out) / "training.safetensors").string();
  const fbt::Metadata metadata = fbt::TensorFile::read(file).metadata();
  const auto stored_flags = metadata.find("flags"), stored_standing = metadata.find("standing");
  fbt::ensure(stored_flags != metadata.end() && stored_standing != metadata.end(),
              "{}: expected a training of this program, found another file", file);
  try {
    auto begun_with = nlohmann::ordered_json::parse(stored_flags->second);
    for (const char* const newer : {"data", "test-data"})
      if (!begun_with.contains(newer)) begun_with[newer] = "";
    if (!begun_with.contains("position")) begun_with["position"] = fbt::name_of(fbt::PositionTerm::relative_key);
    merge_flags(task_flags(flags), begun_with, command, file + " was begun with", "choose another --out folder");
    TaskStanding standing;
    const auto json = nlohmann::json::parse(stored_standing->second);
    fbt::ensure(json.contains("lesson"), "{}: expected a training of this program, found another file", file);
    visit_task_standing([&]<class T>(const char* name, T& value) { value = read_stored<T>(json, name, file); }, standing);
    return standing;
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(fmt::format("{}: expected a training of this program: {}", file, error.what()));
  }
}

}  // namespace detail

/// command: which flags were given. clock: since the program began. Returns the exit code of the program.
inline int train(TaskTrainFlags flags, const CLI::App& command, const Stopwatch& clock, Processes& processes) {
  fbt::check(flags.resume || command.count("--task") > 0, "--task is required");
  fbt::check(!flags.resume || !flags.out.empty(), "--resume: expected the folder of a training, too; give --out");
  std::optional<fbt::FolderLock> lock;
  if (!flags.out.empty()) processes.first_does([&] { lock.emplace(flags.out); });
  TaskStanding standing;
  Recipe r;
  if (flags.resume) {
    standing = detail::read_standing(flags, command);
    r = flags.recipe;
    check_recipe(flags.task, r);
    r.seconds = command.count("--seconds") > 0 ? r.seconds : 0;
    fbt::check(flags.updates > 0 || r.seconds > 0 || command.count("--seconds") == 0,
               "give a limit: --seconds or --updates above 0");
    standing.limits = go_on({flags.updates, r.seconds}, standing.limits, standing.elapsed, standing.ended(), flags.out);
  } else {
    r = choose_recipe(flags.task, flags.recipe, command);
    standing.limits = {flags.updates, r.seconds};
    fbt::check(flags.updates > 0 || r.seconds > 0, "give a limit: --seconds or --updates above 0");
    if (command.count("--shards") == 0) flags.shards = std::clamp<fbt::Index>(r.lanes, 1, flags.shards);
    for (const char* name : {"model.safetensors", "training.safetensors"})
      fbt::check(flags.out.empty() || !std::filesystem::exists(std::filesystem::path(flags.out) / name),
                 "{}: the folder already holds {}; add --resume to go on with it, or choose another --out folder", flags.out,
                 name);
  }
  refuse_vain_flags(flags, r, command);
  std::vector<Example> given;
  if (!flags.data.empty()) {
    given = read_examples(flags.data, words(flags.task));
    TaskData(flags.task, r, flags.seed, given).batches();  // too few are noticed now, not after the lessons
  }
  const Tests tests(flags.task, r, flags.seed, flags.test_data);
  std::string identity;
  for (const std::vector<Example>* const examples : {&std::as_const(given), &tests.kinds.front().examples}) {
    const Example all = join(*examples, 0);
    identity += fmt::format("{} with the labels {} ", fbt::fingerprint(fbt::Tokens(all.tokens)),
                            fbt::fingerprint(fbt::Tokens(all.labels)));
  }
  processes.meet(identity);
  int code = 0;
  with_new_model(flags.rule, r, static_cast<fbt::Index>(words(flags.task).size()), fbt::mix_seed(flags.seed, 0),
                 [&](auto& model) { code = TaskTraining(flags, r, standing, given, tests, model, clock, processes).run(); });
  return code;
}

}  // namespace example
