// DataKey as JavaScript holds it: a name for bytes that it never sees. JS thread, but for Pbkdf2's work.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "addon/glue.h"
#include "addon/instance.h"
#include "crypto/data_key.h"

namespace sealdisk {

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

  // On the JS thread: its iterations are few.
  static Napi::Value pbkdf2Of(const CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      const Napi::Env env = info.Env();
      const Napi::Object options = objectArgument(info, 0);
      const Napi::Value given = member(options, "keys");
      if (!given.IsArray()) invalid(env, "keys is not an array");
      std::vector<const DataKey*> keys;
      for (uint32_t i = 0; i < given.As<Napi::Array>().Length(); ++i) {
        const Napi::Value key = given.As<Napi::Array>().Get(i);
        if (!key.IsObject() || !key.As<Napi::Object>().InstanceOf(instanceOf(env).dataKey.Value()))
          invalid(env, "keys holds something else");
        keys.push_back(&Unwrap(key.As<Napi::Object>())->key(env));
      }
      std::vector<uint8_t> out(static_cast<size_t>(wholeNumber(options, "lengthBytes", 1, 64 * 1024)));
      const auto iterations = static_cast<uint32_t>(wholeNumber(options, "iterations", 1, 100'000));
      DataKey::pbkdf2Sha256Of(bytes(env, member(options, "before"), "before"), keys, bytes(env, member(options, "after"), "after"),
                              bytes(env, member(options, "salt"), "salt"), iterations, out);
      return Napi::Buffer<uint8_t>::Copy(env, out.data(), out.size());
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

}  // namespace sealdisk
