// Keeps a write that covers part of a sector apart from everything else that touches that sector.
//
// Such a write reads, merges and writes back: exclusive. All other requests are shared among themselves, so as long as
// nobody sends such writes a claim costs a few instructions. It is a queue of continuations: nobody waits on a thread.
// Conflicting claims are granted in the order in which they came.
//
// Any thread. The one mutex guards all members and every queued Claim; `granted` is called without it.
#pragma once

#include <cstdint>
#include <mutex>

namespace sealdisk {

class RangeLock {
 public:
  // Lies in its owner and must stay where it is while it is queued or held.
  struct Claim {
    uint64_t begin = 0, end = 0;
    bool exclusive = false;
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

  static bool overlapsAny(const Claim* from, const Claim* until, const Claim* claim, bool exclusiveOnly) noexcept;
  bool blocked(const Claim* claim, const Claim* untilWaiter) const noexcept;
  void hold(Claim* claim) noexcept { (claim->exclusive ? exclusive_ : shared_).append(claim); }

  std::mutex mutex_;
  List shared_, exclusive_, waiting_;
};

}  // namespace sealdisk
