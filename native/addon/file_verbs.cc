#include "addon/file_verbs.h"

#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "addon/glue.h"

namespace sealdisk {
namespace {

// The most that the kernel keeps in one attribute is 64 KiB; a label is far smaller.
constexpr size_t kAttributeMaxBytes = 16384;

std::string textArgument(const CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsString()) invalid(info.Env(), std::string(name) + " is not text");
  return info[index].As<Napi::String>();
}

}  // namespace

Napi::Value getAttribute(const CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string path = textArgument(info, 0, "path");
    const std::string name = textArgument(info, 1, "name");
    std::array<char, kAttributeMaxBytes> value;
    const ssize_t bytes = getxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (bytes >= 0) return Napi::Buffer<char>::Copy(info.Env(), value.data(), static_cast<size_t>(bytes));
    if (errno == ENODATA || errno == ENOTSUP) return info.Env().Null();
    failWith(errno, "getxattr");
  });
}

void setAttribute(const CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const std::string path = textArgument(info, 0, "path");
    const std::string name = textArgument(info, 1, "name");
    if (info[2].IsNull()) {
      if (removexattr(path.c_str(), name.c_str()) == 0 || errno == ENODATA || errno == ENOTSUP) return;
      failWith(errno, "removexattr");
    }
    if (!info[2].IsBuffer()) invalid(info.Env(), "value is neither a Buffer nor null");
    const auto value = info[2].As<Napi::Buffer<char>>();
    if (setxattr(path.c_str(), name.c_str(), value.Data(), value.Length(), 0) != 0) failWith(errno, "setxattr");
  });
}

Napi::Value dataRun(const CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int fd = static_cast<int>(wholeNumber(info.Env(), info[0], "fd", 0, INT32_MAX));
    const auto from = static_cast<off_t>(unsigned64(info.Env(), info[1], "fromBytes"));
    off_t begin = lseek(fd, from, SEEK_DATA);
    off_t end = 0;
    if (begin < 0 && errno == ENXIO) return info.Env().Null();
    if (begin < 0 && errno == EINVAL) {
      begin = from;
      end = lseek(fd, 0, SEEK_END);
    } else if (begin >= 0) {
      end = lseek(fd, begin, SEEK_HOLE);
    }
    if (begin < 0 || end < 0) failWith(errno, "lseek");
    if (end <= begin) return info.Env().Null();
    Napi::Array run = Napi::Array::New(info.Env(), 2);
    run.Set(0U, Napi::BigInt::New(info.Env(), static_cast<int64_t>(begin)));
    run.Set(1U, Napi::BigInt::New(info.Env(), static_cast<int64_t>(end)));
    return run;
  });
}

}  // namespace sealdisk
