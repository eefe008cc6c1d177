// What belongs to one JS environment, and the way to it from engine threads.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <set>

#include "engine/disk.h"

namespace sealdisk {

class JsThread {
 public:
  using Call = std::function<void(Napi::Env)>;

  explicit JsThread(Napi::Env env) : calls_(Calls::New(env, "sealdisk", 0, 1)) { calls_.Unref(env); }

  // Any thread. The call is dropped when the environment is gone.
  void post(Call call) {
    auto* boxed = new Call(std::move(call));
    if (calls_.NonBlockingCall(boxed) != napi_ok) delete boxed;
  }

  // JS thread: as long as somebody waits for a promise, the process stays.
  void await(Napi::Env env) {
    if (awaited_++ == 0) calls_.Ref(env);
  }
  void settled(Napi::Env env) {
    if (--awaited_ == 0) calls_.Unref(env);
  }

 private:
  static void run(Napi::Env env, Napi::Function, std::nullptr_t*, Call* call) {
    const std::unique_ptr<Call> owned(call);
    if (env == nullptr) return;
    try {
      (*owned)(env);
    } catch (const Napi::Error&) {
      // The environment is being torn down and runs no JavaScript any more: nobody is left to tell.
    }
  }
  using Calls = Napi::TypedThreadSafeFunction<std::nullptr_t, Call, run>;

  Calls calls_;
  size_t awaited_ = 0;
};

// What belongs to one JS environment.
struct Instance {
  explicit Instance(Napi::Env env) : js(env) {}
  JsThread js;
  std::set<std::shared_ptr<Disk>> disks;  // open ones
  Napi::FunctionReference dataKey, disk, connection, copy, tlsContext, tlsSession;
};

inline Instance& instanceOf(Napi::Env env) { return *env.GetInstanceData<Instance>(); }

}  // namespace sealdisk
