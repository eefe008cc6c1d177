// Touching mapped files that somebody may cut short, or that fail to come back from swap.
//
// The kernel answers with SIGBUS, which would end the process. Here it ends the work that touched them.
#pragma once

#include <atomic>
#include <csetjmp>

#include "crypto/residue.h"

namespace sealdisk {

namespace fault {

// Where this thread goes on when memory that it touches is gone; null: a fault ends the process as ever.
extern thread_local sigjmp_buf* recovery;

}  // namespace fault

// Takes SIGBUS for the process, once. What was set for it before still gets the faults of everybody else.
void catchFaults() noexcept;

// Does `work`. False when memory that it touched is gone: it then ended in the middle, without its destructors, and must own
// nothing. What a cipher left on the stack and in registers is cleared. After catchFaults(), any thread.
template <class Work>
__attribute__((noinline)) bool reachable(const Work& work) noexcept {
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) {
    fault::recovery = nullptr;
    clearResidue();
    return false;
  }
  fault::recovery = &here;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  work();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  fault::recovery = nullptr;
  return true;
}

}  // namespace sealdisk
