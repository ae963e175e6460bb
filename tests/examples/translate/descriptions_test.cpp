#include "translate/descriptions.hpp"

#include "support/catch.hpp"

#include <string>

using namespace example;

namespace {

/// A description of a package in both languages, whose md5 is its name.
std::vector<Description> describe(const std::string& package, const std::string& synopsis,
                                  const std::vector<std::string>& paragraphs) {
  return {{package, package, synopsis, paragraphs}};
}

std::size_t pairs_of(const Corpus& corpus) {
  std::size_t count = 0;
  for (const auto& part : corpus.parts) count += part.size();
  return count;
}

}  // namespace

TEST_CASE("descriptions: synopsis and paragraphs, each in one line") {
  const auto all = read_descriptions(
      "Package: one\nDescription-md5: 11\nDescription-en: a  thing\n First line,\n   indented\tmore.\n .\n .\n * "
      "second\r\n\n\n"
      "Package: none\nDescription-md5: 12\n\n"
      "Package: two\nDescription-md5: 13\nDescription-de: ein Ding");
  REQUIRE(all.size() == 2);
  CHECK(all[0].package == "one");
  CHECK(all[0].md5 == "11");
  CHECK(all[0].synopsis == "a thing");
  CHECK(all[0].paragraphs == std::vector<std::string>{"First line, indented more.", "* second"});
  CHECK(all[1].synopsis == "ein Ding");
  CHECK(all[1].paragraphs.empty());
  CHECK(read_descriptions("").empty());
}

TEST_CASE("descriptions: a package has its source package, if that has another name") {
  SourcePackages sources;
  read_source_packages("Package: a\nVersion: 1\n\nPackage: b\nSource: a (1.2)\n\nSource: c\nPackage: d\n", sources);
  CHECK(sources == SourcePackages{{"b", "a"}, {"d", "c"}});
}

TEST_CASE("a corpus: paragraphs pair up one to one, a source comes once") {
  std::vector<Description> english, german;
  const auto add = [](std::vector<Description>& to, const std::vector<Description>& more) {
    to.insert(to.end(), more.begin(), more.end());
  };
  add(english, describe("one", "a thing", {"First.", "Second."}));
  add(german, describe("one", "ein Ding", {"Erstens.", "Zweitens."}));
  add(english, describe("two", "another thing", {"First.", "Third."}));  // of one paragraph less in German
  add(german, describe("two", "noch ein Ding", {"Erstens."}));
  add(english, describe("three", "a thing", {"First.", "Fourth."}));
  add(german, describe("three", "eine Sache", {"Zuerst.", "Viertens."}));
  add(english, describe("four", "without a translation", {"Fifth."}));
  add(english, describe("one", "a thing", {"First.", "Second."}));  // in another file, too
  const Corpus corpus = make_corpus(PairTask::en_de, english, german, {});
  CHECK(corpus.descriptions == 4);
  CHECK(corpus.translated == 3);
  CHECK(corpus.aligned == 2);
  CHECK(corpus.repeated == 2);
  std::vector<TextPair> pairs;
  for (const auto& part : corpus.parts) pairs.insert(pairs.end(), part.begin(), part.end());
  for (const TextPair& pair : std::vector<TextPair>{{"a thing", "ein Ding"},
                                                    {"First.", "Erstens."},
                                                    {"Second.", "Zweitens."},
                                                    {"another thing", "noch ein Ding"},
                                                    {"Fourth.", "Viertens."}})
    CHECK(std::count(pairs.begin(), pairs.end(), pair) == 1);
  CHECK(pairs.size() == 5);

  const Corpus synopses = make_corpus(PairTask::synopsis, english, {}, {});
  CHECK(pairs_of(synopses) == 4);
  CHECK(synopses.repeated == 0);
}

TEST_CASE("a corpus: what is of one source package, or of versions of it, is in one part") {
  CHECK(part_of("gcc-11") == part_of("gcc-12"));
  CHECK(part_of("php8.1-common") == part_of("php7.4-common"));
  std::array<int, 3> counts{};
  for (char a = 'a'; a <= 'z'; ++a)
    for (char b = 'a'; b <= 'z'; ++b) ++counts[part_of(std::string{a, b})];
  CHECK(counts[0] > 560);  // of 676, 18 in 20
  CHECK(counts[1] > 15);
  CHECK(counts[2] > 15);

  std::vector<Description> english;
  for (int n = 0; n < 40; ++n) {
    const std::string name(1, static_cast<char>('a' + n % 26));
    english.push_back({name + std::to_string(n), std::to_string(n), "synopsis", {name + " " + std::to_string(n)}});
  }
  SourcePackages sources;
  for (const Description& description : english) sources[description.package] = "the same";
  const Corpus corpus = make_corpus(PairTask::synopsis, english, {}, sources);
  CHECK(corpus.parts[part_of("the same")].size() == 40);
  CHECK(pairs_of(make_corpus(PairTask::synopsis, english, {}, {})) == 40);
}
