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

bool RangeLock::conflict(const Claim& a, const Claim& b) noexcept {
  const bool apart = a.kind == Kind::merge || b.kind == Kind::merge || a.kind != b.kind;
  return apart && a.begin < b.end && b.begin < a.end;
}

bool RangeLock::meets(const Claim* from, const Claim* until, const Claim& claim) noexcept {
  for (const Claim* other = from; other != until; other = other->next_) {
    if (conflict(*other, claim)) return true;
  }
  return false;
}

// Holders stand in the way, and so do waiters that came earlier: nobody is overtaken for ever.
bool RangeLock::blocked(const Claim& claim, const Claim* untilWaiter) const noexcept {
  for (const Kind kind : {Kind::read, Kind::write, Kind::merge}) {
    if (kind == claim.kind && kind != Kind::merge) continue;  // these never conflict
    if (meets(held_[static_cast<size_t>(kind)].head, nullptr, claim)) return true;
  }
  return meets(waiting_.head, untilWaiter, claim);
}

bool RangeLock::acquire(Claim* claim) noexcept {
  const std::lock_guard lock(mutex_);
  if (blocked(*claim, nullptr)) {
    waiting_.append(claim);
    return false;
  }
  holders(*claim).append(claim);
  return true;
}

void RangeLock::release(Claim* claim) noexcept {
  Claim* ready = nullptr;
  Claim** last = &ready;
  {
    const std::lock_guard lock(mutex_);
    holders(*claim).remove(claim);
    for (Claim *waiter = waiting_.head, *next; waiter; waiter = next) {
      next = waiter->next_;
      if (blocked(*waiter, waiter)) continue;
      waiting_.remove(waiter);
      holders(*waiter).append(waiter);
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
