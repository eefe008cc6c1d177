#include "engine/mapped_file.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <algorithm>

#include "engine/fault.h"
#include "engine/limits.h"

namespace sealdisk {

namespace {

constexpr uint8_t kWhole = 255;
constexpr size_t kCacheLineBytes = 64;

}  // namespace

bool isInMemory(int fileFd) noexcept {
  struct statfs system {};
  return fstatfs(fileFd, &system) == 0 && system.f_type == TMPFS_MAGIC;
}

MappedFile::~MappedFile() {
  if (base_) munmap(const_cast<uint8_t*>(base_), bytes_);
}

void MappedFile::map(int fileFd, uint64_t bytes) noexcept {
  if (!isInMemory(fileFd)) return;
  void* mapping = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fileFd, 0);
  if (mapping == MAP_FAILED) return;
  madvise(mapping, bytes, MADV_DONTDUMP);
  catchFaults();
  base_ = static_cast<const uint8_t*>(mapping);
  bytes_ = bytes;
  reads_ = std::vector<std::atomic<uint8_t>>((bytes + kMappedChunkBytes - 1) / kMappedChunkBytes);
}

const uint8_t* MappedFile::at(uint64_t offset, uint64_t bytes) noexcept {
  if (bytes > bytes_ || offset > bytes_ - bytes) return nullptr;
  bool all = true;
  for (size_t chunk = offset / kMappedChunkBytes; chunk * kMappedChunkBytes < offset + bytes; ++chunk) all = holds(chunk) && all;
  return all ? base_ + offset : nullptr;
}

void MappedFile::prefetch(uint64_t offset, uint64_t bytes) const noexcept {
  if (bytes == 0 || bytes > bytes_ || offset > bytes_ - bytes) return;
  if (reads_[offset / kMappedChunkBytes].load(std::memory_order_relaxed) != kWhole) return;
  for (uint64_t at = 0; at < bytes; at += kCacheLineBytes) __builtin_prefetch(base_ + offset + at, 0, 2);
}

// Asks again after 4, 8, 16, 32, 64 and 128 reads, then every 64: the answer costs as much as some ten reads.
bool MappedFile::holds(size_t chunk) noexcept {
  std::atomic<uint8_t>& state = reads_[chunk];
  uint8_t reads = state.load(std::memory_order_relaxed);
  if (reads == kWhole) return true;
  reads = reads == 128 ? 65 : reads + 1;
  const bool asks = reads >= 4 && (reads & (reads - 1)) == 0;
  const bool found = asks && whole(chunk);
  state.store(found ? kWhole : reads, std::memory_order_relaxed);
  return found;
}

bool MappedFile::whole(size_t chunk) const noexcept {
  const uint64_t offset = chunk * kMappedChunkBytes;
  const size_t bytes = std::min<uint64_t>(kMappedChunkBytes, bytes_ - offset);
  void* pages = const_cast<uint8_t*>(base_ + offset);
  unsigned char present[kMappedChunkBytes / kPageBytes];
  if (mincore(pages, bytes, present) != 0) return false;
  const size_t count = (bytes + kPageBytes - 1) / kPageBytes;
  if (!std::all_of(present, present + count, [](unsigned char page) { return page & 1; })) return false;
  madvise(pages, bytes, MADV_POPULATE_READ);  // their page table entries at once, instead of a fault for every few
  return true;
}

}  // namespace sealdisk
