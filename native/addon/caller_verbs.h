// Verbs about who calls: the process at the other end of a socket, and an account in the system's user database. JS
// thread; `account` may wait for the database (nsswitch.conf(5)), the other returns at once.
#pragma once

#include <napi.h>

namespace sealdisk {

Napi::Value peerCredentials(const Napi::CallbackInfo& info);
Napi::Value account(const Napi::CallbackInfo& info);

}  // namespace sealdisk
