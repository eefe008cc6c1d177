// native/engine/request.cc: the wire form of a request, and the rules.
#include "check.h"
#include "engine/limits.h"
#include "engine/request.h"
#include "engine_rig.h"

using sealdisk::Command, sealdisk::NbdErrno, sealdisk::Negotiated, sealdisk::MiB, sealdisk::kServedMaxBytes;
using sealdisk::kFlagFua, sealdisk::kFlagNoHole, sealdisk::kFlagFastZero, sealdisk::kRequestBytes;
using sealdisk::onWire, sealdisk::parse;

namespace {

constexpr Negotiated kWritable{false}, kReadOnly{true};
constexpr uint64_t kSize = 1 * MiB, kHugeSize = uint64_t{1} << 40;

NbdErrno verdict(Command command, uint64_t offset, uint32_t length, uint16_t flags = 0,
                 const Negotiated& negotiated = kWritable, uint64_t sizeBytes = kSize) {
  const auto refusal = sealdisk::check({flags, command, 0, offset, length}, negotiated, sizeBytes);
  return refusal ? refusal->errnoOnWire : NbdErrno::ok;
}

}  // namespace

TEST("reads every field of a request from the wire") {
  const rig::Bytes wire = rig::Client::header(Command::writeZeroes, 0x1122334455667788, 0x99aabbcc, 0x0102, 42);
  const auto request = parse(std::span<const uint8_t, kRequestBytes>(wire));
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
    CHECK(!parse(std::span<const uint8_t, kRequestBytes>(wire)));
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
  for (const uint16_t command : {5, 7, 8, 255, 65535})
    CHECK(verdict(static_cast<Command>(command), 0, 512) == NbdErrno::inval);
}

TEST("knows FUA everywhere, NO_HOLE and FAST_ZERO with WRITE_ZEROES, and no other flag") {
  for (const Command command : {Command::read, Command::write, Command::trim, Command::writeZeroes}) {
    for (int bit = 0; bit < 16; ++bit) {
      const auto flag = static_cast<uint16_t>(1 << bit);
      const bool zeroes = command == Command::writeZeroes;
      NbdErrno expected = NbdErrno::inval;
      if (flag == kFlagFua || (zeroes && flag == kFlagNoHole)) expected = NbdErrno::ok;
      if (zeroes && flag == kFlagFastZero) expected = NbdErrno::notsup;
      CHECK(verdict(command, 0, 512, flag) == expected);
    }
  }
  CHECK(verdict(Command::disconnect, 0, 0) == NbdErrno::ok);
  CHECK(verdict(Command::disconnect, 0, 0, 1 << 5) == NbdErrno::ok);  // it has no reply that could refuse it
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
