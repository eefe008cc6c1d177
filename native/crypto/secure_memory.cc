// Locked pages between guard pages (secure_memory.h). Linux only; any thread.
#include "crypto/secure_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace sealdisk {

namespace {

size_t pageBytes() noexcept {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

size_t wholePages(size_t bytes) noexcept { return (bytes + pageBytes() - 1) / pageBytes() * pageBytes(); }

// Unmaps the region and throws what errno says of `call`.
[[noreturn]] void giveUp(void* region, size_t regionBytes, const char* call) {
  const int error = errno;
  munmap(region, regionBytes);
  throw std::system_error(error, std::generic_category(), call);
}

}  // namespace

void wipe(void* data, size_t bytes) noexcept {
  memset(data, 0, bytes);
  asm volatile("" : : "r"(data) : "memory");
}

SecureMemory::SecureMemory(size_t bytes) : bytes_(bytes) {
  const size_t keyBytes = wholePages(bytes);
  const size_t regionBytes = keyBytes + 2 * pageBytes();
  void* const region = mmap(nullptr, regionBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  uint8_t* const keyPages = static_cast<uint8_t*>(region) + pageBytes();
  if (mprotect(keyPages, keyBytes, PROT_READ | PROT_WRITE) != 0) giveUp(region, regionBytes, "mprotect");
  if (mlock(keyPages, keyBytes) != 0) giveUp(region, regionBytes, "mlock");
  if (madvise(keyPages, keyBytes, MADV_DONTDUMP) != 0) giveUp(region, regionBytes, "madvise(DONTDUMP)");
  if (madvise(keyPages, keyBytes, MADV_WIPEONFORK) != 0) giveUp(region, regionBytes, "madvise(WIPEONFORK)");
  data_ = keyPages;
}

SecureMemory::~SecureMemory() {
  if (data_ == nullptr) return;
  const size_t keyBytes = wholePages(bytes_);
  wipe(data_, keyBytes);
  munmap(data_ - pageBytes(), keyBytes + 2 * pageBytes());
}

}  // namespace sealdisk
