// Storage for what is too large for the caches and read again and again.
#pragma once

#include "fbt/core/types.hpp"

#include <cstddef>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fbt::detail {

/// An allocator of entries that are not initialised, from the beginning of a line of the cache on. What has 2 MiB or more
/// begins with a page of that size and is on such pages, as far as it fills them, where the system gives them.
template <class Scalar>
struct PageAllocator {
  using value_type = Scalar;

  PageAllocator() = default;
  template <class Other>
  PageAllocator(const PageAllocator<Other>&) {}

  static constexpr std::size_t line = 64, page = std::size_t{2} << 20;
  static constexpr std::align_val_t alignment(std::size_t bytes) { return std::align_val_t{bytes < page ? line : page}; }

  Scalar* allocate(std::size_t count) {
    const std::size_t bytes = count * sizeof(Scalar);
    void* const place = ::operator new(bytes, alignment(bytes));
#if defined(__linux__)
    if (bytes >= page) ::madvise(place, bytes / page * page, MADV_HUGEPAGE);
#endif
    return static_cast<Scalar*>(place);
  }
  void deallocate(Scalar* place, std::size_t count) { ::operator delete(place, alignment(count * sizeof(Scalar))); }
  template <class Other>
  void construct(Other* place) {
    ::new (static_cast<void*>(place)) Other;
  }

  friend bool operator==(PageAllocator, PageAllocator) { return true; }
};

template <class Scalar>
using PageVector = std::vector<Scalar, PageAllocator<Scalar>>;

/// What it holds is lost. Its room is kept where that is enough, and at most twice as much; else it is exactly so large.
template <class Scalar>
void resize_exactly(PageVector<Scalar>& vector, Index size) {
  const auto count = static_cast<std::size_t>(size);
  vector.clear();
  if (count > vector.capacity() || count < vector.capacity() / 2) vector = PageVector<Scalar>();  // first, to have room
  if (vector.capacity() == 0) vector.reserve(count);
  vector.resize(count);
}

}  // namespace fbt::detail
