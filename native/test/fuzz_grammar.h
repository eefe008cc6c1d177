// What the fuzzer says: requests that are valid, nearly valid or hostile, and the bytes that stand for no request.
//
// Offsets and lengths are drawn from the edges of everything that the engine divides by: cipher block, sector, page,
// piece, disk, 32 and 64 bits. Half of all requests fall on the first few sectors, so that they meet each other.
#pragma once

#include <endian.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "fuzz_rules.h"

namespace fuzz {

using Bytes = std::vector<uint8_t>;

// Of metadata contexts, and the bit of each in a set of them.
constexpr uint32_t kAllocationId = 7, kKeyStateId = 0xfffffff0;

// Seeded choices (splitmix64): fast enough for payload under a sanitizer.
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t x = state_ += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }
  uint64_t below(uint64_t limit) { return next() % limit; }
  uint64_t between(uint64_t first, uint64_t last) { return first + below(last - first + 1); }
  bool oneIn(uint64_t count) { return below(count) == 0; }
  template <typename T>
  T pick(std::initializer_list<T> from) {
    return from.begin()[below(from.size())];
  }
  Bytes bytes(size_t count) {
    Bytes out(count);
    for (size_t at = 0; at < count; at += 8) {
      const uint64_t word = next();
      memcpy(&out[at], &word, std::min<size_t>(8, count - at));
    }
    return out;
  }

 private:
  uint64_t state_;
};

inline Bytes headerOf(const Asked& asked, Mode mode, uint32_t damage = 0) {
  const bool wide = mode == Mode::extended;
  Bytes bytes(wide ? 32 : 28);
  const auto put = [&bytes](size_t at, auto value) { memcpy(&bytes[at], &value, sizeof value); };
  put(0, htobe32((wide ? wire::kExtendedRequestMagic : wire::kRequestMagic) ^ damage));
  put(4, htobe16(asked.flags));
  put(6, htobe16(asked.command));
  put(8, htobe64(asked.cookie));
  put(16, htobe64(asked.offset));
  wide ? put(24, htobe64(asked.length)) : put(24, htobe32(static_cast<uint32_t>(asked.length)));
  return bytes;
}

class Grammar {
 public:
  Grammar(Dice& dice, uint64_t sizeBytes, uint32_t sectorBytes, Mode mode, uint32_t contexts)
      : dice_(dice), size_(sizeBytes), sector_(sectorBytes), mode_(mode), contexts_(contexts) {}

  // The cookie is the caller's. `payload` is what follows the header.
  Asked request(Bytes& payload) {
    Asked asked = drawn();
    if (asked.command == wire::disconnect) asked.command = wire::flush;  // the stream ends at its time
    const bool follows = mode_ == Mode::extended ? asked.flags & wire::payloadLength : asked.command == wire::write;
    asked.payloadBytes = follows ? asked.length : 0;
    if (asked.payloadBytes > size_ && (asked.payloadBytes > kSkippedMaxBytes || !dice_.oneIn(500)))
      asked.payloadBytes = asked.length = edgeLength();
    payload = asked.command == wire::blockStatus && follows ? statusPayload(asked) : dice_.bytes(asked.payloadBytes);
    return asked;
  }

  // No request: garbage, or a request whose magic is one bit wrong, or with a payload longer than anybody skips.
  Bytes garbage() {
    Asked asked = valid();
    switch (dice_.below(4)) {
      case 0:
        return dice_.bytes(32);
      case 1:
        return longEnough(headerOf(asked, mode_ == Mode::extended ? Mode::simple : Mode::extended));
      case 2:
        asked.command = wire::write;
        asked.flags = mode_ == Mode::extended ? wire::payloadLength : 0;
        asked.length = dice_.pick<uint64_t>({kSkippedMaxBytes + 1, 0x80000000, 0xffffffff});
        if (mode_ == Mode::extended) asked.length |= dice_.below(2) << dice_.between(32, 63);
        return headerOf(asked, mode_);
      default:
        return headerOf(asked, mode_, 1u << dice_.below(32));
    }
  }
  // One without payload, for what stands behind garbage.
  Bytes another() {
    Asked asked = valid();
    asked.cookie = dice_.next();
    return headerOf(asked, mode_);
  }

 private:
  // A header is looked at when it is whole.
  static Bytes longEnough(Bytes bytes) {
    bytes.resize(std::max<size_t>(bytes.size(), 32));
    return bytes;
  }

  Asked drawn() {
    switch (dice_.below(20)) {
      case 0:
        return hostile();
      case 1:
      case 2:
        return nearlyValid();
      default:
        return valid();
    }
  }

