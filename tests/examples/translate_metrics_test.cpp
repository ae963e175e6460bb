#include "translate/metrics.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"

#include <cmath>

using namespace example;

namespace {

double bleu_of(std::vector<std::string> texts, std::vector<std::string> references) { return bleu(texts, references); }
double chrf_of(std::vector<std::string> texts, std::vector<std::string> references) { return chrf(texts, references); }
Rouge rouge_of(std::vector<std::string> texts, std::vector<std::string> references) { return rouge(texts, references); }

}  // namespace

TEST_CASE("BLEU: words as mteval-v13a makes them") {
  const auto words = [](const std::string& text) { return detail::words_13a(text); };
  CHECK(words("Hello, world!") == Words{"Hello", ",", "world", "!"});
  CHECK(words("It costs 3,000.50 (about).") == Words{"It", "costs", "3,000.50", "(", "about", ")", "."});
  CHECK(words("a well-known 3-day don't") == Words{"a", "well-known", "3", "-", "day", "don't"});
  CHECK(words("x &amp; y &lt;z&gt; &quot;q&quot;") == Words{"x", "&", "y", "<", "z", ">", "\"", "q", "\""});
  CHECK(words("Gr\u00fc\u00dfe\u00a0an 5,alle") == Words{"Gr\u00fc\u00dfe", "an", "5", ",", "alle"});
  CHECK(words("end...") == Words{"end", ".", ".", "."});
  CHECK(words("1. two") == Words{"1", ".", "two"});
  CHECK(words("").empty());
}

TEST_CASE("BLEU: worked examples") {
  CHECK(bleu_of({"the cat sat on the mat"}, {"the cat sat on the mat"}) == Approx(100));
  CHECK(bleu_of({"dogs bark"}, {"the cat sat on the mat"}) == 0);
  CHECK(bleu_of({}, {}) == 0);
  // 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples; equal lengths
  CHECK(bleu_of({"the cat sat on a mat"}, {"the cat sat on the mat"}) ==
        Approx(100 * std::pow(5.0 / 6 * 3 / 5 * 2 / 4 * 1 / 3, 0.25)));
  // "the" counts no more often than in the reference: 2 of 7; no pair is right, so that the orders above count a half, a
  // quarter and an eighth of one
  CHECK(bleu_of({"the the the the the the the"}, {"the cat is on the mat ."}) ==
        Approx(100 * std::pow(2.0 / 7 * 1 / (2 * 6.0) * 1 / (4 * 5.0) * 1 / (8 * 4.0), 0.25)));
  // too short: e^(1 - 6/4)
  CHECK(bleu_of({"the cat sat on"}, {"the cat sat on the mat"}) == Approx(100 * std::exp(-0.5)));
  // of a corpus the counts are added first: 4 + 4 words of 8, 3 + 2 pairs of 6, 2 + 1 triples of 4, 1 + 0 quadruples of 2
  CHECK(bleu_of({"a b c d", "e f g x"}, {"a b c d", "e f g h"}) ==
        Approx(100 * std::pow(7.0 / 8 * 5 / 6 * 3 / 4 * 1 / 2, 0.25)));
  // fewer than four words in all: there is no quadruple
  CHECK(bleu_of({"a b c"}, {"a b c"}) == 0);
}

TEST_CASE("chrF: worked examples") {
  CHECK(chrf_of({"the cat"}, {"the cat"}) == Approx(100));
  CHECK(chrf_of({"abc"}, {"xyz"}) == 0);
  CHECK(chrf_of({""}, {"xyz"}) == 0);
  // "abcd" and "abce": 3 of 4 characters, 2 of 3 pairs, 1 of 2 triples, 0 of 1; longer runs are in neither
  const double share = (3.0 / 4 + 2.0 / 3 + 1.0 / 2 + 0) / 4;
  CHECK(chrf_of({"ab cd"}, {"a bce"}) == Approx(100 * share));
  // "ab" of "abcd": precision 1 in the orders 1 and 2; recall 2/4 and 1/3
  const double recall = (2.0 / 4 + 1.0 / 3) / 2;
  CHECK(chrf_of({"ab"}, {"abcd"}) == Approx(100 * 5 * recall / (4 + recall)));
  // of "abc" there are no runs of four and more characters, so that those of its text do not count, either
  const double precision = (8.0 / 22 + 5.0 / 20 + 4.0 / 18 + 3) / 6, found = (8.0 / 9 + 5.0 / 7 + 4.0 / 5 + 3) / 6;
  CHECK(chrf_of({"a long description", "the cat"}, {"abc", "the cat"}) ==
        Approx(100 * 5 * precision * found / (4 * precision + found)));
  // characters, not bytes
  CHECK(chrf_of({"\u00fc"}, {"\u00f6"}) == 0);
  CHECK(chrf_of({"\u00fc\u00e4"}, {"\u00fc\u00f6"}) == Approx(100 * 0.25));
}

TEST_CASE("ROUGE: worked examples") {
  const Rouge same = rouge_of({"A tool, for 3D."}, {"a tool for 3d"});
  CHECK(same.one == Approx(100));
  CHECK(same.two == Approx(100));
  CHECK(same.longest == Approx(100));
  // Lin (2004): police killed the gunman / police kill the gunman and the gunman kill police, without stemming
  CHECK(rouge_of({"police kill the gunman"}, {"police killed the gunman"}).longest == Approx(75));
  CHECK(rouge_of({"the gunman kill police"}, {"police killed the gunman"}).longest == Approx(50));
  CHECK(rouge_of({"the gunman kill police"}, {"police killed the gunman"}).one == Approx(75));
  CHECK(rouge_of({"the gunman kill police"}, {"police killed the gunman"}).two == Approx(100.0 / 3));
  CHECK(rouge_of({"a b", ""}, {"a b", "c"}).one == Approx(50));
}

TEST_CASE("measures: a reference for every text") {
  const auto message = [](auto&& f) { return fbt::message_of<std::invalid_argument>(f); };
  CHECK(message([] { bleu_of({"a"}, {}); }) == "BLEU: expected as many references as texts, found 0 for 1");
  CHECK(message([] { chrf_of({"a"}, {}); }) == "chrF: expected as many references as texts, found 0 for 1");
  CHECK(message([] { rouge_of({"a"}, {}); }) == "ROUGE: expected as many references as texts, found 0 for 1");
}
