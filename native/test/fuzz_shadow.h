// A copy of the disk that knows what a read may return while writes are under way.
//
// Each range of bytes has candidates: the writes that may be the last there. A write is one from the moment its last byte
// is sent; it stands for sure when it is answered, and hides what was answered before it was sent. So a read may return,
// byte by byte, what stood when it was sent or what was written since, and nothing else. Times are the driver's own count.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "fuzz_grammar.h"

namespace fuzz {

constexpr uint64_t kNever = ~0ull;

struct Write {
  uint64_t begin, end;
  uint64_t sent, answered = kNever;
  bool unsure = false;  // the connection ended before its answer: it may have happened
  bool failed = false;  // answered with an error: it has not
  Bytes data;           // empty: zeros

  uint8_t at(uint64_t offset) const { return data.empty() ? 0 : data[offset - begin]; }
  bool equals(uint64_t offset, const uint8_t* found, size_t bytes) const {
    if (data.empty()) return found[0] == 0 && memcmp(found, found + 1, bytes - 1) == 0;
    return memcmp(found, &data[offset - begin], bytes) == 0;
  }
  // Whether it stands wholly before `other`, which hides it from what was asked at or after `since`.
  bool hiddenBy(const Write& other, uint64_t since) const {
    return !other.unsure && !other.failed && answered < other.sent && other.answered < since;
  }
};
using WriteRef = std::shared_ptr<Write>;

class Shadow {
 public:
  explicit Shadow(Bytes plaintext) : size_(plaintext.size()) {
    auto first = std::make_shared<Write>(Write{0, size_, 0, 0, false, false, std::move(plaintext)});
    cells_[0] = {size_, {std::move(first)}};
  }

  // `oldestRead`: when the oldest read under way was asked; what no read can return any more is forgotten.
  void begin(const WriteRef& write, uint64_t oldestRead) {
    split(write->begin);
    split(write->end);
    for (auto cell = cells_.lower_bound(write->begin); cell != cells_.end() && cell->first < write->end; ++cell) {
      const std::vector<WriteRef> before = std::exchange(cell->second.candidates, {});
      for (const WriteRef& one : before) {
        if (possible(*one, before, oldestRead)) cell->second.candidates.push_back(one);
      }
      cell->second.candidates.push_back(write);
    }
  }

  // Throws when `data` is not what a read of `offset` asked at `since` may return.
  void expect(uint64_t offset, const uint8_t* data, size_t bytes, uint64_t since, const char* where) const {
    auto cell = std::prev(cells_.upper_bound(offset));
    for (uint64_t at = offset; at < offset + bytes; at = cell->second.end, ++cell) {
      const uint64_t until = std::min(offset + bytes, cell->second.end);
      expectCell(cell->second, at, until, data + (at - offset), since, where);
    }
  }

 private:
  struct Cell {
    uint64_t end;
    std::vector<WriteRef> candidates;
  };

  static bool possible(const Write& one, const std::vector<WriteRef>& candidates, uint64_t since) {
    if (one.failed) return false;
    for (const WriteRef& other : candidates) {
      if (one.hiddenBy(*other, since)) return false;
    }
    return true;
  }

  void split(uint64_t at) {
    if (at >= size_) return;
    auto cell = std::prev(cells_.upper_bound(at));
    if (cell->first == at) return;
    Cell upper{cell->second.end, cell->second.candidates};
    cell->second.end = at;
    cells_[at] = std::move(upper);
  }

  void expectCell(const Cell& cell, uint64_t from, uint64_t to, const uint8_t* data, uint64_t since,
                  const char* where) const {
    std::vector<const Write*> allowed;
    for (const WriteRef& one : cell.candidates) {
      if (!possible(*one, cell.candidates, since)) continue;
      if (one->equals(from, data, to - from)) return;
      allowed.push_back(one.get());
    }
    for (uint64_t at = from; at < to; ++at) {
      const uint8_t found = data[at - from];
      if (std::any_of(allowed.begin(), allowed.end(), [&](const Write* one) { return one->at(at) == found; })) continue;
      throw std::runtime_error(std::string(where) + ": byte " + std::to_string(at) + " is " + std::to_string(found) +
                               described(allowed, at));
    }
  }

  static std::string described(const std::vector<const Write*>& allowed, uint64_t at) {
    std::string text = " and may be";
    for (const Write* one : allowed) {
      text += " " + std::to_string(one->at(at)) + " (of [" + std::to_string(one->begin) + ", " +
              std::to_string(one->end) + ") sent at " + std::to_string(one->sent) + ")";
    }
    return text;
  }

  const uint64_t size_;
  std::map<uint64_t, Cell> cells_;  // by where it begins
};

}  // namespace fuzz
