// The engine's face towards JavaScript (src/engine/engine.ts says the same in types). N-API only, here and in
// native/addon; no work is done here.
//
// A few verbs on a few handles: DataKey, Disk, Connection, Copy, TlsContext, TlsSession. Native guards its own state: every
// argument is checked, a closed handle refuses, closing twice is fine. An error carries `code`: an errno's name, a TLS_
// code of the catalogue, or INVALID.
//
// Everything here runs on the JS thread. Engine threads reach it through JsThread::post only. When the environment goes
// away, a hook closes every disk, which ends its threads and wipes its key.
#include <napi.h>

#include "addon/caller_verbs.h"
#include "addon/copy_handle.h"
#include "addon/data_key_handle.h"
#include "addon/device_verbs.h"
#include "addon/disk_handle.h"
#include "addon/file_verbs.h"
#include "addon/instance.h"
#include "addon/manager_verbs.h"
#include "addon/process_verbs.h"
#include "addon/tls_handle.h"
#include "addon/transform_verbs.h"

namespace sealdisk {
namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance(env);
  env.SetInstanceData(instance);  // freed after the hook below has run
  env.AddCleanupHook([instance] {
    for (const auto& disk : instance->disks) disk->close();
  });
  instance->dataKey = Napi::Persistent(DataKeyHandle::define(env));
  instance->disk = Napi::Persistent(DiskHandle::define(env));
  instance->connection = Napi::Persistent(ConnectionHandle::define(env));
  instance->copy = Napi::Persistent(CopyHandle::define(env));
  instance->tlsContext = Napi::Persistent(TlsContextHandle::define(env));
  instance->tlsSession = Napi::Persistent(TlsSessionHandle::define(env));

  exports.Set("selfTest", Napi::Function::New<selfTest>(env));
  exports.Set("takeDataKey", Napi::Function::New<DataKeyHandle::take>(env));
  exports.Set("pbkdf2Sha256Of", Napi::Function::New<DataKeyHandle::pbkdf2Of>(env));
  exports.Set("openDisk", Napi::Function::New<DiskHandle::open>(env));
  exports.Set("transform", Napi::Function::New<transform>(env));
  exports.Set("tlsContext", Napi::Function::New<TlsContextHandle::open>(env));
  exports.Set("socketPair", Napi::Function::New<socketPair>(env));
  exports.Set("closeFd", Napi::Function::New<closeFd>(env));
  exports.Set("getAttribute", Napi::Function::New<getAttribute>(env));
  exports.Set("setAttribute", Napi::Function::New<setAttribute>(env));
  exports.Set("dataRun", Napi::Function::New<dataRun>(env));
  exports.Set("setIoFlusher", Napi::Function::New<setIoFlusher>(env));
  exports.Set("protectProcess", Napi::Function::New<protectProcess>(env));
  exports.Set("peerCredentials", Napi::Function::New<peerCredentials>(env));
  exports.Set("account", Napi::Function::New<account>(env));
  exports.Set("listeningSocket", Napi::Function::New<listeningSocket>(env));
  exports.Set("notifyManager", Napi::Function::New<notifyManager>(env));
  exports.Set("nbdConnect", Napi::Function::New<connectDevice>(env));
  exports.Set("nbdReconfigure", Napi::Function::New<reconfigureDevice>(env));
  exports.Set("nbdDisconnect", Napi::Function::New<disconnectDevice>(env));
  exports.Set("nbdStatus", Napi::Function::New<deviceStatus>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(sealdisk, init)

}  // namespace sealdisk
