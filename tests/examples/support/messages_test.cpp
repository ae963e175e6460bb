#include "support/messages.hpp"

#include "support/catch.hpp"

#include <string>

using example::edit_distance;
using example::nearest;
using example::with_flags;

TEST_CASE("a word is near to those that one mistake makes of it") {
  CHECK(edit_distance("width", "width") == 0);
  CHECK(edit_distance("widht", "width") == 1);  // two letters swapped
  CHECK(edit_distance("with", "width") == 1);
  CHECK(edit_distance("", "width") == 5);
  CHECK(nearest("--widht", {"--layers", "--width"}) == "--width");
  CHECK(nearest("--lay", {"--layers", "--width"}) == "--layers");
  CHECK(nearest("--colour", {"--layers", "--width"}).empty());
}

TEST_CASE("a message has flags where it has the names of options as words") {
  CLI::App app;
  CLI::App* const train = app.add_subcommand("train");
  std::string size;
  train->add_option("--head-size", size);
  app.parse("train");
  CHECK(with_flags(app, "head_size must be at least 1, heads * head_size, or head_size.") ==
        "--head-size must be at least 1, heads * --head-size, or --head-size.");
  for (const std::string path : {"runs/head_size.txt: cannot open", "head_size.txt: cannot open", "my_head_size",
                                 "head_size_2", "the.head_size/x", "head_size/x"})
    CHECK(with_flags(app, path) == path);
}
