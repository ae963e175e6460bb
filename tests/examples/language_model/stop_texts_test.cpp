#include "language_model/stop_texts.hpp"

#include "support/catch.hpp"

#include <string>
#include <vector>

using example::StopTexts;

TEST_CASE("a text ends before the first of the texts that end it, however it is cut into pieces") {
  const std::string text = "one two\n\nthree END\n";
  const auto let_through = [&](const std::vector<std::string>& stops, std::size_t size) {
    StopTexts filter(stops);
    std::string out;
    for (std::size_t at = 0; at < text.size() && !filter.ended(); at += size) out += filter.add(text.substr(at, size));
    return out + filter.finish();
  };
  for (std::size_t size = 1; size <= text.size(); ++size) {
    CAPTURE(size);
    CHECK(let_through({}, size) == text);
    CHECK(let_through({"\n\n"}, size) == "one two");
    CHECK(let_through({"END", "\n\nt"}, size) == "one two");
    CHECK(let_through({"END"}, size) == "one two\n\nthree ");
    CHECK(let_through({"END\n\n", "four"}, size) == text);
    CHECK(let_through({"one"}, size).empty());
  }
}

TEST_CASE("only what may begin a text that ends is held back") {
  StopTexts filter({"aab"});
  CHECK(filter.add("xa") == "x");
  CHECK(filter.add("a") == "");
  CHECK(filter.add("a") == "a");
  CHECK(filter.add("c") == "aac");
  CHECK(filter.add("aa") == "");
  CHECK(!filter.ended());
  CHECK(filter.add("by") == "");
  CHECK(filter.ended());
  CHECK(filter.add("more") == "");
  CHECK(filter.finish() == "");
  CHECK_THROWS_WITH(StopTexts({"a", ""}), ContainsSubstring("--stop: expected a text, found none"));
}
