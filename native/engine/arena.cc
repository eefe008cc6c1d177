#include "engine/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "engine/limits.h"
#include "engine/process.h"

namespace sealdisk {

namespace {

constexpr size_t pagesOf(size_t bytes) noexcept { return (bytes + kPageBytes - 1) / kPageBytes; }

}  // namespace

// A page that nobody may touch follows: who runs over the end of a payload is stopped there.
Arena::Arena(size_t bytes, size_t hotBytes) : pages_(pagesOf(bytes)), hotBytes_(hotBytes), used_((pages_ + 63) / 64) {
  const size_t mapped = (pages_ + 1) * kPageBytes;
  void* mapping = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap of the payload arena");
  base_ = static_cast<uint8_t*>(mapping);
  if (mprotect(base_, pages_ * kPageBytes, PROT_READ | PROT_WRITE) != 0) {
    munmap(base_, mapped);
    throw std::system_error(errno, std::generic_category(), "mprotect of the payload arena");
  }
  madvise(base_, pages_ * kPageBytes, MADV_DONTDUMP);
  lockPages(base_, pages_ * kPageBytes);  // where the limit forbids it the server works all the same
  madvise(base_, hotBytes, MADV_POPULATE_WRITE);
}

Arena::~Arena() { munmap(base_, (pages_ + 1) * kPageBytes); }

void Arena::mark(size_t first, size_t count, bool used) noexcept {
  for (size_t page = first; page < first + count;) {
    const size_t bit = page % 64, run = std::min(64 - bit, first + count - page);
    const uint64_t mask = (run == 64 ? ~uint64_t{0} : (uint64_t{1} << run) - 1) << bit;
    if (used) {
      used_[page / 64] |= mask;
    } else {
      used_[page / 64] &= ~mask;
    }
    page += run;
  }
}

uint8_t* Arena::take(size_t bytes) noexcept {
  const size_t wanted = pagesOf(bytes);
  size_t run = 0;
  for (size_t page = lowest_; page < pages_;) {
    const uint64_t rest = used_[page / 64] >> (page % 64);
    const size_t left = std::min(64 - page % 64, pages_ - page);
    if (rest & 1) {
      if (page == lowest_) lowest_ = page + std::min<size_t>(std::countr_one(rest), left);
      run = 0;
      page += std::min<size_t>(std::countr_one(rest), left);
      continue;
    }
    const size_t free = std::min<size_t>(std::countr_zero(rest), left);
    page += free;
    run += free;
    if (run < wanted) continue;
    const size_t first = page - run;
    mark(first, wanted, true);
    if (first == lowest_) lowest_ = first + wanted;
    return base_ + first * kPageBytes;
  }
  return nullptr;
}

void Arena::give(uint8_t* run, size_t bytes) noexcept {
  const size_t first = static_cast<size_t>(run - base_) / kPageBytes;
  if (!used(first)) std::abort();  // given back twice
  mark(first, pagesOf(bytes), false);
  lowest_ = std::min(lowest_, first);
}

}  // namespace sealdisk
