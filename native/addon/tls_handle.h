// TlsContext and TlsSession as JavaScript holds them. JS thread.
//
// A session serves the handshake here; Disk.serve takes it out of its handle, which refuses from then on.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "addon/glue.h"
#include "addon/instance.h"
#include "crypto/secure_memory.h"
#include "tls/context.h"
#include "tls/refused.h"
#include "tls/session.h"

namespace sealdisk {

class TlsSessionHandle final : public Napi::ObjectWrap<TlsSessionHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "TlsSession",
                       {InstanceMethod<&TlsSessionHandle::feed>("feed"), InstanceMethod<&TlsSessionHandle::write>("write"),
                        InstanceAccessor<&TlsSessionHandle::clientName>("clientName"),
                        InstanceMethod<&TlsSessionHandle::end>("end"), InstanceMethod<&TlsSessionHandle::close>("close")});
  }

  explicit TlsSessionHandle(const CallbackInfo& info) : ObjectWrap(info) {}

  static Napi::Value make(Napi::Env env, std::shared_ptr<const TlsContext> context) {
    auto session = std::make_shared<TlsSession>(std::move(context));
    Napi::Object object = instanceOf(env).tlsSession.New({});
    Unwrap(object)->session_ = std::move(session);
    return object;
  }

  // Out of the handle, when its handshake is done.
  static std::shared_ptr<TlsSession> takeFrom(Napi::Env env, const Napi::Value& value) {
    if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf(instanceOf(env).tlsSession.Value()))
      invalid(env, "tls is not a TlsSession");
    TlsSessionHandle* const handle = Unwrap(value.As<Napi::Object>());
    if (!handle->session(env).established()) invalid(env, "the TLS handshake is not done");
    return std::move(handle->session_);
  }

 private:
  TlsSession& session(Napi::Env env) const {
    if (!session_) invalid(env, "the TLS session is closed, or the engine's");
    return *session_;
  }

  static Napi::Value outputOf(Napi::Env env, TlsSession& session) {
    const auto output = session.output();
    const Napi::Value copy = Napi::Buffer<uint8_t>::Copy(env, output.data(), output.size());
    session.sent(output.size());
    return copy;
  }

  [[noreturn]] static void throwFault(Napi::Env env, const TlsSession& session) {
    throw coded(env, session.fault(), "TLS_PEER");
  }

  // All plaintext that there is; it is told whether the client has ended its half.
  static bool readAll(Napi::Env env, TlsSession& session, std::vector<uint8_t>& plaintext) {
    for (;;) {
      const size_t before = plaintext.size();
      plaintext.resize(before + kTlsRecordBytes);
      const auto [progress, bytes] = session.read({plaintext.data() + before, kTlsRecordBytes});
      plaintext.resize(before + bytes);
      if (progress == TlsSession::Progress::broken) throwFault(env, session);
      if (progress != TlsSession::Progress::some) return progress == TlsSession::Progress::closed;
    }
  }

  Napi::Value feed(const CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&]() -> Napi::Value {
      TlsSession& session = this->session(env);
      std::span<const uint8_t> ciphertext = bytes(env, info[0], "ciphertext");
      std::vector<uint8_t> plaintext;
      bool closed = false;
      do {
        const auto room = session.room();
        const size_t part = std::min(room.size(), ciphertext.size());
        std::copy_n(ciphertext.begin(), part, room.begin());
        session.filled(part);
        ciphertext = ciphertext.subspan(part);
        closed = readAll(env, session, plaintext);
      } while (!closed && !ciphertext.empty());
      Napi::Object progress = Napi::Object::New(env);
      progress.Set("plaintext", Napi::Buffer<uint8_t>::Copy(env, plaintext.data(), plaintext.size()));
      progress.Set("output", outputOf(env, session));
      progress.Set("established", session.established());
      progress.Set("closed", closed);
      wipe(plaintext.data(), plaintext.size());
      return progress;
    });
  }

  Napi::Value write(const CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&]() -> Napi::Value {
      TlsSession& session = this->session(env);
      if (!session.established()) invalid(env, "the TLS handshake is not done");
      std::span<const uint8_t> plaintext = bytes(env, info[0], "plaintext");
      std::vector<uint8_t> ciphertext;
      while (!plaintext.empty()) {
        const auto record = plaintext.first(std::min(plaintext.size(), kTlsRecordBytes));
        if (session.write(record) == TlsSession::Progress::broken) throwFault(env, session);
        const auto output = session.output();
        ciphertext.insert(ciphertext.end(), output.begin(), output.end());
        session.sent(output.size());
        plaintext = plaintext.subspan(record.size());
      }
      return Napi::Buffer<uint8_t>::Copy(env, ciphertext.data(), ciphertext.size());
    });
  }

  Napi::Value clientName(const CallbackInfo& info) {
    const auto name = session_ ? session_->clientName() : std::nullopt;
    return name ? Napi::String::New(info.Env(), *name) : info.Env().Undefined();
  }

  // The last words: an alert that is still to be sent, or close_notify. Empty when the session is not here any more.
  Napi::Value end(const CallbackInfo& info) {
    if (!session_) return Napi::Buffer<uint8_t>::New(info.Env(), 0);
    session_->close();
    return outputOf(info.Env(), *session_);
  }

  void close(const CallbackInfo&) { session_.reset(); }

  std::shared_ptr<TlsSession> session_;
};

