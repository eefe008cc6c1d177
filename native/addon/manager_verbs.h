// Verbs towards a service manager: the sockets that it hands to us, and what it is told. JS thread; each returns at once.
#pragma once

#include <napi.h>

namespace sealdisk {

Napi::Value listeningSocket(const Napi::CallbackInfo& info);
void notifyManager(const Napi::CallbackInfo& info);

}  // namespace sealdisk
