// Memory for keys: locked, left out of core files, gone after fork, wiped on every way out.
//
// A SecureMemory is whole pages of its own from mmap, between two guard pages, so that neither an overrun of a
// neighbour nor the allocator ever meets key bytes. Any thread may own one; it is not shared while it moves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace sealdisk {

// Overwrites `bytes` in a way that the compiler keeps.
void wipe(void* data, size_t bytes) noexcept;

class SecureMemory {
 public:
  SecureMemory() noexcept = default;
  // Throws std::system_error (errno of mmap, mlock or madvise): a key is never held in memory that is not locked.
  explicit SecureMemory(size_t bytes);
  SecureMemory(SecureMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  SecureMemory& operator=(SecureMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~SecureMemory();

  uint8_t* data() const noexcept { return data_; }
  size_t size() const noexcept { return bytes_; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace sealdisk
