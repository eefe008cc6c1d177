// native/engine/request.cc: the wire form of a request, and the rules.
#include "check.h"
#include "engine/limits.h"
#include "engine/request.h"
#include "engine/wire.h"
#include "engine_rig.h"

using sealdisk::Command, sealdisk::NbdErrno, sealdisk::Negotiated, sealdisk::MiB, sealdisk::kServedMaxBytes;
using sealdisk::kFlagFua, sealdisk::kFlagNoHole, sealdisk::kFlagFastZero, sealdisk::kFlagDontFragment;
using sealdisk::kFlagPayloadLength, sealdisk::kFlagRequestOne;
using sealdisk::onWire, sealdisk::parse;

namespace {

constexpr Negotiated kWritable{}, kReadOnly{.readOnly = true}, kDiscards{.discards = true};
constexpr Negotiated kStructured{.replies = sealdisk::Replies::structured, .allocationId = 1};
constexpr Negotiated kExtended{.replies = sealdisk::Replies::extended, .allocationId = 1, .keyStateId = 2};
constexpr uint64_t kSize = 1 * MiB, kHugeSize = uint64_t{1} << 40;

NbdErrno verdict(Command command, uint64_t offset, uint64_t length, uint16_t flags = 0,
                 const Negotiated& negotiated = kWritable, uint64_t sizeBytes = kSize) {
  const bool payload = negotiated.replies == sealdisk::Replies::extended ? flags & sealdisk::kFlagPayloadLength
                                                                          : command == Command::write;
  const auto refusal =
      sealdisk::check({flags, command, 0, offset, length, payload ? length : 0}, negotiated, sizeBytes);
  return refusal ? refusal->errnoOnWire : NbdErrno::ok;
}

}  // namespace

TEST("reads every field of a request from the wire") {
  const rig::Bytes wire = rig::Client::header(Command::writeZeroes, 0x1122334455667788, 0x99aabbcc, 0x0102, 42);
  const auto request = parse(wire.data(), kWritable);
  REQUIRE(request);
  CHECK(request->command == Command::writeZeroes);
  CHECK_EQ(request->offset, 0x1122334455667788u);
  CHECK_EQ(request->length, 0x99aabbccu);
  CHECK_EQ(request->flags, 0x0102);
  CHECK_EQ(be64toh(request->cookie), 42u);
}

TEST("takes no request with another magic") {
  rig::Bytes wire = rig::Client::header(Command::read, 0, 512);
  for (size_t byte = 0; byte < 4; ++byte) {
    wire[byte] ^= 1;
    CHECK(!parse(wire.data(), kWritable));
    wire[byte] ^= 1;
  }
}

TEST("allows what is inside the disk, to its last byte") {
  for (const Command command : {Command::read, Command::write, Command::trim, Command::writeZeroes}) {
    CHECK(verdict(command, 0, 1) == NbdErrno::ok);
    CHECK(verdict(command, 0, 1 * MiB) == NbdErrno::ok);
    CHECK(verdict(command, 1 * MiB - 1, 1) == NbdErrno::ok);
  }
}

TEST("refuses what ends beyond the disk: ENOSPC to those who write, EINVAL to the rest") {
  for (const auto& [command, error] :
       {std::pair{Command::read, NbdErrno::inval}, std::pair{Command::trim, NbdErrno::inval},
        std::pair{Command::write, NbdErrno::nospc}, std::pair{Command::writeZeroes, NbdErrno::nospc}}) {
    CHECK(verdict(command, 0, 1 * MiB + 1) == error);
    CHECK(verdict(command, 1 * MiB, 1) == error);
    CHECK(verdict(command, 1 * MiB - 1, 2) == error);
    CHECK(verdict(command, UINT64_MAX, 1) == error);
    CHECK(verdict(command, UINT64_MAX - 10, 20) == error);
  }
}

TEST("refuses a length of zero") {
  for (const Command command : {Command::read, Command::write, Command::trim, Command::writeZeroes})
    CHECK(verdict(command, 0, 0) == NbdErrno::inval);
}

TEST("serves 64 MiB in one request, and not one byte more") {
  for (const Command command : {Command::read, Command::write}) {
    CHECK(verdict(command, 3, kServedMaxBytes, 0, kWritable, kHugeSize) == NbdErrno::ok);
    CHECK(verdict(command, 0, kServedMaxBytes + 1, 0, kWritable, kHugeSize) == NbdErrno::inval);
  }
  CHECK(verdict(Command::writeZeroes, 0, UINT32_MAX, 0, kWritable, kHugeSize) == NbdErrno::ok);
}

TEST("refuses to change a read-only disk with EPERM") {
  for (const Command command : {Command::write, Command::trim, Command::writeZeroes})
    CHECK(verdict(command, 0, 512, 0, kReadOnly) == NbdErrno::perm);
  CHECK(verdict(Command::read, 0, 512, 0, kReadOnly) == NbdErrno::ok);
  CHECK(verdict(Command::flush, 0, 0, 0, kReadOnly) == NbdErrno::ok);
}

