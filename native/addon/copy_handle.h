// Clones and copies of a disk's file, as JavaScript starts and holds them. JS thread, but for CloneDisk's work and what JsThread
// brings back.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "addon/glue.h"
#include "addon/instance.h"
#include "engine/copy_out.h"
#include "engine/disk.h"

namespace sealdisk {

inline Napi::Value milliseconds(Napi::Env env, uint64_t ns) { return Napi::Number::New(env, static_cast<double>(ns) / 1e6); }

class CloneDisk final : public Napi::AsyncWorker {
 public:
  CloneDisk(Napi::Env env, std::shared_ptr<Disk> disk, std::string path)
      : AsyncWorker(env), deferred(Napi::Promise::Deferred::New(env)), disk_(std::move(disk)), path_(std::move(path)) {}

  const Napi::Promise::Deferred deferred;

 protected:
  void Execute() override {
    try {
      heldNs_ = disk_->clone(path_);
    } catch (const std::system_error& error) {
      error_ = error.code().value();
    }
  }
  void OnOK() override {
    if (error_ != 0) return deferred.Reject(coded(Env(), "clone of the disk's file", errnoName(error_)).Value());
    deferred.Resolve(milliseconds(Env(), heldNs_));
  }

 private:
  const std::shared_ptr<Disk> disk_;
  const std::string path_;
  uint64_t heldNs_ = 0;
  int error_ = 0;
};

class CopyHandle final : public Napi::ObjectWrap<CopyHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Copy",
                       {InstanceMethod<&CopyHandle::progress>("progress"), InstanceMethod<&CopyHandle::cancel>("cancel")});
  }

  explicit CopyHandle(const CallbackInfo& info) : ObjectWrap(info) {}

  static Napi::Value make(Napi::Env env, Disk& disk, const CallbackInfo& info) {
    const Napi::Object options = objectArgument(info, 0);
    Instance& instance = instanceOf(env);
    const auto begun = Napi::Promise::Deferred::New(env), done = Napi::Promise::Deferred::New(env);
    Napi::Object object = instance.copy.New({});
    object.Set("begun", begun.Promise());
    object.Set("done", done.Promise());
    JsThread& js = instance.js;
    const auto hasBegun = std::make_shared<bool>(false);  // a promise settles once; JS thread
    Unwrap(object)->copy_ = disk.copy(
        {text(options, "path"), text(options, "bitmapPath"), boolean(options, "resume", false)},
        [&js, begun, hasBegun](uint64_t heldNs) {
          js.post([begun, hasBegun, heldNs](Napi::Env env) {
            *hasBegun = true;
            begun.Resolve(milliseconds(env, heldNs));
          });
        },
        [&js, begun, hasBegun, done](int error) {
          js.post([&js, begun, hasBegun, done, error](Napi::Env env) {
            js.settled(env);
            if (error == 0) return done.Resolve(env.Undefined());
            const Napi::Value failure = coded(env, "copy of the disk's file", errnoName(error)).Value();
            if (!*hasBegun) begun.Reject(failure);
            done.Reject(failure);
          });
        });
    js.await(env);
    return object;
  }

 private:
  Napi::Value progress(const CallbackInfo& info) {
    const CopyOut::Progress progress = copy_ ? copy_->progress() : CopyOut::Progress{0, 0};
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("copiedBytes", Napi::BigInt::New(info.Env(), progress.copiedBytes));
    result.Set("totalBytes", Napi::BigInt::New(info.Env(), progress.totalBytes));
    return result;
  }

  void cancel(const CallbackInfo&) {
    if (copy_) copy_->cancel();
  }

  std::shared_ptr<CopyOut> copy_;
};

}  // namespace sealdisk