class TlsContextHandle final : public Napi::ObjectWrap<TlsContextHandle> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "TlsContext",
                       {InstanceMethod<&TlsContextHandle::accept>("accept"),
                        InstanceMethod<&TlsContextHandle::close>("close")});
  }

  explicit TlsContextHandle(const CallbackInfo& info) : ObjectWrap(info) {}

  // Overwrites the private key and the pre-shared keys that it is given, whatever comes of it.
  static Napi::Value open(const CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&]() -> Napi::Value {
      const Napi::Object from = objectArgument(info, 0);
      const std::span<uint8_t> key = optionalBytes(from, "privateKey"), psk = optionalBytes(from, "psk");
      const Overwritten overwritten[] = {{key}, {psk}};
      try {
        const TlsOptions options{optionalBytes(from, "certificate"), key, optionalBytes(from, "clientCa"),
                                 boolean(from, "verifyClient", false), psk, minimumOf(from)};
        auto context = std::make_shared<const TlsContext>(options);
        Napi::Object object = instanceOf(env).tlsContext.New({});
        Unwrap(object)->context_ = std::move(context);
        return object;
      } catch (const TlsRefused& refused) {
        Napi::Error error = coded(env, refused.what(), refused.code);
        error.Set("found", refused.found);
        error.Set("expected", refused.expected);
        throw error;
      }
    });
  }

 private:
  struct Overwritten {
    std::span<uint8_t> secret;
    ~Overwritten() {
      if (!secret.empty()) wipe(secret.data(), secret.size());
    }
  };

  static std::span<uint8_t> optionalBytes(const Napi::Object& from, const char* name) {
    const Napi::Value value = member(from, name);
    return value.IsUndefined() ? std::span<uint8_t>() : bytes(from.Env(), value, name);
  }

  static int minimumOf(const Napi::Object& from) {
    const std::string minimum = text(from, "minimum");
    if (minimum == "1.2") return TLS1_2_VERSION;
    if (minimum != "1.3") invalid(from.Env(), "minimum is neither 1.2 nor 1.3");
    return TLS1_3_VERSION;
  }

  Napi::Value accept(const CallbackInfo& info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
      if (!context_) invalid(info.Env(), "the TLS context is closed");
      return TlsSessionHandle::make(info.Env(), context_);
    });
  }

  void close(const CallbackInfo&) { context_.reset(); }

  std::shared_ptr<const TlsContext> context_;
};

}  // namespace sealdisk
