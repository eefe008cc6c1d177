#include "engine/range_lock.h"

namespace sealdisk {

void RangeLock::List::append(Claim* claim) noexcept {
  claim->previous_ = tail;
  claim->next_ = nullptr;
  (tail ? tail->next_ : head) = claim;
  tail = claim;
}

void RangeLock::List::remove(Claim* claim) noexcept {
  (claim->previous_ ? claim->previous_->next_ : head) = claim->next_;
  (claim->next_ ? claim->next_->previous_ : tail) = claim->previous_;
}

bool RangeLock::overlapsAny(const Claim* from, const Claim* until, const Claim* claim,
                            bool exclusiveOnly) noexcept {
  for (const Claim* other = from; other != until; other = other->next_) {
    if (exclusiveOnly && !other->exclusive) continue;
    if (other->begin < claim->end && claim->begin < other->end) return true;
  }
  return false;
}

// Holders stand in the way, and so do waiters that came earlier: nobody is overtaken for ever.
bool RangeLock::blocked(const Claim* claim, const Claim* untilWaiter) const noexcept {
  if (overlapsAny(exclusive_.head, nullptr, claim, true)) return true;
  if (claim->exclusive && overlapsAny(shared_.head, nullptr, claim, false)) return true;
  return overlapsAny(waiting_.head, untilWaiter, claim, !claim->exclusive);
}

bool RangeLock::acquire(Claim* claim) noexcept {
  const std::lock_guard lock(mutex_);
  if (blocked(claim, nullptr)) {
    waiting_.append(claim);
    return false;
  }
  hold(claim);
  return true;
}

void RangeLock::release(Claim* claim) noexcept {
  Claim* ready = nullptr;
  Claim** last = &ready;
  {
    const std::lock_guard lock(mutex_);
    (claim->exclusive ? exclusive_ : shared_).remove(claim);
    for (Claim *waiter = waiting_.head, *next; waiter; waiter = next) {
      next = waiter->next_;
      if (blocked(waiter, waiter)) continue;
      waiting_.remove(waiter);
      hold(waiter);
      waiter->ready_ = nullptr;
      *last = waiter;
      last = &waiter->ready_;
    }
  }
  while (ready) {  // the owner may reuse a claim as soon as it is told
    Claim* granted = ready;
    ready = ready->ready_;
    granted->granted(granted);
  }
}

}  // namespace sealdisk
