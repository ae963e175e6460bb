// What the fuzzing harnesses share: what a reader may do with a file that is not as it should be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <typeinfo>

#if defined(__SANITIZE_ADDRESS__)
#define FBT_FUZZ_COUNTS_MEMORY
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FBT_FUZZ_COUNTS_MEMORY
#endif
#endif
#if defined(FBT_FUZZ_COUNTS_MEMORY) && __has_include(<sanitizer/allocator_interface.h>)
#include <sanitizer/allocator_interface.h>
#else  // that of g++ may come without
#undef FBT_FUZZ_COUNTS_MEMORY
#endif

/// Reads one input. libFuzzer calls it, and so does replay.cpp. Whatever is wrong ends the program.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace fuzz {

/// Ends the program unless the condition holds.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

/// Calls f, which may refuse its input with std::invalid_argument or std::runtime_error, and with nothing derived from them.
/// Returns whether it did not.
template <class F>
bool accepted(F&& f) {
  try {
    f();
    return true;
  } catch (const std::invalid_argument& error) {
    require(typeid(error) == typeid(std::invalid_argument), "refused with std::invalid_argument itself");
  } catch (const std::runtime_error& error) {
    require(typeid(error) == typeid(std::runtime_error), "refused with std::runtime_error itself");
  }
  return false;
}

/// As long as one lives, the memory in use may grow by no more than a small multiple of the input. Told by the address
/// sanitizer; without it nothing is checked.
class MemoryLimit {
 public:
  explicit MemoryLimit(std::size_t input) {
#ifdef FBT_FUZZ_COUNTS_MEMORY
    static const int installed = __sanitizer_install_malloc_and_free_hooks(
        [](const volatile void*, std::size_t bytes) {
          used += static_cast<std::ptrdiff_t>(bytes);
          if (limit > 0 && used > limit) {
            const auto most = limit;
            limit = 0;  // what follows allocates, too
            std::fprintf(stderr, "expected at most %td bytes of memory\n", most);
            std::abort();
          }
        },
        [](const volatile void* p) { used -= static_cast<std::ptrdiff_t>(__sanitizer_get_allocated_size(p)); });
    require(installed > 0, "the sanitizer takes hooks");
#endif
    used = 0;
    limit = static_cast<std::ptrdiff_t>(constant + factor * input);
  }
  ~MemoryLimit() { limit = 0; }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  static constexpr std::size_t constant = 1 << 20, factor = 100;
  static inline std::ptrdiff_t used = 0, limit = 0;
};

inline std::string text(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const char*>(data), size}; }

}  // namespace fuzz
