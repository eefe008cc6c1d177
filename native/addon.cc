// The engine's face towards JavaScript (src/engine/engine.ts says the same in types). N-API only; no work is done here.
//
// A few verbs on three handles: DataKey, Disk, Connection. Native guards its own state: every argument is checked, a
// closed handle refuses, closing twice is fine. An error carries `code`: an errno's name, or INVALID.
//
// Everything here runs on the JS thread. Engine threads reach it through JsThread::post only. When the environment goes
// away, a hook closes every disk, which ends its threads and wipes its key.
#include <fcntl.h>
#include <napi.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <system_error>

#include "crypto/data_key.h"
#include "crypto/xts.h"
#include "engine/connection.h"
#include "engine/disk.h"
#include "engine/limits.h"
#include "engine/process.h"
#include "netlink/nbd_netlink.h"

namespace sealdisk {
namespace {

using Napi::CallbackInfo;

const char* errnoName(int error) noexcept {
  const char* name = strerrorname_np(error);
  return name ? name : "EUNKNOWN";
}

Napi::Error coded(Napi::Env env, const std::string& what, const char* code) {
  Napi::Error error = Napi::Error::New(env, what);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

// Runs `work` and turns what it throws into an Error with a code.
template <typename Work>
auto guarded(Napi::Env env, Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const Napi::Error&) {
    throw;
  } catch (const NetlinkError& error) {
    Napi::Error thrown = coded(env, error.what(), errnoName(error.errno_));
    thrown.Set("familyMissing", Napi::Boolean::New(env, error.familyMissing));
    throw thrown;
  } catch (const DiskTooSmall& error) {
    Napi::Error thrown = coded(env, error.what(), "TOO_SMALL");
    thrown.Set("found", Napi::BigInt::New(env, error.found));
    thrown.Set("expected", Napi::BigInt::New(env, error.expected));
    throw thrown;
  } catch (const std::system_error& error) {
    throw coded(env, error.what(), errnoName(error.code().value()));
  } catch (const std::exception& error) {
    throw coded(env, error.what(), "INVALID");
  }
}

[[noreturn]] void failWith(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

// --- arguments

[[noreturn]] void invalid(Napi::Env env, const std::string& what) { throw coded(env, what, "INVALID"); }

Napi::Value member(const Napi::Object& object, const char* name) { return object.Get(name); }

Napi::Object objectArgument(const CallbackInfo& info, size_t index) {
  if (info.Length() <= index || !info[index].IsObject()) invalid(info.Env(), "an options object is expected");
  return info[index].As<Napi::Object>();
}

uint64_t unsigned64(const Napi::Object& object, const char* name) {
  const Napi::Value value = member(object, name);
  bool lossless = false;
  if (!value.IsBigInt()) invalid(object.Env(), std::string(name) + " is not a bigint");
  const uint64_t number = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) invalid(object.Env(), std::string(name) + " does not fit in 64 bits");
  return number;
}

int64_t wholeNumber(Napi::Env env, const Napi::Value& value, const char* name, int64_t low, int64_t high) {
  if (!value.IsNumber()) invalid(env, std::string(name) + " is not a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) ||
      number != static_cast<double>(static_cast<int64_t>(number)))
    invalid(env, std::string(name) + " is out of range");
  return static_cast<int64_t>(number);
}

int64_t wholeNumber(const Napi::Object& object, const char* name, int64_t low, int64_t high) {
  return wholeNumber(object.Env(), member(object, name), name, low, high);
}

bool boolean(const Napi::Object& object, const char* name, bool otherwise) {
  const Napi::Value value = member(object, name);
  if (value.IsUndefined()) return otherwise;
  if (!value.IsBoolean()) invalid(object.Env(), std::string(name) + " is not a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string text(const Napi::Object& object, const char* name) {
  const Napi::Value value = member(object, name);
  if (!value.IsString()) invalid(object.Env(), std::string(name) + " is not a string");
  std::string string = value.As<Napi::String>().Utf8Value();
  if (string.find('\0') != std::string::npos) invalid(object.Env(), std::string(name) + " holds a zero byte");
  return string;
}

std::span<uint8_t> bytes(Napi::Env env, const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    invalid(env, std::string(name) + " is not a Uint8Array");
  auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

// --- the way from engine threads to the JS thread

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
  Napi::FunctionReference dataKey, disk, connection;
};

Instance& instanceOf(Napi::Env env) { return *env.GetInstanceData<Instance>(); }

// --- DataKey

// Runs on libuv's pool. It shares the key, so a wipe in the meantime takes effect when this ends.
class Pbkdf2 final : public Napi::AsyncWorker {
 public:
  Pbkdf2(Napi::Env env, std::shared_ptr<DataKey> key, std::span<const uint8_t> salt, uint32_t iterations, size_t length)
      : AsyncWorker(env),
        deferred(Napi::Promise::Deferred::New(env)),
        key_(std::move(key)),
        salt_(salt.begin(), salt.end()),
        iterations_(iterations),
        out_(length) {}

  const Napi::Promise::Deferred deferred;

 protected:
  void Execute() override { key_->pbkdf2Sha256(salt_, iterations_, out_); }
  void OnOK() override { deferred.Resolve(Napi::Buffer<uint8_t>::Copy(Env(), out_.data(), out_.size())); }
  void OnError(const Napi::Error& error) override {
    error.Set("code", Napi::String::New(Env(), "INVALID"));
    deferred.Reject(error.Value());
  }

 private:
  std::shared_ptr<DataKey> key_;
  const std::vector<uint8_t> salt_;
  const uint32_t iterations_;
  std::vector<uint8_t> out_;
};

class DataKeyHandle final : public Napi::ObjectWrap<DataKeyHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "DataKey",
                       {InstanceMethod<&DataKeyHandle::pbkdf2>("pbkdf2Sha256"),
                        InstanceMethod<&DataKeyHandle::hmac>("hmac"),
                        InstanceMethod<&DataKeyHandle::writeTo>("writeTo"),
                        InstanceMethod<&DataKeyHandle::wipe>("wipe")});
  }

