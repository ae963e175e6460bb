#include "support/config_file.hpp"

#include "support/catch.hpp"

#include <string>
#include <vector>

using example::read_config_lines;

TEST_CASE("flags in a file") {
  using List = std::vector<std::string>;
  const auto lines = read_config_lines(
      "# a comment\n"
      "\n"
      "width = 12\r\n"
      "  memory-rule=feedback   # as a word\n"
      "rate = -1.5e-3\n"
      "data = [\"a #1.txt\", 'b, \"2\".txt', c]\n"
      "one = [\"x\",]\n"
      "text = \"tab\\t\\\"quoted\\\" \\u20ac \\\\\"  # end\n"
      "path = 'C:\\new'\n"
      "empty = \"\"",
      "F");
  REQUIRE(lines.size() == 8);
  CHECK(lines[0].place == "F:3");
  CHECK(lines[0].name == "width");
  CHECK(lines[0].values == List{"12"});
  CHECK(lines[1].name == "memory-rule");
  CHECK(lines[1].values == List{"feedback"});
  CHECK(lines[2].values == List{"-1.5e-3"});
  CHECK(lines[3].values == List{"a #1.txt", "b, \"2\".txt", "c"});
  CHECK(lines[4].values == List{"x"});
  CHECK(lines[5].values == List{"tab\t\"quoted\" \u20ac \\"});
  CHECK(lines[6].values == List{"C:\\new"});
  CHECK(lines[7].place == "F:10");
  CHECK(lines[7].values == List{""});
  CHECK(read_config_lines("", "F").empty());
}

TEST_CASE("what is no flag is refused with its line") {
  for (const std::string bad :
       {"width", "width 12", "= 12", "width =", "width = \"12", "width = '12", "width = [1", "width = [1 2]", "width = 1 2",
        "[section]", "width = [1] 2", "width = \"\\q\"", "width = [,]", "width = []", "\"w\" = 1"}) {
    CAPTURE(bad);
    CHECK_THROWS_WITH(read_config_lines("layers = 2\n" + bad, "F"),
                      ContainsSubstring("F:2: expected a flag as in: name = 12") && ContainsSubstring(", found "));
  }
  CHECK_THROWS_WITH(read_config_lines("a = 1\nb = 2\na = 1", "F"),
                    ContainsSubstring("F:3: expected every flag once, found a again"));
}

TEST_CASE("flags are read as they were written") {
  const std::vector<std::string> paths{"a b.txt", "\"q\" '#'.txt", "\u00e9\\n\n"};
  const nlohmann::ordered_json flags{{"width", 12},   {"rate", 0.1},        {"least", 1e-300},
                                     {"data", paths}, {"rule", "feedback"}, {"bad", nullptr}};
  const auto lines = read_config_lines(example::write_config_lines(flags), "F");
  REQUIRE(lines.size() == 5);
  CHECK(lines[0].values[0] == "12");
  CHECK(std::stod(lines[1].values[0]) == 0.1);
  CHECK(std::stod(lines[2].values[0]) == 1e-300);
  CHECK(lines[3].values == paths);
  CHECK(lines[4].values[0] == "feedback");
}
