// Verbs about the kernel's nbd devices. JS thread; synchronous, as native/netlink is.
#pragma once

#include <napi.h>

namespace sealdisk {

Napi::Value connectDevice(const Napi::CallbackInfo& info);
void reconfigureDevice(const Napi::CallbackInfo& info);
void disconnectDevice(const Napi::CallbackInfo& info);
Napi::Value deviceStatus(const Napi::CallbackInfo& info);

}  // namespace sealdisk