  explicit DataKeyHandle(const CallbackInfo& info) : ObjectWrap(info) {}

  static Napi::Value take(const CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      auto key = std::make_shared<DataKey>(DataKey::take(bytes(info.Env(), info[0], "secret")));
      Napi::Object object = instanceOf(info.Env()).dataKey.New({});
      Unwrap(object)->key_ = std::move(key);
      return object;
    });
  }

  const DataKey& key(Napi::Env env) const {
    if (!key_) invalid(env, "the data key was wiped");
    return *key_;
  }

 private:
  Napi::Value pbkdf2(const CallbackInfo& info) {
    key(info.Env());
    const auto salt = bytes(info.Env(), info[0], "salt");
    const auto iterations = wholeNumber(info.Env(), info[1], "iterations", 1, INT32_MAX);
    const auto length = wholeNumber(info.Env(), info[2], "lengthBytes", 1, 64 * 1024);
    auto* worker = new Pbkdf2(info.Env(), key_, salt, static_cast<uint32_t>(iterations), static_cast<size_t>(length));
    worker->Queue();
    return worker->deferred.Promise();
  }

  Napi::Value hmac(const CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      if (!info[0].IsString()) invalid(info.Env(), "label is not a string");
      const std::string label = info[0].As<Napi::String>().Utf8Value();
      const auto mac = key(info.Env()).hmac({reinterpret_cast<const uint8_t*>(label.data()), label.size()},
                                            bytes(info.Env(), info[1], "message"));
      return Napi::Buffer<uint8_t>::Copy(info.Env(), mac.data(), mac.size());
    });
  }

  void writeTo(const CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const int fd = static_cast<int>(wholeNumber(info.Env(), info[0], "fd", 0, INT32_MAX));
      std::span<const uint8_t> left = key(info.Env()).bytes();
      while (!left.empty()) {
        const ssize_t written = write(fd, left.data(), left.size());
        if (written < 0 && errno != EINTR) failWith(errno, "write");
        if (written > 0) left = left.subspan(static_cast<size_t>(written));
      }
    });
  }

  void wipe(const CallbackInfo&) { key_.reset(); }

  std::shared_ptr<DataKey> key_;
};

// --- Connection

const char* nameOf(ConnectionEnd::Reason reason) noexcept {
  switch (reason) {
    case ConnectionEnd::Reason::disconnect:
      return "disconnect";
    case ConnectionEnd::Reason::eof:
      return "eof";
    case ConnectionEnd::Reason::protocol:
      return "protocol";
    case ConnectionEnd::Reason::closed:
      return "closed";
    case ConnectionEnd::Reason::error:
      return "error";
  }
  return "error";
}

