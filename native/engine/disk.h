// One attached disk: the backing file, its geometry, the gate with the key, and the connections that it serves.
//
// The file is held against others as long as the Disk lives: flock shared (so `cryptsetup luksDump` works and a header
// writer waits), and an OFD lock from the segment to the end of the file (write; read when read-only), which makes any
// second attachment fail. A Disk starts hung, without a key.
//
// Threads: open(), goLive(), shut(), resize(), serve(), copy() and close() belong to one control thread (Node's). Connection threads use
// fd(), whole(), geometry(), sizeBytes(), gate(), ranges(), counters(), syncs(), copies() and mapped(), which are safe for all, as are hold(),
// release(), sync() and clone(). Lock order: closeMutex_, connectionsMutex_. The latter is only held around the list of connections.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "engine/copy_out.h"
#include "engine/gate.h"
#include "engine/mapped_file.h"
#include "engine/range_lock.h"
#include "engine/sync_group.h"

namespace sealdisk {

class Connection;
class Pool;
struct ConnectionEnd;
struct ConnectionOptions;

struct Geometry {
  uint64_t offsetBytes = 0;  // of the segment in the file
  uint32_t sectorBytes = 4096;
};

// A range of what is served.
struct ChangedRange {
  uint64_t begin = 0, end = 0;
};

struct DiskOptions {
  std::string path;
  Geometry geometry;
  uint64_t sizeBytes = 0;
  bool readOnly = false;
  bool direct = false;
  bool holes = false;    // a sector whose ciphertext is all zeros is a hole: it reads as zeros
  bool discard = false;  // TRIM and WRITE_ZEROES make holes; only where they may be
  bool plain = false;    // no cipher and no key: what is served is what lies in the file, whose holes are zeros
  std::vector<ChangedRange> changed;  // in their order, apart from one another: what clients are told has changed
};

// The file is shorter than its geometry says.
struct DiskTooSmall : std::runtime_error {
  DiskTooSmall(uint64_t found_, uint64_t expected_)
      : std::runtime_error("the file is shorter than the disk"), found(found_), expected(expected_) {}
  uint64_t found, expected;
};

// Counters of connection threads; each is exact, together they are no snapshot.
struct DiskCounters {
  std::atomic<uint64_t> reads{0}, readBytes{0}, writes{0}, writtenBytes{0}, flushes{0};
  std::atomic<uint64_t> parked{0}, inFlight{0}, connections{0};
};

class Disk {
 public:
  // Throws std::system_error: EWOULDBLOCK when somebody else holds the file, else the errno of what failed.
  static std::unique_ptr<Disk> open(const DiskOptions& options);
  ~Disk();  // as close()
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // `key` is empty for a plain disk, and for no other: std::invalid_argument.
  void goLive(XtsKey key);
  // To hung or failed. `wiped`: see Gate::shut.
  void shut(Gate::State to, std::function<void()> wiped);

  // Parks new requests until release(), and keeps the key; see Gate::hold.
  void hold(std::function<void()> still);
  void release() noexcept;

  // What has been answered goes to stable storage. Blocks. An errno, or 0.
  int sync() noexcept;

  // Makes the file at `path`, which must be empty or not be there, share this disk's blocks as they are at one instant. Blocks. How long requests
  // were held, in nanoseconds. Throws std::system_error (EOPNOTSUPP, EXDEV, EINVAL where the file system cannot); then there is no file.
  uint64_t clone(const std::string& path);

  // Begins a copy of the file as it is at one instant, soon. Throws as CopyOut does, std::invalid_argument when closed.
  std::shared_ptr<CopyOut> copy(CopyOptions options, std::function<void(uint64_t heldNs)> begun, std::function<void(int error)> ended);

  // Serves another size from now on, to the connections that are there, too. Who shrinks a disk does so when nobody uses
  // its end. Throws std::invalid_argument, std::system_error, DiskTooSmall when the file does not reach so far.
  void resize(uint64_t sizeBytes);

  // Serves a socket. `ended` is called once, on the connection's thread, as its last act. Throws std::system_error,
  // std::invalid_argument.
  std::shared_ptr<Connection> serve(ConnectionOptions options, std::function<void(const ConnectionEnd&)> ended);

  // Cancels copies, ends the connections (requests in flight finish), syncs the file, wipes the key. Blocks; twice is fine, also from two
  // threads, but nothing else may be called after it began. Returns the errno of the sync, or 0.
  int close() noexcept;

  // Looks whether the file still reaches to the end of the disk. When somebody has cut it short, sealed data is gone and
  // a write beyond its end would leave a hole that reads as noise: false from then on, and no sync succeeds any more.
  bool whole() noexcept;

  int fd() const noexcept { return fd_; }
  const Geometry& geometry() const noexcept { return geometry_; }
  uint64_t sizeBytes() const noexcept { return sizeBytes_.load(std::memory_order_relaxed); }
  bool readOnly() const noexcept { return readOnly_; }
  bool direct() const noexcept { return direct_; }
  bool holes() const noexcept { return holes_; }
  bool discards() const noexcept { return discards_; }
  bool plain() const noexcept { return plain_; }
  const std::vector<ChangedRange>& changed() const noexcept { return changed_; }
  Gate& gate() noexcept { return gate_; }
  RangeLock& ranges() noexcept { return ranges_; }
  DiskCounters& counters() noexcept { return counters_; }
  SyncGroup& syncs() noexcept { return syncs_; }
  Copies& copies() noexcept { return copies_; }
  // Of the file as long as it was when the disk was opened.
  MappedFile& mapped() noexcept { return mapped_; }
  // Null where there is one processor only.
  Pool* crew() noexcept { return crew_.get(); }
  // Null when the disk's I/O goes through io_uring.
  Pool* pool() noexcept { return pool_.get(); }

 private:
  Disk() = default;
  void notifyConnections();
  void forgetEnded();
  void checkSize(uint64_t sizeBytes) const;

  int fd_ = -1;
  Geometry geometry_;
  std::atomic<uint64_t> sizeBytes_{0};
  std::atomic<bool> cut_{false};
  bool readOnly_ = false;
  bool direct_ = false;
  bool holes_ = false;
  bool discards_ = false;
  bool plain_ = false;
  std::vector<ChangedRange> changed_;
  std::unique_ptr<Pool> pool_, crew_;
  Gate gate_;
  RangeLock ranges_;
  DiskCounters counters_;
  SyncGroup syncs_;
  Copies copies_;
  std::vector<std::shared_ptr<CopyOut>> copying_;  // the control thread's
  MappedFile mapped_;
  std::mutex closeMutex_;  // held through close(): the second caller waits for the first
  std::mutex connectionsMutex_;
  std::vector<std::shared_ptr<Connection>> connections_;
};

}  // namespace sealdisk