TEST("refuses commands that it did not announce with EINVAL") {
  for (const uint16_t command : {8, 9, 255, 65535})
    CHECK(verdict(static_cast<Command>(command), 0, 512) == NbdErrno::inval);
}

TEST("knows FUA everywhere, and each other flag with its command, where it was negotiated") {
  constexpr Command kAll[] = {Command::read,  Command::write,       Command::trim,
                              Command::cache, Command::writeZeroes, Command::blockStatus};
  const auto allowed = [](Command command, const Negotiated& negotiated) -> uint16_t {
    const bool structured = negotiated.replies != sealdisk::Replies::simple;
    const bool extended = negotiated.replies == sealdisk::Replies::extended;
    if (command == Command::read) return structured ? kFlagDontFragment : 0;
    if (command == Command::write) return extended ? kFlagPayloadLength : 0;
    if (command == Command::writeZeroes) return kFlagNoHole | kFlagFastZero;
    if (command == Command::blockStatus) return kFlagRequestOne | (extended ? kFlagPayloadLength : 0);
    return 0;
  };
  for (const Negotiated& negotiated : {kDiscards, kStructured, kExtended}) {
    for (const Command command : kAll) {
      for (int bit = 0; bit < 16; ++bit) {
        const auto flag = static_cast<uint16_t>(1 << bit);
        NbdErrno expected = flag == kFlagFua || allowed(command, negotiated) & flag ? NbdErrno::ok : NbdErrno::inval;
        if (command == Command::blockStatus && !negotiated.contexts()) expected = NbdErrno::inval;
        if (flag == kFlagFastZero && command == Command::writeZeroes && !negotiated.discards)
          expected = NbdErrno::notsup;
        if (command == Command::write && negotiated.replies == sealdisk::Replies::extended &&
            flag != kFlagPayloadLength)
          expected = NbdErrno::inval;  // it has no payload
        const uint64_t length = command == Command::blockStatus && flag == kFlagPayloadLength ? 12 : 512;
        CHECK(verdict(command, 0, length, flag, negotiated) == expected);
      }
    }
  }
  CHECK(verdict(Command::disconnect, 0, 0) == NbdErrno::ok);
  CHECK(verdict(Command::disconnect, 0, 0, 1 << 5) == NbdErrno::ok);  // it has no reply that could refuse it
}

TEST("lets BLOCK_STATUS name as many contexts in its payload as there are") {
  for (const uint64_t bytes : {12, 16}) CHECK(verdict(Command::blockStatus, 0, bytes, kFlagPayloadLength, kExtended) == NbdErrno::ok);
  for (const uint64_t bytes : {4, 8, 13, 20, 1000})
    CHECK(verdict(Command::blockStatus, 0, bytes, kFlagPayloadLength, kExtended) == NbdErrno::inval);
}

TEST("reads an extended request, whose length is a payload's only where its flag says so") {
  rig::Bytes wire(sealdisk::kExtendedRequestBytes);
  uint8_t* at = sealdisk::storeBig(&wire[0], sealdisk::kExtendedRequestMagic);
  at = sealdisk::storeBig<uint16_t>(at, 0);
  at = sealdisk::storeBig(at, static_cast<uint16_t>(Command::trim));
  at = sealdisk::storeBig<uint64_t>(at, 42);
  sealdisk::storeBig(sealdisk::storeBig<uint64_t>(at, 0x1122334455667788), uint64_t{1} << 40);
  const auto request = parse(wire.data(), kExtended);
  REQUIRE(request);
  CHECK(request->command == Command::trim && request->offset == 0x1122334455667788u);
  CHECK(request->length == uint64_t{1} << 40 && request->payloadBytes == 0);
  sealdisk::storeBig(&wire[4], kFlagPayloadLength);
  CHECK_EQ(parse(wire.data(), kExtended)->payloadBytes, uint64_t{1} << 40);
  CHECK(!parse(wire.data(), kStructured));
}

TEST("refuses a flush with an offset or a length") {
  CHECK(verdict(Command::flush, 0, 0) == NbdErrno::ok);
  CHECK(verdict(Command::flush, 512, 0) == NbdErrno::inval);
  CHECK(verdict(Command::flush, 0, 512) == NbdErrno::inval);
}

TEST("sends only errors that proto.md knows") {
  CHECK(onWire(0) == NbdErrno::ok);
  CHECK(onWire(EIO) == NbdErrno::io);
  CHECK(onWire(ENOSPC) == NbdErrno::nospc);
  CHECK(onWire(EDQUOT) == NbdErrno::nospc);
  CHECK(onWire(EFBIG) == NbdErrno::nospc);
  CHECK(onWire(EROFS) == NbdErrno::perm);
  CHECK(onWire(ENOMEM) == NbdErrno::nomem);
  CHECK(onWire(EINVAL) == NbdErrno::io);
  CHECK(onWire(ENODEV) == NbdErrno::io);
}

CHECK_MAIN
