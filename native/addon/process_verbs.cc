#include "addon/process_verbs.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "addon/glue.h"
#include "crypto/xts.h"
#include "engine/process.h"
#include "engine/socket_buffer.h"

namespace sealdisk {

Napi::Value selfTest(const CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  if (const char* failure = xtsSelfTest()) {
    result.Set("failure", failure);
  } else {
    result.Set("cipher", xtsKernelName());
  }
  return result;
}

Napi::Value socketPair(const CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) failWith(errno, "socketpair");
    sizeSocketPair(fds);
    Napi::Array pair = Napi::Array::New(info.Env(), 2);
    pair.Set(0u, fds[0]);
    pair.Set(1u, fds[1]);
    return pair;
  });
}

void closeFd(const CallbackInfo& info) {
  guarded(info.Env(), [&] {
    if (::close(static_cast<int>(wholeNumber(info.Env(), info[0], "fd", 0, INT32_MAX))) != 0) failWith(errno, "close");
  });
}

// Per thread and inherited: writeback that waits for this thread must not be waited for by its allocations.
void setIoFlusher(const CallbackInfo& info) {
  guarded(info.Env(), [&] {
    if (const int error = becomeIoFlusher()) failWith(error, "PR_SET_IO_FLUSHER");
  });
}

// Returns what this process may not do ("lock memory: EPERM"); except to be undumpable, which is a must.
Napi::Value protectProcess(const CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Object options = objectArgument(info, 0);
    const bool lockMemory = boolean(options, "lockMemory", false);
    const int64_t oomScore = wholeNumber(options, "oomScoreAdj", -1000, 1000);
    Napi::Array refused = Napi::Array::New(info.Env());
    const auto report = [&](const char* what, int error) {
      if (error) refused.Set(refused.Length(), std::string(what) + ": " + errnoName(error));
    };
    report("oom_score_adj", setOomScore(static_cast<int>(oomScore)));
    if (const int error = becomeUndumpable()) failWith(error, "PR_SET_DUMPABLE");
    if (lockMemory) report("lock memory", lockMappedFiles());
    return refused;
  });
}

}  // namespace sealdisk
