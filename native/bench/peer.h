// One connection of the load: keeps `depth` requests out, answers each reply with a new request, and checks bytes.
//
// What stands at byte x of the disk is known: each 4096 bytes begin with their own offset. Requests that are ready leave
// in one send, replies come in many at a recv into a buffer that stays in the cache: a client costs as little as one can.
// Every 1000th request is checked: a read's bytes, a write by reading it back.
#pragma once

#include <atomic>
#include <chrono>
#include <vector>

#include "latencies.h"
#include "stream.h"

namespace load {

constexpr size_t kStampBytes = 4096;
constexpr uint64_t kCheckEach = 1000;

struct Work {
  bool writes = false;
  bool random = false;
  uint64_t blockBytes = 4096;
  size_t depth = 1;
};

inline uint64_t nowNs() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

// Big-endian, as all of NBD.
template <typename T>
uint8_t* storeBig(uint8_t* to, T value) {
  for (size_t i = 0; i < sizeof value; ++i) to[i] = static_cast<uint8_t>(uint64_t{value} >> 8 * (sizeof value - 1 - i));
  return to + sizeof value;
}

template <typename T>
T loadBig(const uint8_t* from) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value = value << 8 | from[i];
  return static_cast<T>(value);
}

class Peer {
 public:
  Peer(const Address& address, const std::string& name, const Work& work, uint64_t seed)
      : work_(work), seed_(seed * 0x9e3779b97f4a7c15 + 1), stream_(address), slots_(work.depth) {
    negotiate(address, name);
    if (sizeBytes_ < work.blockBytes) throw std::runtime_error("the export is smaller than a block");
    blocks_ = sizeBytes_ / work.blockBytes;
    for (Slot& slot : slots_) {
      if (!work.writes) continue;
      slot.data.resize(work.blockBytes);
      for (size_t i = 0; i < slot.data.size(); ++i) slot.data[i] = static_cast<uint8_t>(i * 7 + i / kStampBytes);
    }
    in_.resize(kInBytes);
    next_ = work.random ? 0 : random() % blocks_;
  }

  // Until `stop`, or until `blocks` of them are done. Counts what ends after `start`.
  void run(const std::atomic<bool>& start, const std::atomic<bool>& stop, uint64_t blocks = UINT64_MAX) {
    left_ = blocks;
    for (Slot& slot : slots_) ask(slot);
    while (waiting_ > 0) {
      if (!out_.empty()) stream_.send(out_.data(), out_.size());
      out_.clear();
      counts_ = start.load(std::memory_order_relaxed);
      if (stop.load(std::memory_order_relaxed)) left_ = 0;
      receiveReplies();
    }
  }

  void leave() {
    uint8_t request[28];
    header(request, kDisconnect, 0, 0, 0);
    stream_.send(request, sizeof request);
  }

  uint64_t sizeBytes() const { return sizeBytes_; }

  uint64_t requests = 0, requestsInAll = 0, verified = 0;
  Latencies latencies;

 private:
  static constexpr size_t kInBytes = 256 * 1024;
  static constexpr uint16_t kRead = 0, kWrite = 1, kDisconnect = 2;

  struct Slot {
    uint64_t offset = 0, sentNs = 0;
    bool reads = false;      // what is out is a read
    bool checks = false;     // its bytes are looked at
    bool readsBack = false;  // it is the check of a write
    std::vector<uint8_t> data;
    uint8_t request[28];
  };

  // Fixed newstyle, NBD_OPT_GO, simple replies (proto.md).
  void negotiate(const Address& address, const std::string& name) {
    uint8_t greeting[18];
    stream_.receive(greeting, sizeof greeting);
    const uint32_t flags = loadBig<uint16_t>(greeting + 16) & 3;
    uint8_t answer[4];
    storeBig(answer, flags);
    stream_.send(answer, sizeof answer);
    if (!address.certificateAuthority.empty()) {
      option(5, nullptr, 0);  // STARTTLS
      uint8_t reply[20];
      stream_.receive(reply, sizeof reply);
      if (loadBig<uint32_t>(reply + 12) != 1) throw std::runtime_error("the server has no TLS");
      stream_.secure(address.certificateAuthority, address.host.empty() ? "localhost" : address.host);
    }
    std::vector<uint8_t> go(4 + name.size() + 2);
    storeBig(go.data(), static_cast<uint32_t>(name.size()));
    std::copy(name.begin(), name.end(), go.begin() + 4);
    option(7, go.data(), go.size());
    for (;;) {
      uint8_t reply[20];
      stream_.receive(reply, sizeof reply);
      const auto type = loadBig<uint32_t>(reply + 12);
      std::vector<uint8_t> payload(loadBig<uint32_t>(reply + 16));
      stream_.receive(payload.data(), payload.size());
      if (type == 1) return;
      if (type & 0x80000000) throw std::runtime_error("the server refuses the export");
      if (type == 3 && loadBig<uint16_t>(payload.data()) == 0) sizeBytes_ = loadBig<uint64_t>(payload.data() + 2);
    }
  }