class ConnectionHandle final : public Napi::ObjectWrap<ConnectionHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Connection", {InstanceMethod<&ConnectionHandle::close>("close")});
  }

  explicit ConnectionHandle(const CallbackInfo& info) : ObjectWrap(info) {}

  static Napi::Value make(Napi::Env env, Disk& disk, const CallbackInfo& info) {
    const Napi::Object options = objectArgument(info, 0);
    const int fd = static_cast<int>(wholeNumber(options, "fd", 0, INT32_MAX));
    const Napi::Value rest = member(options, "rest");
    std::span<const uint8_t> restBytes;
    if (!rest.IsUndefined()) restBytes = bytes(env, rest, "rest");
    const bool readOnly = boolean(options, "readOnly", false);

    Instance& instance = instanceOf(env);
    const auto deferred = Napi::Promise::Deferred::New(env);
    Napi::Object object = instance.connection.New({});
    object.Set("ended", deferred.Promise());
    Unwrap(object)->connection_ = disk.serve(fd, restBytes, readOnly, [&js = instance.js, deferred](const auto& end) {
      js.post([&js, deferred, end](Napi::Env env) {
        js.settled(env);
        Napi::Object result = Napi::Object::New(env);
        result.Set("reason", nameOf(end.reason));
        result.Set("detail", end.detail);
        deferred.Resolve(result);
      });
    });
    instance.js.await(env);
    return object;
  }

 private:
  void close(const CallbackInfo&) {
    if (connection_) connection_->close();
  }

  std::shared_ptr<Connection> connection_;
};

// --- Disk

class CloseDisk final : public Napi::AsyncWorker {
 public:
  CloseDisk(Napi::Env env, std::shared_ptr<Disk> disk)
      : AsyncWorker(env), deferred(Napi::Promise::Deferred::New(env)), disk_(std::move(disk)) {}

  const Napi::Promise::Deferred deferred;

 protected:
  void Execute() override { error_ = disk_->close(); }
  void OnOK() override {
    instanceOf(Env()).disks.erase(disk_);
    if (error_ == 0) return deferred.Resolve(Env().Undefined());
    deferred.Reject(coded(Env(), "sync of the disk's file", errnoName(error_)).Value());
  }

 private:
  const std::shared_ptr<Disk> disk_;
  int error_ = 0;
};

class DiskHandle final : public Napi::ObjectWrap<DiskHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "EngineDisk",
        {InstanceAccessor<&DiskHandle::gate>("gate"), InstanceMethod<&DiskHandle::goLive>("goLive"),
         InstanceMethod<&DiskHandle::hang>("hang"), InstanceMethod<&DiskHandle::fail>("fail"),
         InstanceMethod<&DiskHandle::serve>("serve"), InstanceMethod<&DiskHandle::stats>("stats"),
         InstanceMethod<&DiskHandle::close>("close")});
  }

  explicit DiskHandle(const CallbackInfo& info) : ObjectWrap(info) {}

  static Napi::Value open(const CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const Napi::Object from = objectArgument(info, 0);
      DiskOptions options;
      options.path = text(from, "path");
      options.geometry.offsetBytes = unsigned64(from, "offsetBytes");
      options.geometry.sizeBytes = unsigned64(from, "sizeBytes");
      options.geometry.sectorBytes = static_cast<uint32_t>(wholeNumber(from, "sectorSize", 512, 4096));
      options.readOnly = boolean(from, "readOnly", false);
      options.direct = boolean(from, "direct", false);
      std::shared_ptr<Disk> disk = Disk::open(options);
      Instance& instance = instanceOf(info.Env());
      Napi::Object object = instance.disk.New({});
      instance.disks.insert(disk);
      Unwrap(object)->disk_ = std::move(disk);
      return object;
    });
  }

 private:
  Disk& disk(Napi::Env env) const {
    if (!disk_) invalid(env, "the disk is closed");
    return *disk_;
  }

  Napi::Value gate(const CallbackInfo& info) {
    if (!disk_) return Napi::String::New(info.Env(), "failed");
    switch (disk_->gate().state()) {
      case Gate::State::live:
        return Napi::String::New(info.Env(), "live");
      case Gate::State::hung:
        return Napi::String::New(info.Env(), "hung");
      case Gate::State::failed:
        break;
    }
    return Napi::String::New(info.Env(), "failed");
  }

  void goLive(const CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const Napi::Object object = objectArgument(info, 0);
      if (!object.InstanceOf(instanceOf(info.Env()).dataKey.Value())) invalid(info.Env(), "a DataKey is expected");
      disk(info.Env()).goLive(XtsKey(DataKeyHandle::Unwrap(object)->key(info.Env())));
    });
  }

  Napi::Value hang(const CallbackInfo& info) { return shut(info.Env(), Gate::State::hung); }
  Napi::Value fail(const CallbackInfo& info) { return shut(info.Env(), Gate::State::failed); }

  // Returns at once; the promise settles when the key is wiped.
  Napi::Value shut(Napi::Env env, Gate::State to) {
    Disk& from = disk(env);
    JsThread& js = instanceOf(env).js;
    const auto deferred = Napi::Promise::Deferred::New(env);
    js.await(env);
    from.shut(to, [&js, deferred] {
      js.post([&js, deferred](Napi::Env env) {
        js.settled(env);
        deferred.Resolve(env.Undefined());
      });
    });
    return deferred.Promise();
  }

  Napi::Value serve(const CallbackInfo& info) {
    return guarded(info.Env(), [&] { return ConnectionHandle::make(info.Env(), disk(info.Env()), info); });
  }

  Napi::Value stats(const CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const DiskCounters& counters = disk(env).counters();
    Napi::Object stats = Napi::Object::New(env);
    stats.Set("reads", Napi::BigInt::New(env, counters.reads.load()));
    stats.Set("readBytes", Napi::BigInt::New(env, counters.readBytes.load()));
    stats.Set("writes", Napi::BigInt::New(env, counters.writes.load()));
    stats.Set("writtenBytes", Napi::BigInt::New(env, counters.writtenBytes.load()));
    stats.Set("flushes", Napi::BigInt::New(env, counters.flushes.load()));
    stats.Set("parked", Napi::Number::New(env, static_cast<double>(counters.parked.load())));
    stats.Set("inFlight", Napi::Number::New(env, static_cast<double>(counters.inFlight.load())));
    stats.Set("connections", Napi::Number::New(env, static_cast<double>(counters.connections.load())));
    return stats;
  }

  Napi::Value close(const CallbackInfo& info) {
    if (!closed_) {
      auto* worker = new CloseDisk(info.Env(), std::exchange(disk_, nullptr));
      closed_ = Napi::Persistent(worker->deferred.Promise().As<Napi::Object>());
      worker->Queue();
    }
    return closed_.Value();
  }

  std::shared_ptr<Disk> disk_;
  Napi::ObjectReference closed_;  // the promise of close(), for those who call it again
};

