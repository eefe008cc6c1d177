#include "engine/request.h"

#include <cerrno>

#include "engine/limits.h"
#include "engine/wire.h"

namespace sealdisk {

namespace {

bool known(Command command) noexcept {
  switch (command) {
    case Command::read:
    case Command::write:
    case Command::disconnect:
    case Command::flush:
    case Command::trim:
    case Command::cache:
    case Command::writeZeroes:
    case Command::blockStatus:
      return true;
  }
  return false;
}

// FUA is allowed everywhere, also where it means nothing (proto.md, "Command flags").
uint16_t flagsOf(Command command, const Negotiated& negotiated) noexcept {
  const bool structured = negotiated.replies != Replies::simple;
  const uint16_t payload = negotiated.replies == Replies::extended ? kFlagPayloadLength : 0;
  switch (command) {
    case Command::read:
      return kFlagFua | (structured ? kFlagDontFragment : 0);
    case Command::write:
      return kFlagFua | payload;
    case Command::writeZeroes:
      return kFlagFua | kFlagNoHole | kFlagFastZero;
    case Command::blockStatus:
      return kFlagFua | kFlagRequestOne | payload;
    case Command::disconnect:
    case Command::flush:
    case Command::trim:
    case Command::cache:
      break;
  }
  return kFlagFua;
}

using Verdict = std::optional<Refusal>;

Verdict refuse(NbdErrno error, const char* rule, uint64_t found, uint64_t limit) noexcept {
  return Refusal{error, rule, found, limit};
}

Verdict checkStatus(const Request& request, const Negotiated& negotiated) noexcept {
  if (negotiated.contexts() == 0) return refuse(NbdErrno::inval, "a metadata context was negotiated", 0, 1);
  const uint64_t longest = kStatusPayloadBytes + 4 * negotiated.contexts();
  const bool fits = request.payloadBytes > kStatusPayloadBytes && request.payloadBytes <= longest;
  if (request.payloadBytes && (!fits || request.payloadBytes % 4))
    return refuse(NbdErrno::inval, "payload names negotiated contexts", request.payloadBytes, longest);
  return std::nullopt;
}

Verdict checkRange(const Request& request, uint64_t sizeBytes) noexcept {
  if (request.length == 0) return refuse(NbdErrno::inval, "length is not zero", 0, 1);
  if (request.command == Command::read && request.length > kServedMaxBytes)
    return refuse(NbdErrno::inval, "read is no longer than served", request.length, kServedMaxBytes);
  if (request.command == Command::write && request.length > kServedMaxBytes)
    return refuse(NbdErrno::inval, "write is no longer than served", request.length, kServedMaxBytes);
  if (inside(request.offset, request.length, sizeBytes)) return std::nullopt;
  const bool grows = request.command == Command::write || request.command == Command::writeZeroes;
  // proto.md asks for ENOSPC of these two
  return refuse(grows ? NbdErrno::nospc : NbdErrno::inval, "request ends inside the export", request.offset, sizeBytes);
}

bool changes(Command command) noexcept {
  return command == Command::write || command == Command::trim || command == Command::writeZeroes;
}

}  // namespace

std::optional<Request> parse(const uint8_t* wire, const Negotiated& negotiated) noexcept {
  const bool extended = negotiated.replies == Replies::extended;
  if (loadBig<uint32_t>(wire) != (extended ? kExtendedRequestMagic : kRequestMagic)) return std::nullopt;
  Request request;
  request.flags = loadBig<uint16_t>(wire + 4);
  request.command = static_cast<Command>(loadBig<uint16_t>(wire + 6));
  request.cookie = loadRaw<uint64_t>(wire + 8);  // opaque: sent back as it came
  request.offset = loadBig<uint64_t>(wire + 16);
  request.length = extended ? loadBig<uint64_t>(wire + 24) : loadBig<uint32_t>(wire + 24);
  const bool payload = extended ? request.has(kFlagPayloadLength) : request.command == Command::write;
  request.payloadBytes = payload ? request.length : 0;
  return request;
}

bool inside(uint64_t offset, uint64_t length, uint64_t sizeBytes) noexcept {
  return offset <= sizeBytes && length <= sizeBytes - offset;
}

Verdict check(const Request& request, const Negotiated& negotiated, uint64_t sizeBytes) noexcept {
  const Command command = request.command;
  const auto number = static_cast<uint64_t>(command);
  if (!known(command))
    return refuse(NbdErrno::inval, "command is known", number, static_cast<uint64_t>(Command::blockStatus));
  if (command == Command::disconnect) return std::nullopt;
  const uint16_t allowed = flagsOf(command, negotiated);
  if (request.flags & ~allowed)
    return refuse(NbdErrno::inval, "flags are known to the command", request.flags, allowed);
  if (command == Command::flush) {
    if (request.offset || request.length)
      return refuse(NbdErrno::inval, "flush has neither offset nor length", request.offset | request.length, 0);
    return std::nullopt;
  }
  if (command == Command::blockStatus) {
    if (const Verdict refusal = checkStatus(request, negotiated)) return refusal;
    if (request.payloadBytes) return std::nullopt;  // the range stands in it
  }
  if (changes(command) && negotiated.readOnly) return refuse(NbdErrno::perm, "export is writable", number, 0);
  if (command == Command::write && request.payloadBytes != request.length)
    return refuse(NbdErrno::inval, "write has a payload", request.flags, kFlagPayloadLength);
  if (const Verdict refusal = checkRange(request, sizeBytes)) return refusal;
  if (request.has(kFlagFastZero) && !negotiated.discards)  // zeros are encrypted and written: no faster than a write
    return refuse(NbdErrno::notsup, "zeroing is not asked to be fast", request.flags, kFlagFua | kFlagNoHole);
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
