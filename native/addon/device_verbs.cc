#include "addon/device_verbs.h"

#include "addon/glue.h"
#include "netlink/nbd_netlink.h"

namespace sealdisk {
namespace {

NbdDeviceConfig deviceConfig(const CallbackInfo& info, bool indexNeeded) {
  // linux/nbd.h; a flag that a kernel does not know is ignored by it.
  constexpr uint64_t kHasFlags = 1, kReadOnly = 2, kFlush = 4, kFua = 8, kTrim = 32, kWriteZeroes = 64, kMultiConn = 256;
  const Napi::Object options = objectArgument(info, 0);
  NbdDeviceConfig config{};
  if (indexNeeded || !member(options, "index").IsUndefined())
    config.index = static_cast<uint32_t>(wholeNumber(options, "index", 0, INT32_MAX));
  const bool socketNeeded = !indexNeeded || !member(options, "fd").IsUndefined();
  config.socketFd = socketNeeded ? static_cast<int>(wholeNumber(options, "fd", 0, INT32_MAX)) : -1;
  config.sizeBytes = unsigned64(options, "sizeBytes");
  config.blockSize = static_cast<uint64_t>(wholeNumber(options, "blockSize", 512, 4096));
  config.serverFlags = kHasFlags | kFlush | kFua | kWriteZeroes | kMultiConn;
  if (boolean(options, "readOnly", false)) config.serverFlags |= kReadOnly;
  if (boolean(options, "trim", false)) config.serverFlags |= kTrim;
  config.deadConnectionTimeoutS =
      static_cast<uint64_t>(wholeNumber(options, "deadConnectionTimeoutS", 0, INT32_MAX));
  config.backendIdentifier = text(options, "backendIdentifier");
  return config;
}

}  // namespace

Napi::Value connectDevice(const CallbackInfo& info) {
  return guarded(info.Env(),
                 [&]() -> Napi::Value { return Napi::Number::New(info.Env(), nbdConnect(deviceConfig(info, false))); });
}

void reconfigureDevice(const CallbackInfo& info) {
  guarded(info.Env(), [&] { nbdReconfigure(deviceConfig(info, true)); });
}

void disconnectDevice(const CallbackInfo& info) {
  guarded(info.Env(), [&] {
    nbdDisconnect(static_cast<uint32_t>(wholeNumber(info.Env(), info[0], "index", 0, INT32_MAX)));
  });
}

Napi::Value deviceStatus(const CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Napi::Array list = Napi::Array::New(info.Env());
    for (const NbdDeviceStatus& device : nbdStatus()) {
      Napi::Object entry = Napi::Object::New(info.Env());
      entry.Set("index", device.index);
      entry.Set("connected", device.connected);
      list.Set(list.Length(), entry);
    }
    return list;
  });
}

}  // namespace sealdisk
