// `prepare`: makes a corpus of the descriptions of Debian's packages, and writes it to a folder
//   train.tsv, validation.tsv, test.tsv   the pairs: source, a tab, target
//   corpus.json                           the task, and the vocabulary of sources and targets
//   apt/                                  what apt has loaded, without --from
#pragma once

#include "support/path_flag.hpp"
#include "support/run.hpp"
#include "support/vocabulary_choice.hpp"
#include "translate/apt.hpp"
#include "translate/corpus.hpp"
#include "translate/descriptions.hpp"

#include "fbt/io/atomic_file.hpp"
#include "fbt/io/folder_lock.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace example {

struct PrepareFlags {
  PairTask task = PairTask::en_de;
  std::string out, from;
  VocabularyChoice vocabulary{fbt::TokenKind::subword, 4000};
};

inline void add_prepare_flags(CLI::App& command, PrepareFlags& flags) {
  add_flag(command, "task", flags.task,
           "en_de: English synopses and paragraphs and their German translations; synopsis: English descriptions and their "
           "synopses");
  add_path_flag(command, "out", flags.out, "folder to write to")->required();
  add_path_flag(
      command, "from", flags.from,
      "folder with apt's lists, with Translation-en in their names, Translation-de "
      "and Packages; without it apt loads them, about 20 MB, to the folder apt within --out, and changes nothing else");
  add_flag(command, "vocabulary", flags.vocabulary,
           "what a token is, for sources and targets alike; sentencepiece: N subwords, learned from both");
}

inline void prepare(const PrepareFlags& flags) {
  const std::filesystem::path folder = flags.out;
  const fbt::FolderLock lock(folder);
  std::filesystem::path lists = flags.from;
  if (flags.from.empty()) {
    print_now("apt loads the descriptions, about 20 MB, to {}\n", (folder / "apt").string());
    lists = load_lists(folder / "apt");
  }
  const auto read = [&](const char* language) {
    std::vector<Description> all;
    for (const auto& file : find_lists(lists, fmt::format("Translation-{}", language))) {
      const std::string list = read_list(file);
      auto more = read_descriptions(list);
      fbt::ensure(list.empty() || !more.empty(), "{}: expected descriptions of packages, found none", file.string());
      all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
    fbt::ensure(!all.empty(), "{}: expected descriptions in files with Translation-{} in their names, found none",
                lists.string(), language);
    return all;
  };
  const std::vector<Description> english = read("en");
  const std::vector<Description> german = flags.task == PairTask::en_de ? read("de") : std::vector<Description>{};
  SourcePackages sources;
  for (const auto& file : find_lists(lists, "Packages")) read_source_packages(read_list(file), sources);

  const Corpus corpus = make_corpus(flags.task, english, german, sources);
  for (std::size_t i = 0; i < corpus_parts.size(); ++i)
    fbt::ensure(!corpus.parts[i].empty(), "{}: expected descriptions of more packages: none of them make a pair of {}.tsv",
                lists.string(), corpus_parts[i]);
  std::string text;
  for (const TextPair& pair : corpus.parts[0]) text += pair.source + '\n' + pair.target + '\n';
  const CorpusInfo info{flags.task, learn_vocabulary(flags.vocabulary, {{lists.string(), std::move(text)}})};
  for (std::size_t i = 0; i < corpus_parts.size(); ++i)
    fbt::write_atomically(folder / fmt::format("{}.tsv", corpus_parts[i]), {write_pairs(corpus.parts[i])});
  fbt::write_atomically(folder / "corpus.json", {write_corpus_info(info)});
  fmt::print("{} English descriptions", corpus.descriptions);
  if (flags.task == PairTask::en_de)
    fmt::print(", {} translated, {} of them paragraph by paragraph", corpus.translated, corpus.aligned);
  fmt::print(
      "; {} repeated sources left out\n{} pairs to learn from, {} for validation, {} to test; a vocabulary of {} in {}\n",
      corpus.repeated, corpus.parts[0].size(), corpus.parts[1].size(), corpus.parts[2].size(), info.vocabulary.size(),
      flags.out);
}

}  // namespace example
