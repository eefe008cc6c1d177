#include "convert/transform.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>

#include "convert/limits.h"
#include "convert/sectors.h"
#include "crypto/secure_memory.h"
#include "engine/process.h"

namespace sealdisk {

namespace {

using Reason = TransformEnd::Reason;

bool wholeSectors(const Side& side, uint64_t begin, uint64_t bytes) noexcept {
  return !side.key || (begin % side.sectorBytes == 0 && bytes % side.sectorBytes == 0);
}

// Where the next data of the payload begins at or after `begin`; `end` when there is none before it. A file system that knows
// no holes says that everything is data.
uint64_t nextData(const Side& side, uint64_t begin, uint64_t end) noexcept {
  const off_t found = lseek(side.fd, static_cast<off_t>(side.offsetBytes + begin), SEEK_DATA);
  if (found < 0) return errno == ENXIO ? end : begin;
  return std::min(end, static_cast<uint64_t>(found) - side.offsetBytes);
}

uint64_t nextHole(const Side& side, uint64_t begin, uint64_t end) noexcept {
  const off_t found = lseek(side.fd, static_cast<off_t>(side.offsetBytes + begin), SEEK_HOLE);
  return found < 0 ? end : std::min(end, static_cast<uint64_t>(found) - side.offsetBytes);
}

// 0, or the errno; the end of the file is EIO.
int readWhole(int fd, uint8_t* data, size_t bytes, uint64_t offset) noexcept {
  while (bytes > 0) {
    const ssize_t got = pread(fd, data, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? errno : EIO;
    data += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<size_t>(got);
  }
  return 0;
}

int writeWhole(int fd, const uint8_t* data, size_t bytes, uint64_t offset) noexcept {
  while (bytes > 0) {
    const ssize_t put = pwrite(fd, data, bytes, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return put < 0 ? errno : EIO;
    data += put;
    offset += static_cast<uint64_t>(put);
    bytes -= static_cast<size_t>(put);
  }
  return 0;
}

}  // namespace

// Its memory; the second buffer is for what is compared.
struct Transform::Worker {
  explicit Worker(size_t buffers)
      : arena(buffers * kTransformChunkBytes, buffers * kTransformChunkBytes),
        data(arena.take(kTransformChunkBytes)),
        other(buffers > 1 ? arena.take(kTransformChunkBytes) : nullptr) {}
  ~Worker() { wipe(arena.hot().data(), arena.hot().size()); }

  Arena arena;
  uint8_t* const data;
  uint8_t* const other;
};

Transform::Transform(TransformOptions options) : options_(std::move(options)) {
  const auto& [work, from, to, begin, size, fromBytes, keepHoles, reread] = options_;
  if (!wholeSectors(from, begin, size) || !wholeSectors(to, begin, size))
    throw std::invalid_argument("the range is not whole sectors");
  if (keepHoles && from.key && from.sectorBytes != to.sectorBytes)
    throw std::invalid_argument("holes of one sector size are none of another");
  const size_t chunks = (size + kTransformChunkBytes - 1) / kTransformChunkBytes;
  const size_t threads = std::min<size_t>(kTransformThreadsMax, std::thread::hardware_concurrency());
  for (size_t i = 0; i < std::clamp<size_t>(chunks, 1, std::max<size_t>(threads, 1)); ++i)
    workers_.push_back(std::make_unique<Worker>(work == TransformOptions::Work::compare ? 2 : 1));
}

Transform::~Transform() = default;

TransformEnd Transform::run() noexcept {
  if (options_.reread) {
    const auto& [fd, offset, sectorBytes, key, holes] = options_.to;
    posix_fadvise(fd, static_cast<off_t>(offset + options_.beginBytes), static_cast<off_t>(options_.sizeBytes), POSIX_FADV_DONTNEED);
  }
  std::vector<std::thread> threads;
  try {
    const SignalsBlocked blocked;
    for (size_t i = 1; i < workers_.size(); ++i) threads.emplace_back([this, i] { work(*workers_[i]); });
  } catch (const std::exception&) {
    // Those that could be started do it all.
  }
  work(*workers_[0]);
  for (auto& thread : threads) thread.join();
  workers_.clear();
  options_.from.key = {};
  options_.to.key = {};
  const std::lock_guard lock(mutex_);
  return end_;
}

void Transform::work(Worker& worker) noexcept {
  while (!ended_.load(std::memory_order_relaxed)) {
    const uint64_t at = next_.fetch_add(kTransformChunkBytes, std::memory_order_relaxed);
    if (at >= options_.sizeBytes) return;
    const uint64_t begin = options_.beginBytes + at;
    const uint64_t bytes = std::min<uint64_t>(kTransformChunkBytes, options_.sizeBytes - at);
    const bool copies = options_.work == TransformOptions::Work::copy;
    if (!(copies ? copy(worker, begin, begin + bytes) : compare(worker, begin, begin + bytes))) return;
    doneBytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
}

// What the file system knows as data, in whole sectors.
bool Transform::copy(Worker& worker, uint64_t begin, uint64_t end) noexcept {
  if (!options_.keepHoles) return copyRun(worker, begin, end);
  const uint64_t sector = std::max<uint64_t>(options_.to.sectorBytes, options_.from.sectorBytes);
  for (uint64_t at = begin; at < end;) {
    const uint64_t data = nextData(options_.from, at, end);
    if (data >= end) return true;
    at = std::max(begin, data / sector * sector);
    const uint64_t hole = nextHole(options_.from, data, end);
    const uint64_t stop = std::min(end, (hole + sector - 1) / sector * sector);
    if (!copyRun(worker, at, stop)) return false;
    at = stop;
  }
  return true;
}

bool Transform::copyRun(Worker& worker, uint64_t begin, uint64_t end) noexcept {
  const auto& [fd, offset, sectorBytes, key, holes] = options_.to;
  uint8_t* const data = worker.data;
  const size_t bytes = end - begin;
  if (!readPlain(options_.from, begin, end, data)) return false;
  // Sectors that were holes are zeros by now, as may be others: those are written, since a chunk's length costs nothing.
  if (options_.keepHoles && options_.from.key && options_.from.holes) {
    for (size_t at = 0; at < bytes;) {
      bool hole = false;
      const size_t run = runOf(data + at, bytes - at, sectorBytes, hole);
      if (!hole) {
        if (key) key.encrypt(data + at, run, sectorBytes, (begin + at) / 512);
        if (!write(begin + at, data + at, run)) return false;
      }
      at += run;
    }
    return true;
  }
  if (key) key.encrypt(data, bytes, sectorBytes, begin / 512);
  return write(begin, data, bytes);
}

bool Transform::compare(Worker& worker, uint64_t begin, uint64_t end) noexcept {
  const auto& [work, from, to, rangeBegin, size, fromBytes, keepHoles, reread] = options_;
  if (keepHoles && nextData(from, begin, end) >= end && nextData(to, begin, end) >= end) return true;
  if (!readPlain(from, begin, end, worker.data) || !readPlain(to, begin, end, worker.other)) return false;
  const size_t bytes = end - begin;
  if (std::memcmp(worker.data, worker.other, bytes) == 0) return true;
  const auto [differs, _] = std::mismatch(worker.data, worker.data + bytes, worker.other);
  this->end({Reason::differs, 0, begin + static_cast<uint64_t>(differs - worker.data)});
  return false;
}

bool Transform::readPlain(const Side& side, uint64_t begin, uint64_t end, uint8_t* to) noexcept {
  const bool isFrom = &side == &options_.from;
  const uint64_t stop = isFrom ? std::clamp(options_.fromBytes, begin, end) : end;
  if (const int error = readWhole(side.fd, to, stop - begin, side.offsetBytes + begin)) {
    this->end({isFrom ? Reason::from : Reason::to, error, begin});
    return false;
  }
  std::memset(to + (stop - begin), 0, end - stop);
  if (!side.key) return true;
  if (side.holes) {
    decryptBetweenHoles(side.key, to, end - begin, side.sectorBytes, begin / 512);
  } else {
    side.key.decrypt(to, to, end - begin, side.sectorBytes, begin / 512);
  }
  return true;
}

bool Transform::write(uint64_t begin, const uint8_t* data, uint64_t bytes) noexcept {
  const int error = writeWhole(options_.to.fd, data, bytes, options_.to.offsetBytes + begin);
  if (error) end({Reason::to, error, begin});
  return error == 0;
}

// The first that ends it says how.
void Transform::end(TransformEnd how) noexcept {
  const std::lock_guard lock(mutex_);
  if (!ended_.exchange(true)) end_ = how;
}

}  // namespace sealdisk
