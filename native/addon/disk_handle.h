// EngineDisk and Connection as JavaScript holds them. JS thread, but for CloseDisk's work and what JsThread brings back.
#pragma once

#include <memory>
#include <utility>

#include "addon/copy_handle.h"
#include "addon/data_key_handle.h"
#include "addon/glue.h"
#include "addon/instance.h"
#include "addon/tls_handle.h"
#include "crypto/xts.h"
#include "engine/connection.h"
#include "engine/disk.h"
#include "tls/channel.h"

namespace sealdisk {

inline const char* nameOf(ConnectionEnd::Reason reason) noexcept {
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

// The id of a metadata context; 0 when it was not negotiated.
inline uint32_t contextId(const Napi::Object& contexts, const char* name) {
  if (member(contexts, name).IsUndefined()) return 0;
  return static_cast<uint32_t>(wholeNumber(contexts, name, 1, UINT32_MAX));
}

inline Negotiated negotiatedOf(const Napi::Object& options) {
  Negotiated negotiated;
  negotiated.readOnly = boolean(options, "readOnly", false);
  if (!member(options, "replies").IsUndefined()) {
    const std::string replies = text(options, "replies");
    if (replies == "structured") {
      negotiated.replies = Replies::structured;
    } else if (replies == "extended") {
      negotiated.replies = Replies::extended;
    } else if (replies != "simple") {
      invalid(options.Env(), "replies is none of simple, structured, extended");
    }
  }
  const Napi::Value contexts = member(options, "contexts");
  if (contexts.IsUndefined()) return negotiated;
  if (!contexts.IsObject()) invalid(options.Env(), "contexts is not an object");
  negotiated.allocationId = contextId(contexts.As<Napi::Object>(), "allocation");
  negotiated.keyStateId = contextId(contexts.As<Napi::Object>(), "keyState");
  negotiated.changedId = contextId(contexts.As<Napi::Object>(), "changed");
  if (negotiated.contexts() && negotiated.replies == Replies::simple)
    invalid(options.Env(), "contexts need structured replies");
  return negotiated;
}

// Begins and ends of ranges by turns, each beyond the one before.
inline std::vector<ChangedRange> extentsOf(const Napi::Object& options, const char* name) {
  const Napi::Value value = member(options, name);
  if (value.IsUndefined()) return {};
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_biguint64_array)
    invalid(options.Env(), std::string(name) + " is not a BigUint64Array");
  const auto bounds = value.As<Napi::BigUint64Array>();
  if (bounds.ElementLength() % 2) invalid(options.Env(), std::string(name) + " has a range without an end");
  std::vector<ChangedRange> extents(bounds.ElementLength() / 2);
  for (size_t i = 0; i < extents.size(); ++i) {
    extents[i] = {bounds[2 * i], bounds[2 * i + 1]};
    if (extents[i].end <= extents[i].begin || (i && extents[i].begin < extents[i - 1].end))
      invalid(options.Env(), std::string(name) + " is not in order");
  }
  return extents;
}

class ConnectionHandle final : public Napi::ObjectWrap<ConnectionHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Connection",
                       {InstanceMethod<&ConnectionHandle::activity>("activity"),
                        InstanceMethod<&ConnectionHandle::drain>("drain"),
                        InstanceMethod<&ConnectionHandle::close>("close")});
  }

  explicit ConnectionHandle(const CallbackInfo& info) : ObjectWrap(info) {}

  static Napi::Value make(Napi::Env env, Disk& disk, const CallbackInfo& info) {
    const Napi::Object options = objectArgument(info, 0);
    ConnectionOptions served;
    served.socketFd = static_cast<int>(wholeNumber(options, "fd", 0, INT32_MAX));
    const Napi::Value rest = member(options, "rest");
    if (!rest.IsUndefined()) served.rest = bytes(env, rest, "rest");
    served.negotiated = negotiatedOf(options);
    const Napi::Value tls = member(options, "tls");
    if (!tls.IsUndefined())
      served.channel = [session = TlsSessionHandle::takeFrom(env, tls)](int fd) { return makeTlsChannel(fd, session); };

    Instance& instance = instanceOf(env);
    const auto deferred = Napi::Promise::Deferred::New(env);
    Napi::Object object = instance.connection.New({});
    object.Set("ended", deferred.Promise());
    Unwrap(object)->connection_ = disk.serve(std::move(served), [&js = instance.js, deferred](const auto& end) {
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
  Napi::Value activity(const CallbackInfo& info) {
    const ConnectionActivity activity = connection_ ? connection_->activity() : ConnectionActivity{0, 0};
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("requests", Napi::BigInt::New(info.Env(), activity.events));
    result.Set("waiting", Napi::Number::New(info.Env(), static_cast<double>(activity.waiting)));
    return result;
  }

  void drain(const CallbackInfo&) {
    if (connection_) connection_->drain();
  }

  void close(const CallbackInfo&) {
    if (connection_) connection_->close();
  }

  std::shared_ptr<Connection> connection_;
};

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
         InstanceMethod<&DiskHandle::hold>("hold"), InstanceMethod<&DiskHandle::release>("release"),
         InstanceMethod<&DiskHandle::clone>("cloneTo"), InstanceMethod<&DiskHandle::copy>("copyTo"),
         InstanceMethod<&DiskHandle::resize>("resize"), InstanceMethod<&DiskHandle::serve>("serve"), InstanceMethod<&DiskHandle::stats>("stats"),
         InstanceMethod<&DiskHandle::close>("close")});
  }

  explicit DiskHandle(const CallbackInfo& info) : ObjectWrap(info) {}

  static Napi::Value open(const CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const Napi::Object from = objectArgument(info, 0);
      DiskOptions options;
      options.path = text(from, "path");
      options.geometry.offsetBytes = unsigned64(from, "offsetBytes");
      options.sizeBytes = unsigned64(from, "sizeBytes");
      options.geometry.sectorBytes = static_cast<uint32_t>(wholeNumber(from, "sectorSize", 512, 4096));
      options.readOnly = boolean(from, "readOnly", false);
      options.direct = boolean(from, "direct", false);
      options.holes = boolean(from, "holes", false);
      options.discard = boolean(from, "discard", false);
      options.plain = boolean(from, "plain", false);
      options.changed = extentsOf(from, "changed");
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
      if (info.Length() == 0 || info[0].IsUndefined()) return disk(info.Env()).goLive(XtsKey());
      const Napi::Object object = objectArgument(info, 0);
      if (!object.InstanceOf(instanceOf(info.Env()).dataKey.Value())) invalid(info.Env(), "a DataKey is expected");
      disk(info.Env()).goLive(XtsKey(DataKeyHandle::Unwrap(object)->key(info.Env())));
    });
  }

  Napi::Value hang(const CallbackInfo& info) { return shut(info.Env(), Gate::State::hung); }
  Napi::Value fail(const CallbackInfo& info) { return shut(info.Env(), Gate::State::failed); }

  void resize(const CallbackInfo& info) {
    guarded(info.Env(), [&] {
      const Napi::Value size = info.Length() ? info[0] : info.Env().Undefined();
      disk(info.Env()).resize(unsigned64(info.Env(), size, "sizeBytes"));
    });
  }

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

  // Returns at once; the promise settles when no request is in flight.
  Napi::Value hold(const CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Disk& held = disk(env);
    JsThread& js = instanceOf(env).js;
    const auto deferred = Napi::Promise::Deferred::New(env);
    js.await(env);
    ++holds_;
    held.hold([&js, deferred] {
      js.post([&js, deferred](Napi::Env env) {
        js.settled(env);
        deferred.Resolve(env.Undefined());
      });
    });
    return deferred.Promise();
  }

  void release(const CallbackInfo& info) {
    if (holds_ == 0) invalid(info.Env(), "the disk is not held");
    --holds_;
    if (disk_) disk_->release();
  }

  Napi::Value clone(const CallbackInfo& info) {
    const Napi::Object options = objectArgument(info, 0);
    disk(info.Env());
    auto* worker = new CloneDisk(info.Env(), disk_, text(options, "path"));
    worker->Queue();
    return worker->deferred.Promise();
  }

  Napi::Value copy(const CallbackInfo& info) {
    return guarded(info.Env(), [&] { return CopyHandle::make(info.Env(), disk(info.Env()), info); });
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
  size_t holds_ = 0;              // taken by hold() and not released
  Napi::ObjectReference closed_;  // the promise of close(), for those who call it again
};

}  // namespace sealdisk