  void option(uint32_t code, const uint8_t* data, size_t bytes) {
    std::vector<uint8_t> out(16 + bytes);
    storeBig(storeBig(storeBig(out.data(), uint64_t{0x49484156454F5054}), code), static_cast<uint32_t>(bytes));
    if (bytes) std::memcpy(out.data() + 16, data, bytes);
    stream_.send(out.data(), out.size());
  }

  uint64_t random() {  // xorshift64*
    seed_ ^= seed_ >> 12;
    seed_ ^= seed_ << 25;
    seed_ ^= seed_ >> 27;
    return seed_ * 0x2545f4914f6cdd1d;
  }

  void header(uint8_t* to, uint16_t command, uint64_t cookie, uint64_t offset, uint32_t bytes) {
    to = storeBig(storeBig(storeBig(to, uint32_t{0x25609513}), uint16_t{0}), command);
    storeBig(storeBig(storeBig(to, cookie), offset), bytes);
  }

  void queue(Slot& slot, uint16_t command) {
    slot.reads = command == kRead;
    header(slot.request, command, static_cast<uint64_t>(&slot - slots_.data()), slot.offset, static_cast<uint32_t>(work_.blockBytes));
    out_.push_back({slot.request, sizeof slot.request});
    if (command == kWrite) out_.push_back({slot.data.data(), slot.data.size()});
    slot.sentNs = nowNs();
    ++waiting_;
  }

  void ask(Slot& slot) {
    if (left_ == 0) return;
    --left_;
    const uint64_t block = work_.random ? random() % blocks_ : next_++ % blocks_;
    slot.offset = block * work_.blockBytes;
    slot.checks = ++asked_ % kCheckEach == 0;
    slot.readsBack = false;
    for (size_t at = 0; work_.writes && at < slot.data.size(); at += kStampBytes) {
      const uint64_t stamp = slot.offset + at;
      std::memcpy(slot.data.data() + at, &stamp, sizeof stamp);
    }
    queue(slot, work_.writes ? kWrite : kRead);
  }

  // One recv, and what is whole of it; a reply that is larger than the buffer is taken in to its end.
  void receiveReplies() {
    inEnd_ += stream_.receiveSome(in_.data() + inEnd_, in_.size() - inEnd_);
    size_t at = 0;
    while (inEnd_ - at >= 16) {
      const uint8_t* reply = in_.data() + at;
      if (loadBig<uint32_t>(reply) != 0x67446698 || loadBig<uint32_t>(reply + 4) != 0) throw std::runtime_error("a request failed");
      Slot& slot = slots_.at(loadBig<uint64_t>(reply + 8));
      const size_t bytes = slot.reads ? work_.blockBytes : 0, here = std::min(bytes, inEnd_ - at - 16);
      if (here < bytes && bytes + 16 <= in_.size()) break;
      at += 16 + here;
      if (slot.checks && slot.reads) check(slot, reply + 16, here, 0);
      if (here < bytes) {
        takeRest(slot, here, bytes);
        at = inEnd_ = 0;
      }
      --waiting_;
      ended(slot);
    }
    std::memmove(in_.data(), in_.data() + at, inEnd_ - at);
    inEnd_ -= at;
  }

  void takeRest(const Slot& slot, size_t have, size_t bytes) {
    while (have < bytes) {
      const size_t got = std::min(bytes - have, in_.size());
      const size_t some = stream_.receiveSome(in_.data(), got);
      if (slot.checks) check(slot, in_.data(), some, have);
      have += some;
    }
  }

  void ended(Slot& slot) {
    ++requestsInAll;
    if (counts_ && !slot.readsBack) {
      ++requests;
      latencies.add(nowNs() - slot.sentNs);
    }
    if (slot.checks && !slot.reads) {
      slot.readsBack = true;
      return queue(slot, kRead);
    }
    if (slot.checks) ++verified;
    ask(slot);
  }

  // The stamps whose first byte lies in data that is `from` bytes into the block and that are wholly in it.
  void check(const Slot& slot, const uint8_t* data, size_t bytes, size_t from) const {
    for (size_t at = (from + kStampBytes - 1) / kStampBytes * kStampBytes; at + 8 <= from + bytes; at += kStampBytes) {
      uint64_t stamp;
      std::memcpy(&stamp, data + (at - from), sizeof stamp);
      if (stamp != slot.offset + at) throw std::runtime_error("wrong bytes at " + std::to_string(slot.offset + at));
    }
  }

  const Work work_;
  uint64_t seed_;
  Stream stream_;
  uint64_t sizeBytes_ = 0, blocks_ = 0, next_ = 0, asked_ = 0;
  uint64_t left_ = 0;    // requests that may still be made
  size_t waiting_ = 0;   // requests that are out
  bool counts_ = false;  // what ends now
  std::vector<Slot> slots_;
  std::vector<iovec> out_;
  std::vector<uint8_t> in_;
  size_t inEnd_ = 0;
};

}  // namespace load
