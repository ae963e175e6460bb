#include "tasks/recall.hpp"

#include "support/catch.hpp"

#include <map>
#include <set>
#include <string>

using namespace example;

TEST_CASE("recall: every key that was given is answered with its value") {
  const Words words = recall::words();
  REQUIRE(words.size() == 64);
  fbt::Random random(1);
  std::set<std::string> keys, values;
  for (const std::size_t pairs : {1u, 2u, 8u, 32u}) {
    std::map<std::string, int> asked;
    for (int n = 0; n < 100; ++n) {
      const Example example = recall::draw(static_cast<fbt::Index>(pairs), random);
      REQUIRE(example.tokens.size() == 8 * pairs);
      REQUIRE(example.labels.size() == 8 * pairs);
      std::map<std::string, std::string> value_of;
      for (std::size_t i = 0; i < pairs; ++i) {
        const std::string& key = words.at(static_cast<std::size_t>(example.tokens[2 * i]));
        const std::string& value = words.at(static_cast<std::size_t>(example.tokens[2 * i + 1]));
        REQUIRE(key[0] == 'k');
        REQUIRE(value[0] == 'v');
        REQUIRE(value_of.emplace(key, value).second);
        REQUIRE(example.labels[2 * i] == unscored);
        REQUIRE(example.labels[2 * i + 1] == unscored);
        keys.insert(key);
        values.insert(value);
      }
      for (std::size_t t = 2 * pairs; t < example.tokens.size(); ++t) {
        const std::string& key = words.at(static_cast<std::size_t>(example.tokens[t]));
        REQUIRE(value_of.contains(key));
        REQUIRE(words.at(static_cast<std::size_t>(example.labels[t])) == value_of[key]);
        ++asked[key == words.at(static_cast<std::size_t>(example.tokens[0])) ? "first" : "other"];
      }
    }
    // as often for the first key as for any other
    CHECK(std::abs(asked["first"] - 600) < 120);
  }
  CHECK(keys.size() == 32);
  CHECK(values.size() == 32);
}