  Asked valid() {
    Asked asked;
    asked.command = dice_.pick<uint16_t>({wire::read, wire::read, wire::read, wire::read, wire::write, wire::write,
                                          wire::write, wire::write, wire::writeZeroes, wire::trim, wire::flush,
                                          wire::read, wire::write, wire::writeZeroes, wire::cache, wire::blockStatus});
    asked.flags = dice_.oneIn(8) ? wire::fua : 0;
    if (asked.command == wire::flush) return asked;
    if (asked.command == wire::write && mode_ == Mode::extended) asked.flags |= wire::payloadLength;
    if (asked.command == wire::writeZeroes && dice_.oneIn(2)) asked.flags |= wire::noHole;
    if (asked.command == wire::writeZeroes && dice_.oneIn(4)) asked.flags |= wire::fastZero;
    if (asked.command == wire::read && mode_ != Mode::simple && dice_.oneIn(4)) asked.flags |= wire::dontFragment;
    if (asked.command == wire::blockStatus && dice_.oneIn(4)) asked.flags |= wire::reqOne;
    if (asked.command == wire::blockStatus && mode_ == Mode::extended && dice_.oneIn(2)) asked.flags |= wire::payloadLength;
    const uint64_t hot = std::min<uint64_t>(size_, 8 * sector_);
    asked.offset = dice_.oneIn(2) ? dice_.below(hot) : dice_.below(size_);
    asked.length = validLength();
    if (dice_.oneIn(2)) {
      asked.offset -= asked.offset % sector_;
      asked.length += (sector_ - asked.length % sector_) % sector_;
    }
    asked.length = std::min(asked.length, size_ - asked.offset);
    return asked;
  }

  // The length of the range, then ids of contexts; sets what the header says of it.
  Bytes statusPayload(Asked& asked) {
    const bool good = contexts_ && asked.offset < size_ && dice_.oneIn(2);
    Bytes payload;
    if (good) {
      asked.statusLength = std::min<uint64_t>(asked.length | 1, size_ - asked.offset);
      const uint64_t length = htobe64(asked.statusLength);
      payload.resize(8 + 4);
      memcpy(&payload[0], &length, 8);
      const uint32_t id = htobe32(contexts_ & 1 ? kAllocationId : kKeyStateId);
      memcpy(&payload[8], &id, 4);
    } else {
      payload = dice_.bytes(dice_.pick<size_t>({0, 1, 8, 11, 12, 13, 16, 20, 200}));
      if (payload.size() > 8 && dice_.oneIn(2)) std::fill(payload.begin(), payload.begin() + 6, 0);
    }
    asked.length = asked.payloadBytes = payload.size();
    asked.statusPayload = payload.empty() ? StatusPayload::none : good ? StatusPayload::good : StatusPayload::unclear;
    return payload;
  }

  uint32_t validLength() {
    switch (dice_.below(32)) {
      case 0:
        return static_cast<uint32_t>(dice_.between(1, dice_.oneIn(4) ? size_ : 128 * 1024));
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
        return edgeLength();
      default:
        return static_cast<uint32_t>(dice_.between(1, 2 * sector_));
    }
  }
  uint32_t edgeLength() {
    return dice_.pick<uint32_t>({1, 15, 16, 17, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, sector_ - 1, sector_ + 1,
                                 65535, 65536, 65537});
  }

  // One thing is wrong, or just not wrong.
  Asked nearlyValid() {
    Asked asked = valid();
    switch (dice_.below(6)) {
      case 0:
        asked.flags |= 1u << dice_.below(16);
        break;
      case 1:
        asked.command = static_cast<uint16_t>(dice_.below(10));
        break;
      case 2:
        asked.length = 0;
        break;
      case 3:  // ends at the disk's end, or one byte beyond
        asked.offset = size_ - std::min<uint64_t>(asked.length, size_) + dice_.below(2);
        break;
      case 4:
        asked.offset = dice_.pick<uint64_t>({size_ - 1, size_, size_ + 1, size_ - sector_, size_ + sector_});
        break;
      default:
        asked.offset |= dice_.below(2) << 63 | dice_.below(2) << 32;
        break;
    }
    return asked;
  }

  Asked hostile() {
    Asked asked;
    asked.command = static_cast<uint16_t>(dice_.oneIn(3) ? dice_.next() : dice_.below(9));
    asked.flags = static_cast<uint16_t>(dice_.oneIn(2) ? dice_.next() : 0);
    asked.offset = dice_.pick<uint64_t>({0, size_, 1ull << 32, INT64_MAX, 1ull << 63, ~0ull, ~0ull - 4095, ~0ull - size_,
                                         dice_.next()});
    asked.length = dice_.pick<uint64_t>({0, 1, edgeLength(), 1u << 20, 32u << 20, 64u << 20, (64u << 20) + 1, 128u << 20,
                                         0x80000000, 0xffffffff, dice_.next() & 0xffffffff});
    if (mode_ == Mode::extended && dice_.oneIn(3)) asked.length = dice_.pick<uint64_t>({1ull << 32, ~0ull, dice_.next()});
    return asked;
  }

  Dice& dice_;
  const uint64_t size_;
  const uint32_t sector_;
  const Mode mode_;
  const uint32_t contexts_;
};

}  // namespace fuzz
