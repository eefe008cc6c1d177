// One disk under the fuzzer: its file with canaries around the segment, the shadow of its bytes, and the history of its
// gate and size. All is known without the engine: the file is judged by OpenSSL's own XTS.
//
// Owner: the driver's thread.
#pragma once

#include <openssl/evp.h>
#include <sys/stat.h>

#include <set>

#include "engine_rig.h"
#include "fuzz_grammar.h"
#include "fuzz_rules.h"
#include "fuzz_shadow.h"

namespace fuzz {

using State = sealdisk::Gate::State;

[[noreturn]] inline void fault(const std::string& what) { throw std::runtime_error(what); }

// dm-crypt's aes-xts-plain64 by OpenSSL, in place.
inline void decryptByOpenssl(const Bytes& key, Bytes& data, uint32_t sectorBytes) {
  std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> context(EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_free);
  EVP_DecryptInit_ex(context.get(), EVP_aes_256_xts(), nullptr, key.data(), nullptr);
  for (uint64_t at = 0; at < data.size(); at += sectorBytes) {
    uint64_t tweak[2] = {htole64(at / 512), 0};
    int bytes = 0;
    EVP_DecryptInit_ex(context.get(), nullptr, nullptr, nullptr, reinterpret_cast<const uint8_t*>(tweak));
    EVP_DecryptUpdate(context.get(), &data[at], &bytes, &data[at], static_cast<int>(sectorBytes));
  }
}

// Which states the gate may have been in, and when.
class GateHistory {
 public:
  explicit GateHistory(State first) : spans_{{first, 0, kNever}} {}

  void entered(State state, uint64_t now) { spans_.push_back({state, now, kNever}); }
  // What was entered before the latest is over.
  void settled(uint64_t now) {
    for (size_t i = 0; i + 1 < spans_.size(); ++i) spans_[i].to = std::min(spans_[i].to, now);
  }
  State latest() const { return spans_.back().state; }
  bool may(State state, uint64_t from, uint64_t to) const {
    return std::any_of(spans_.begin(), spans_.end(), [&](const Span& span) {
      return span.state == state && span.from <= to && span.to >= from;
    });
  }

 private:
  struct Span {
    State state;
    uint64_t from, to;
  };
  std::vector<Span> spans_;
};

// What the disk's size may have been, and when. It only grows.
class SizeHistory {
 public:
  explicit SizeHistory(uint64_t first) : spans_{{first, 0, kNever}} {}

  void growing(uint64_t sizeBytes, uint64_t now) { spans_.push_back({sizeBytes, now, kNever}); }
  void grown(uint64_t now) { spans_[spans_.size() - 2].to = now; }
  uint64_t latest() const { return spans_.back().sizeBytes; }
  bool any(uint64_t from, uint64_t to, const std::function<bool(uint64_t sizeBytes)>& holds) const {
    return std::any_of(spans_.begin(), spans_.end(), [&](const Span& span) {
      return span.from <= to && span.to >= from && holds(span.sizeBytes);
    });
  }

 private:
  struct Span {
    uint64_t sizeBytes, from, to;
  };
  std::vector<Span> spans_;
};

struct Shape {
  uint64_t offsetBytes, sizeBytes, sizeMaxBytes;
  uint32_t sectorBytes;
  bool readOnly, holes, discards;

  static Shape draw(Dice& dice) {
    Shape shape{};
    shape.sectorBytes = dice.pick<uint32_t>({512, 4096});
    shape.offsetBytes = shape.sectorBytes * dice.pick<uint64_t>({1, 3, 8, 64});
    shape.sizeBytes = dice.pick<uint64_t>({256 << 10, 260 << 10, 384 << 10, 1 << 20}) + shape.sectorBytes * dice.below(9);
    if (dice.oneIn(12)) shape.sizeBytes = shape.sectorBytes * dice.between(1, 9);
    if (dice.oneIn(40)) shape.sizeBytes = (3 << 20) + shape.sectorBytes;
    shape.sizeMaxBytes = shape.sizeBytes + (dice.oneIn(3) ? shape.sectorBytes * dice.between(1, 20) : 0);
    shape.readOnly = dice.oneIn(10);
    shape.holes = dice.oneIn(2);
    shape.discards = shape.holes && dice.oneIn(2);
    return shape;
  }
};

class World {
 public:
  static constexpr uint64_t kTailBytes = 8192;  // behind the segment

