#include "engine/copy_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>

#include "engine/fd.h"
#include "engine/process.h"

namespace sealdisk {

namespace {

constexpr uint64_t kMagic = 0x3150414d59504f43;  // "COPYMAP1"

[[noreturn]] void failWith(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

}  // namespace

uint64_t CopyMap::fileBytes(uint64_t sourceBytes) noexcept {
  const uint64_t chunks = (sourceBytes + kCopyChunkBytes - 1) / kCopyChunkBytes;
  return kPageBytes + (chunks + 63) / 64 * 8;
}

CopyMap::CopyMap(int fd, uint64_t fileBytes) : fileBytes_(fileBytes) {
  void* mapping = mmap(nullptr, fileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) failWith(errno, "mmap of a copy's map");
  lockPages(mapping, fileBytes);
  head_ = static_cast<Head*>(mapping);
  words_ = reinterpret_cast<std::atomic<uint64_t>*>(static_cast<uint8_t*>(mapping) + kPageBytes);
}

CopyMap::~CopyMap() { munmap(head_, fileBytes_); }

std::unique_ptr<CopyMap> CopyMap::create(const std::string& path, uint64_t sourceBytes) {
  const Fd file(::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
  if (file.get() < 0) failWith(errno, "create a copy's map");
  const uint64_t bytes = fileBytes(sourceBytes);
  if (const int error = posix_fallocate(file.get(), 0, static_cast<off_t>(bytes))) failWith(error, "room for a copy's map");
  std::unique_ptr<CopyMap> map(new CopyMap(file.get(), bytes));
  map->head_->sourceBytes = sourceBytes;
  map->head_->magic = kMagic;
  return map;
}

std::unique_ptr<CopyMap> CopyMap::open(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (file.get() < 0) failWith(errno, "open a copy's map");
  struct stat found {};
  if (fstat(file.get(), &found) != 0) failWith(errno, "fstat");
  if (static_cast<uint64_t>(found.st_size) < kPageBytes) failWith(EINVAL, "no map of a copy");
  std::unique_ptr<CopyMap> map(new CopyMap(file.get(), static_cast<uint64_t>(found.st_size)));
  if (map->head_->magic != kMagic || fileBytes(map->sourceBytes()) != map->fileBytes_) failWith(EINVAL, "no map of a copy");
  size_t count = 0;
  for (size_t i = 0; i * 64 < map->chunks(); ++i) count += static_cast<size_t>(std::popcount(map->words_[i].load()));
  map->count_ = count;
  return map;
}

void CopyMap::set(size_t chunk) noexcept {
  const uint64_t bit = uint64_t{1} << (chunk % 64);
  if (!(word(chunk).fetch_or(bit, std::memory_order_release) & bit)) count_.fetch_add(1, std::memory_order_relaxed);
}

size_t CopyMap::missing(size_t chunk) const noexcept {
  while (chunk < chunks()) {
    const uint64_t rest = ~word(chunk).load(std::memory_order_acquire) >> (chunk % 64);
    if (rest) return std::min<size_t>(chunks(), chunk + static_cast<size_t>(std::countr_zero(rest)));
    chunk = (chunk / 64 + 1) * 64;
  }
  return chunks();
}

}  // namespace sealdisk
