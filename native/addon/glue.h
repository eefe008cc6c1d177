// What every verb towards JavaScript needs: errors with a code, and arguments that are checked before use.
//
// JS thread. Each getter throws a Napi::Error with code INVALID that names what is wrong.
#pragma once

#include <napi.h>
#include <string.h>

#include <cstdint>
#include <span>
#include <string>
#include <system_error>

#include "engine/disk.h"
#include "netlink/nbd_netlink.h"

namespace sealdisk {

using Napi::CallbackInfo;

inline const char* errnoName(int error) noexcept {
  const char* name = strerrorname_np(error);
  return name ? name : "EUNKNOWN";
}

inline Napi::Error coded(Napi::Env env, const std::string& what, const char* code) {
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

[[noreturn]] inline void failWith(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

[[noreturn]] inline void invalid(Napi::Env env, const std::string& what) { throw coded(env, what, "INVALID"); }

inline Napi::Value member(const Napi::Object& object, const char* name) { return object.Get(name); }

inline Napi::Object objectArgument(const CallbackInfo& info, size_t index) {
  if (info.Length() <= index || !info[index].IsObject()) invalid(info.Env(), "an options object is expected");
  return info[index].As<Napi::Object>();
}

inline uint64_t unsigned64(Napi::Env env, const Napi::Value& value, const char* name) {
  bool lossless = false;
  if (!value.IsBigInt()) invalid(env, std::string(name) + " is not a bigint");
  const uint64_t number = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) invalid(env, std::string(name) + " does not fit in 64 bits");
  return number;
}

inline uint64_t unsigned64(const Napi::Object& object, const char* name) {
  return unsigned64(object.Env(), member(object, name), name);
}

inline int64_t wholeNumber(Napi::Env env, const Napi::Value& value, const char* name, int64_t low, int64_t high) {
  if (!value.IsNumber()) invalid(env, std::string(name) + " is not a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) ||
      number != static_cast<double>(static_cast<int64_t>(number)))
    invalid(env, std::string(name) + " is out of range");
  return static_cast<int64_t>(number);
}

inline int64_t wholeNumber(const Napi::Object& object, const char* name, int64_t low, int64_t high) {
  return wholeNumber(object.Env(), member(object, name), name, low, high);
}

inline bool boolean(const Napi::Object& object, const char* name, bool otherwise) {
  const Napi::Value value = member(object, name);
  if (value.IsUndefined()) return otherwise;
  if (!value.IsBoolean()) invalid(object.Env(), std::string(name) + " is not a boolean");
  return value.As<Napi::Boolean>().Value();
}

inline std::string text(const Napi::Object& object, const char* name) {
  const Napi::Value value = member(object, name);
  if (!value.IsString()) invalid(object.Env(), std::string(name) + " is not a string");
  std::string string = value.As<Napi::String>().Utf8Value();
  if (string.find('\0') != std::string::npos) invalid(object.Env(), std::string(name) + " holds a zero byte");
  return string;
}

inline std::span<uint8_t> bytes(Napi::Env env, const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    invalid(env, std::string(name) + " is not a Uint8Array");
  auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

}  // namespace sealdisk
