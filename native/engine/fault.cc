#include "engine/fault.h"

#include <signal.h>

#include <mutex>

namespace sealdisk {

thread_local sigjmp_buf* fault::recovery = nullptr;

namespace {

struct sigaction before;

// The fault of somebody else comes again as soon as we return, and goes to whom it went before.
void caught(int signal) {
  if (fault::recovery) {
    sigset_t it;
    sigemptyset(&it);
    sigaddset(&it, signal);
    pthread_sigmask(SIG_UNBLOCK, &it, nullptr);  // we leave without returning
    siglongjmp(*fault::recovery, 1);
  }
  sigaction(signal, &before, nullptr);
}

}  // namespace

void catchFaults() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_handler = caught;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGBUS, &action, &before);
  });
}

}  // namespace sealdisk
