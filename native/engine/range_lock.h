// Keeps apart the requests that must not meet on a sector.
//
// A merge, a write that covers part of a sector, reads it and writes it back: it is alone there. A read and a write of whole
// sectors are kept apart as well, for the file system copies them byte by byte: a read would find a cipher block half old and
// half new, which deciphers to neither. Reads among themselves, and writes (which the file system orders), are not.
//
// As long as requests in flight do not meet, a claim costs a look at those of the other kinds. It is a queue of
// continuations: nobody waits on a thread. Conflicting claims are granted in the order in which they came.
//
// Any thread. The one mutex guards all members and every queued Claim; `granted` is called without it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace sealdisk {

class RangeLock {
 public:
  enum class Kind : uint8_t { read, write, merge };

  // Lies in its owner and must stay where it is while it is queued or held.
  struct Claim {
    uint64_t begin = 0, end = 0;
    Kind kind = Kind::read;
    // Called on the thread of the claim that stood in the way, when acquire() had returned false.
    void (*granted)(Claim*) = nullptr;
    void* owner = nullptr;

   private:
    friend class RangeLock;
    Claim* previous_ = nullptr;
    Claim* next_ = nullptr;
    Claim* ready_ = nullptr;  // chain of release(), between the grant and the call
  };

  // True when held now; else `granted` is called once, later.
  bool acquire(Claim* claim) noexcept;
  void release(Claim* claim) noexcept;

 private:
  struct List {
    Claim* head = nullptr;
    Claim* tail = nullptr;
    void append(Claim* claim) noexcept;
    void remove(Claim* claim) noexcept;
  };

  static bool conflict(const Claim& a, const Claim& b) noexcept;
  static bool meets(const Claim* from, const Claim* until, const Claim& claim) noexcept;
  bool blocked(const Claim& claim, const Claim* untilWaiter) const noexcept;
  List& holders(const Claim& claim) noexcept { return held_[static_cast<size_t>(claim.kind)]; }

  std::mutex mutex_;
  List held_[3];  // by kind
  List waiting_;
};

}  // namespace sealdisk