  World(Dice& dice, const Shape& shape_)
      : shape(shape_),
        file(shape.offsetBytes + shape.sizeMaxBytes + kTailBytes),
        gate(State::live),
        size(shape.sizeBytes),
        key_(dice.bytes(sealdisk::kDataKeyBytes)),
        before_(dice.bytes(shape.offsetBytes + shape.sizeMaxBytes + kTailBytes)),
        shadow(plaintextIn(before_)) {
    if (pwrite(file.fd(), before_.data(), before_.size(), 0) != static_cast<ssize_t>(before_.size())) fault("file");
    sealdisk::DiskOptions options;
    options.path = file.path();
    options.geometry = {shape.offsetBytes, shape.sectorBytes};
    options.sizeBytes = shape.sizeBytes;
    options.readOnly = shape.readOnly;
    options.holes = shape.holes;
    options.discard = shape.discards;
    disk = sealdisk::Disk::open(options);
    disk->goLive(scheduled());
  }

  uint64_t tick() { return ++clock_; }

  void enter(State state) {
    gate.entered(state, tick());
    if (state == State::live) {
      disk->goLive(scheduled());
    } else {
      const auto wiped = std::make_shared<rig::Later<bool>>();
      disk->shut(state, [wiped] { wiped->set(true); });
      if (!wiped->wait()) fault("the key is not wiped in time");
    }
    gate.settled(tick());
  }
  // Shuts and opens at once, while requests may still be on their way out.
  void flicker(State state) {
    gate.entered(state, tick());
    disk->shut(state, [] {});
    disk->goLive(scheduled());
    gate.entered(State::live, tick());
    gate.settled(tick());
  }

  // When it began.
  uint64_t grow(uint64_t sizeBytes) {
    const uint64_t begun = tick();
    size.growing(sizeBytes, begun);
    disk->resize(sizeBytes);
    size.grown(tick());
    return begun;
  }

  // Whether a request that was read between two times may have been carried out, or refused with an error. The size in
  // `facts` does not count.
  bool mayRun(const Asked& asked, ExportFacts facts, uint64_t from, uint64_t to) const {
    return size.any(from, to, [&](uint64_t bytes) {
      facts.sizeBytes = bytes;
      return judge(asked, facts).mayRun();
    });
  }
  bool mayRefuse(uint32_t error, const Asked& asked, ExportFacts facts, uint64_t from, uint64_t to) const {
    return size.any(from, to, [&](uint64_t bytes) {
      facts.sizeBytes = bytes;
      return judge(asked, facts).names(error);
    });
  }

  uint64_t oldestRead() const { return readsUnderWay.empty() ? kNever : *readsUnderWay.begin(); }

  // Nothing is under way: the file holds what the shadow says, and around the segment what was there before.
  void expectFile() {
    Bytes now(before_.size());
    if (pread(file.fd(), now.data(), now.size(), 0) != static_cast<ssize_t>(now.size())) fault("the file is shorter");
    struct stat status {};
    fstat(file.fd(), &status);
    if (status.st_size != static_cast<off_t>(now.size())) fault("the file has another size");
    const auto segment = static_cast<long>(shape.offsetBytes), tail = segment + static_cast<long>(shape.sizeMaxBytes);
    if (!std::equal(now.begin(), now.begin() + segment, before_.begin())) fault("bytes before the segment changed");
    if (!std::equal(now.begin() + tail, now.end(), before_.begin() + tail)) fault("bytes behind the segment changed");
    if (shape.readOnly && now != before_) fault("a read-only disk's file changed");
    const Bytes plaintext = plaintextIn(now);
    shadow.expect(0, plaintext.data(), plaintext.size(), tick(), "the file");
  }

  const Shape shape;
  const rig::TemporaryFile file;
  GateHistory gate;
  SizeHistory size;

 private:
  Bytes plaintextIn(const Bytes& whole) const {
    const auto segment = whole.begin() + static_cast<long>(shape.offsetBytes);
    Bytes data(segment, segment + static_cast<long>(shape.sizeMaxBytes));
    Bytes plaintext = data;
    decryptByOpenssl(key_, plaintext, shape.sectorBytes);
    for (uint64_t at = 0; shape.holes && at < data.size(); at += shape.sectorBytes) {
      const auto sector = data.begin() + static_cast<long>(at), end = sector + shape.sectorBytes;
      if (std::all_of(sector, end, [](uint8_t byte) { return byte == 0; }))
        std::fill_n(plaintext.begin() + static_cast<long>(at), shape.sectorBytes, 0);
    }
    return plaintext;
  }
  sealdisk::XtsKey scheduled() const {
    Bytes copy = key_;
    return sealdisk::XtsKey(sealdisk::DataKey::take(copy));
  }

  const Bytes key_;
  const Bytes before_;
  uint64_t clock_ = 0;

 public:
  Shadow shadow;
  std::multiset<uint64_t> readsUnderWay;  // when they were asked
  std::unique_ptr<sealdisk::Disk> disk;
  bool closed = false;  // the disk
  size_t peers = 0;     // connected now
  uint64_t inputs = 0;
  uint64_t replies = 0;
};

}  // namespace fuzz
