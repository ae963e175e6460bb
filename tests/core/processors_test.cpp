#include "fbt/core/processors.hpp"

#include "support/catch.hpp"
#include "support/expect.hpp"
#include "support/scratch.hpp"

using namespace fbt;

namespace {

/// A control group file and the limits of its groups, as Linux shows them.
struct Groups {
  ScratchFolder folder;

  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = folder / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  double granted() const { return detail::granted_processors(folder / "cgroup", folder / "mounts", 64); }
};

}  // namespace

TEST_CASE("processors: what control groups grant, version 2") {
  const Groups groups;
  CHECK(groups.granted() == 64);  // no such file
  groups.write("cgroup", "0::/outer/inner\n");
  CHECK(groups.granted() == 64);
  groups.write("mounts/outer/inner/cpu.max", "max 100000\n");
  CHECK(groups.granted() == 64);
  groups.write("mounts/outer/inner/cpu.max", "250000 100000\n");
  CHECK(groups.granted() == 2.5);
  groups.write("mounts/outer/cpu.max", "150000 100000\n");  // holds for the groups in it
  CHECK(groups.granted() == 1.5);
  groups.write("mounts/outer/cpu.max", "900000 100000\n");
  CHECK(groups.granted() == 2.5);
}

TEST_CASE("processors: what control groups grant to a container that sees its own as the root") {
  const Groups groups;
  groups.write("cgroup", "0::/\n");
  groups.write("mounts/cpu.max", "300000 100000\n");
  CHECK(groups.granted() == 3);
}

TEST_CASE("processors: what control groups grant, version 1") {
  const Groups groups;
  groups.write("cgroup", "9:memory:/m\n4:cpu,cpuacct:/box\n1:name=systemd:/box\n0::/\nnonsense\n");
  groups.write("mounts/memory/m/cpu.cfs_quota_us", "100000\n");
  groups.write("mounts/cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n");
  groups.write("mounts/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  CHECK(groups.granted() == 64);
  groups.write("mounts/cpu,cpuacct/box/cpu.cfs_quota_us", "400000\n");
  CHECK(groups.granted() == 4);
  groups.write("mounts/cpu/cpu.cfs_quota_us", "50000\n");
  groups.write("mounts/cpu/cpu.cfs_period_us", "100000\n");
  CHECK(groups.granted() == 0.5);
}

#if defined(__linux__)
TEST_CASE("processors: affinity") {
  cpu_set_t before, one;
  REQUIRE(sched_getaffinity(0, sizeof(before), &before) == 0);
  CHECK(detail::affine_processors() == CPU_COUNT(&before));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  REQUIRE(sched_setaffinity(0, sizeof(one), &one) == 0);
  const Index found = detail::affine_processors();
  REQUIRE(sched_setaffinity(0, sizeof(before), &before) == 0);
  CHECK(found == 1);
}

TEST_CASE("processors: FBT_PROCESSORS says it instead, and threads beyond them are not useful") {
  const char* const given = std::getenv("FBT_PROCESSORS");
  const std::string before = given ? given : "";
  unsetenv("FBT_PROCESSORS");
  const Index found = available_processors();
  CHECK(found >= 1);
  CHECK(found <= detail::affine_processors());
  for (const char* nonsense : {"", "0", "-1", "1025", "3x", " 3", "three"}) {
    CAPTURE(nonsense);
    setenv("FBT_PROCESSORS", nonsense, 1);
    CHECK(available_processors() == found);
  }
  setenv("FBT_PROCESSORS", "3", 1);
  CHECK(available_processors() == 3);
  CHECK(useful_threads(1) == 1);
  CHECK(useful_threads(2) == 2);
  CHECK(useful_threads(1000) == 3);
  CHECK(message_of<std::invalid_argument>([] { useful_threads(0); }) == "threads must be between 1 and 1024, found 0");
  CHECK(message_of<std::invalid_argument>([] { useful_threads(1025); }) == "threads must be between 1 and 1024, found 1025");
  given ? setenv("FBT_PROCESSORS", before.c_str(), 1) : unsetenv("FBT_PROCESSORS");
}
#endif