// --- process and sockets

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
    for (const int fd : fds) {
      for (const int buffer : {SO_SNDBUF, SO_RCVBUF}) {
        // Beyond the system's maximum for those who may, up to it for the rest.
        const int forced = buffer == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
        if (setsockopt(fd, SOL_SOCKET, forced, &kSocketPairBytes, sizeof kSocketPairBytes) != 0)
          setsockopt(fd, SOL_SOCKET, buffer, &kSocketPairBytes, sizeof kSocketPairBytes);
      }
    }
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

// --- the kernel's nbd devices

NbdDeviceConfig deviceConfig(const CallbackInfo& info, bool indexNeeded) {
  // linux/nbd.h; a flag that a kernel does not know is ignored by it.
  constexpr uint64_t kHasFlags = 1, kReadOnly = 2, kFlush = 4, kFua = 8, kTrim = 32, kWriteZeroes = 64, kMultiConn = 256;
  const Napi::Object options = objectArgument(info, 0);
  NbdDeviceConfig config{};
  if (indexNeeded || !member(options, "index").IsUndefined())
    config.index = static_cast<uint32_t>(wholeNumber(options, "index", 0, INT32_MAX));
  config.socketFd = static_cast<int>(wholeNumber(options, "fd", 0, INT32_MAX));
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

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance(env);
  env.SetInstanceData(instance);  // freed after the hook below has run
  env.AddCleanupHook([instance] {
    for (const auto& disk : instance->disks) disk->close();
  });
  instance->dataKey = Napi::Persistent(DataKeyHandle::define(env));
  instance->disk = Napi::Persistent(DiskHandle::define(env));
  instance->connection = Napi::Persistent(ConnectionHandle::define(env));

  exports.Set("selfTest", Napi::Function::New<selfTest>(env));
  exports.Set("takeDataKey", Napi::Function::New<DataKeyHandle::take>(env));
  exports.Set("openDisk", Napi::Function::New<DiskHandle::open>(env));
  exports.Set("socketPair", Napi::Function::New<socketPair>(env));
  exports.Set("closeFd", Napi::Function::New<closeFd>(env));
  exports.Set("setIoFlusher", Napi::Function::New<setIoFlusher>(env));
  exports.Set("protectProcess", Napi::Function::New<protectProcess>(env));
  exports.Set("nbdConnect", Napi::Function::New<connectDevice>(env));
  exports.Set("nbdReconfigure", Napi::Function::New<reconfigureDevice>(env));
  exports.Set("nbdDisconnect", Napi::Function::New<disconnectDevice>(env));
  exports.Set("nbdStatus", Napi::Function::New<deviceStatus>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(sealdisk, init)

}  // namespace sealdisk
