#include "support/plot.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace {

/// Whether a text is one XML element: tags nest, attributes are quoted, and no special character stands by itself.
bool well_formed(const std::string& xml) {
  std::vector<std::string> open;
  std::size_t roots = 0;
  for (std::size_t at = 0; at < xml.size();) {
    if (xml[at] == '&') {
      const std::size_t end = xml.find(';', at);
      if (end == std::string::npos || end - at > 6) return false;
      at = end + 1;
    } else if (xml[at] == '>') {
      return false;
    } else if (xml[at] != '<') {
      if (open.empty() && !std::isspace(static_cast<unsigned char>(xml[at]))) return false;
      ++at;
    } else {
      const std::size_t end = xml.find('>', at);
      if (end == std::string::npos) return false;
      std::string tag = xml.substr(at + 1, end - at - 1);
      at = end + 1;
      if (tag.starts_with('/')) {
        if (open.empty() || tag.substr(1) != open.back()) return false;
        open.pop_back();
        continue;
      }
      if (tag.find('<') != std::string::npos || std::count(tag.begin(), tag.end(), '"') % 2 != 0) return false;
      if (open.empty()) ++roots;
      if (!tag.ends_with('/')) open.push_back(tag.substr(0, tag.find_first_of(" \n")));
    }
  }
  return open.empty() && roots == 1;
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("a plot is a well-formed picture with title, labels, legend and a line for every series") {
  const example::Plot plot{
      "a < b & \"c\"", "updates", "nats", {{"training", {0, 1, 2}, {3, 2.5, 2}}, {"<validation>", {0, 2}, {3.5, 2.2}}}};
  const std::string svg = plot.svg();
  CHECK(well_formed(svg));
  for (const char* part : {"a &lt; b &amp; &quot;c&quot;", ">updates<", ">nats<", ">training<", "&lt;validation&gt;",
                           "fill=\"#ffffff\"", ">2.0<", ">3.5<"})
    CHECK_THAT(svg, ContainsSubstring(part));
  CHECK(occurrences(svg, "<polyline") == 2);
  CHECK(occurrences(svg, "<circle") == 5);
}

TEST_CASE("a plot's text holds nothing that XML forbids") {
  const std::string bad("\x01\x1f\0\ufffe\uffff\xff\xc3", 11), good = "\t\n\ufffd\u65e5\U0001f600";
  const std::string svg = example::Plot{"<" + bad + ">" + good, "x", "y", {}}.svg();
  std::string replaced;
  for (int i = 0; i < 7; ++i) replaced += "\ufffd";
  CHECK_THAT(svg, ContainsSubstring(">&lt;" + replaced + "&gt;" + good + "<"));
}

TEST_CASE("a plot takes anything") {
  CHECK_FALSE(well_formed("<a><b></a></b>"));
  CHECK_FALSE(well_formed("<a>1 & 2</a>"));
  using Series = std::vector<example::Series>;
  const auto series =
      GENERATE(values<Series>({{},
                               {{"no points", {}, {}}},
                               {{"one", {5}, {2}}},
                               {{"flat", {1, 2}, {1e9, 1e9}}},
                               {{"holes", {1, 2, 3}, {std::nan(""), 1, std::numeric_limits<double>::infinity()}}},
                               {{"uneven", {1, 2, 3}, {1}}},
                               {{"small", {0, 1e-9}, {-1e-12, 1e-12}}},
                               {{"large", {0, 1e300}, {-1e300, 1e300}}},
                               Series(40, {"many", {0, 1}, {0, 1}})}));
  const std::string svg = example::Plot{"title", "x", "y", series}.svg();
  CHECK(well_formed(svg));
  CHECK(occurrences(svg, "nan") + occurrences(svg, "inf") == 0);
  CHECK(svg.size() < 40000);
}
