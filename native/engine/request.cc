#include "engine/request.h"

#include <endian.h>

#include <cerrno>
#include <cstring>

#include "engine/limits.h"

namespace sealdisk {

namespace {

template <typename T>
T load(const uint8_t* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

bool known(Command command) noexcept {
  switch (command) {
    case Command::read:
    case Command::write:
    case Command::disconnect:
    case Command::flush:
    case Command::trim:
    case Command::writeZeroes:
      return true;
    case Command::cache:  // never announced
      return false;
  }
  return false;
}

}  // namespace

std::optional<Request> parse(std::span<const uint8_t, kRequestBytes> wire) noexcept {
  if (be32toh(load<uint32_t>(&wire[0])) != kRequestMagic) return std::nullopt;
  Request request;
  request.flags = be16toh(load<uint16_t>(&wire[4]));
  request.command = static_cast<Command>(be16toh(load<uint16_t>(&wire[6])));
  request.cookie = load<uint64_t>(&wire[8]);  // opaque: sent back as it came
  request.offset = be64toh(load<uint64_t>(&wire[16]));
  request.length = be32toh(load<uint32_t>(&wire[24]));
  return request;
}

std::optional<Refusal> check(const Request& request, const Negotiated& negotiated, uint64_t sizeBytes) noexcept {
  const auto refuse = [](NbdErrno error, const char* rule, uint64_t found, uint64_t limit) {
    return std::optional<Refusal>(Refusal{error, rule, found, limit});
  };
  const uint64_t command = static_cast<uint64_t>(request.command);
  if (!known(request.command)) return refuse(NbdErrno::inval, "command is known", command, 6);

  if (request.command == Command::disconnect) return std::nullopt;
  const bool zeroes = request.command == Command::writeZeroes;
  const uint16_t allowed = kFlagFua | (zeroes ? kFlagNoHole | kFlagFastZero : 0);
  if (request.flags & ~allowed)
    return refuse(NbdErrno::inval, "flags are known to the command", request.flags, allowed);

  if (request.command == Command::flush) {
    if (request.offset || request.length)
      return refuse(NbdErrno::inval, "flush has neither offset nor length", request.offset | request.length, 0);
    return std::nullopt;
  }

  const bool writes = request.command != Command::read;
  if (writes && negotiated.readOnly) return refuse(NbdErrno::perm, "export is writable", command, 0);
  if (request.length == 0) return refuse(NbdErrno::inval, "length is not zero", 0, 1);
  if (request.command == Command::read && request.length > kServedMaxBytes)
    return refuse(NbdErrno::inval, "read is no longer than served", request.length, kServedMaxBytes);
  if (request.command == Command::write && request.length > kServedMaxBytes)
    return refuse(NbdErrno::inval, "write is no longer than served", request.length, kServedMaxBytes);
  if (request.offset > sizeBytes || request.length > sizeBytes - request.offset) {
    const bool grows = request.command == Command::write || zeroes;  // proto.md asks for ENOSPC of these two
    return refuse(grows ? NbdErrno::nospc : NbdErrno::inval, "request ends inside the export", request.offset,
                  sizeBytes);
  }
  if (request.flags & kFlagFastZero)  // zeros are encrypted and written: never faster than a write
    return refuse(NbdErrno::notsup, "zeroing is not asked to be fast", request.flags, allowed);
  return std::nullopt;
}

NbdErrno onWire(int error) noexcept {
  switch (error) {
    case 0:
      return NbdErrno::ok;
    case EPERM:
    case EROFS:
    case EACCES:
      return NbdErrno::perm;
    case ENOMEM:
      return NbdErrno::nomem;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return NbdErrno::nospc;
    case EOPNOTSUPP:
      return NbdErrno::notsup;
    default:  // also EINVAL of the backing file: the peer's request was in order
      return NbdErrno::io;
  }
}

}  // namespace sealdisk
