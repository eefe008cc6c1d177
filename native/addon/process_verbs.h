// Verbs about this process and its sockets. JS thread; each returns at once.
#pragma once

#include <napi.h>

namespace sealdisk {

Napi::Value selfTest(const Napi::CallbackInfo& info);
Napi::Value socketPair(const Napi::CallbackInfo& info);
void closeFd(const Napi::CallbackInfo& info);
void setIoFlusher(const Napi::CallbackInfo& info);
Napi::Value protectProcess(const Napi::CallbackInfo& info);

}  // namespace sealdisk
