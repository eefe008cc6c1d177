// The disk's file, as one connection sees it: operations go in, ended ones come out.
//
// Two implementations keep the same promises: Ring (io_uring) and PoolBacking (worker threads). An operation ends once,
// wholly done or with an errno: short transfers and EINTR are continued, and a read past the end of the file is EIO,
// never zeros. A hole that the file system cannot make is EOPNOTSUPP. Operations of one connection run at the same time and end in any order.
//
// Owner: the connection's thread makes it, calls it, and destroys it when no operation is out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace sealdisk {

class Pool;
class Wake;

// Lies in its owner and stays there until it has ended.
struct IoOp {
  enum class Kind : uint8_t {
    read,
    write,
    sync,
    punch,  // the range becomes a hole
    zero,   // the range becomes zeros that have their place in the file
    cache,  // the range is read ahead
  };

  Kind kind = Kind::read;
  uint8_t* data = nullptr;
  uint64_t bytes = 0;
  uint64_t offset = 0;  // in the file
  int error = 0;        // when ended: 0, or an errno
  void* owner = nullptr;
  IoOp* next = nullptr;

  // Takes in the result of one system call, as the kernel's interfaces give it (bytes, or -errno). True when the
  // operation has ended; else it is to be issued again, for the rest.
  bool advance(int64_t result) noexcept;
  // One system call of it on this thread; its result as advance() takes it.
  int64_t call(int fileFd) const noexcept;
};

// What there is to do after a wait. Socket events are poll(2)'s.
struct Ready {
  short socketEvents = 0;
  bool woken = false;
};

// Modes of fallocate(2). The length of the file never changes: what is served lies within it.
extern const int kPunchMode, kZeroMode;

class Backing {
 public:
  virtual ~Backing() = default;

  // May be put off until flush() or wait(), and may have ended at once.
  virtual void submit(IoOp* op) noexcept = 0;

  // The next ended operation, or null. Never blocks.
  virtual IoOp* ended() noexcept = 0;

  // Issues what was submitted.
  virtual void flush() noexcept = 0;

  // As flush(); when `block`, waits until an operation has ended, the wake was signalled, or the socket
  // has one of `socketEvents` (0: it is not looked at). It may return early with nothing.
  virtual Ready wait(short socketEvents, bool block) noexcept = 0;
};

enum class BackingKind { automatic, ring, pool };

// What the environment variable SEALDISK_IO asks for ("ring", "pool").
BackingKind backingFromEnvironment() noexcept;
// Whether this kernel lets us use every io_uring operation that Ring needs. Asked once.
bool ringAvailable() noexcept;

// To be called on the thread that will use it. `pool` is there when the kind is not ring, else it may be null. `payload` is
// memory that most operations use: it lives longer than the ring. Null when the kernel refuses a ring.
std::unique_ptr<Backing> makeRing(int fileFd, int socketFd, Wake& wake, std::span<uint8_t> payload);
std::unique_ptr<Backing> makePoolBacking(Pool& pool, int fileFd, int socketFd, Wake& wake);

}  // namespace sealdisk
