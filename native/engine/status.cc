#include "engine/status.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/executor.h"
#include "engine/limits.h"
#include "engine/wire.h"

namespace sealdisk {

namespace {

constexpr uint32_t kMostContexts = 3;

// What is asked, with or without a payload.
struct Question {
  uint64_t offset, length;
  bool one, allocation, keyState, changed;
};

// The range of a payload, and the contexts that it chooses, each at most once.
std::optional<Refusal> choose(const Request& request, const Negotiated& negotiated, const uint8_t* payload,
                              Question& question) noexcept {
  question.length = loadBig<uint64_t>(payload);
  question.allocation = question.keyState = question.changed = false;
  for (uint64_t at = kStatusPayloadBytes; at < request.payloadBytes; at += 4) {
    const auto id = loadBig<uint32_t>(payload + at);
    bool* const chosen = id == 0                         ? nullptr
                         : id == negotiated.allocationId ? &question.allocation
                         : id == negotiated.keyStateId   ? &question.keyState
                         : id == negotiated.changedId    ? &question.changed
                                                         : nullptr;
    if (!chosen || *chosen) return Refusal{NbdErrno::inval, "payload names each negotiated context once", id, 0};
    *chosen = true;
  }
  return std::nullopt;
}

std::optional<Refusal> ask(const Disk& disk, const Negotiated& negotiated, const Job* job,
                           Question& question) noexcept {
  const Request& request = job->request;
  question = {request.offset, request.length, request.has(kFlagRequestOne), negotiated.allocationId != 0,
              negotiated.keyStateId != 0, negotiated.changedId != 0};
  if (!request.payloadBytes) return std::nullopt;
  if (auto refusal = choose(request, negotiated, job->buffer, question)) return refusal;
  if (question.length == 0) return Refusal{NbdErrno::inval, "length is not zero", 0, 1};
  if (inside(question.offset, question.length, disk.sizeBytes())) return std::nullopt;
  return Refusal{NbdErrno::inval, "request ends inside the export", question.offset, disk.sizeBytes()};
}

// Extents in their wire form, neighbours of one kind as one.
class Extents {
 public:
  Extents(uint8_t* begin, const uint8_t* end, bool wide) noexcept : begin_(begin), at_(begin), end_(end), wide_(wide) {}

  // False when there is no room left.
  bool add(uint64_t length, uint32_t flags) noexcept {
    if (pending_ && flags != flags_) {
      write();
      if (static_cast<size_t>(end_ - at_) < bytesEach()) return false;
    }
    pending_ += length;
    flags_ = flags;
    return true;
  }
  void write() noexcept {
    if (!pending_) return;
    at_ = wide_ ? storeBig<uint64_t>(storeBig(at_, pending_), flags_)
                : storeBig(storeBig(at_, static_cast<uint32_t>(pending_)), flags_);
    pending_ = 0;
    ++count_;
  }

  const uint8_t* begin() const noexcept { return begin_; }
  uint32_t bytes() const noexcept { return static_cast<uint32_t>(at_ - begin_); }
  uint32_t count() const noexcept { return count_; }

 private:
  size_t bytesEach() const noexcept { return wide_ ? 16 : 8; }

  uint8_t* begin_;
  uint8_t* at_;
  const uint8_t* end_;
  const bool wide_;
  uint64_t pending_ = 0;
  uint32_t flags_ = 0, count_ = 0;
};

// The end, in the export, of the run of data or of hole that `offset` stands in; holes are whole sectors of it. The
// errno when the file does not tell.
int runEnd(const Disk& disk, uint64_t offset, bool& hole, uint64_t& end) noexcept {
  const Geometry& geometry = disk.geometry();
  const auto at = static_cast<off_t>(geometry.offsetBytes + down(offset, geometry.sectorBytes));
  const off_t data = lseek(disk.fd(), at, SEEK_DATA);
  if (data < 0 && errno == EINVAL) {  // a block device tells nothing: all is data
    hole = false;
    end = disk.sizeBytes();
    return 0;
  }
  if (data < 0 && errno != ENXIO) return errno;
  // Without data behind it, all is hole.
  const uint64_t dataAt = data < 0 ? disk.sizeBytes() : static_cast<uint64_t>(data) - geometry.offsetBytes;
  hole = down(dataAt, geometry.sectorBytes) > offset;
  if (hole) {
    end = down(dataAt, geometry.sectorBytes);
    return 0;
  }
  const off_t next = lseek(disk.fd(), data, SEEK_HOLE);
  if (next < 0) return errno;
  end = up(static_cast<uint64_t>(next) - geometry.offsetBytes, geometry.sectorBytes);
  return 0;
}

// A disk that may have no holes is data all over: what its file leaves out reads as noise, not as zeros.
int findAllocation(const Disk& disk, const Question& question, Extents& extents) noexcept {
  const uint64_t questionEnd = question.offset + question.length;
  for (uint64_t at = question.offset; at < questionEnd;) {
    bool hole = false;
    uint64_t end = questionEnd;
    if (disk.holes())
      if (const int error = runEnd(disk, at, hole, end)) return error;
    end = std::min(end, questionEnd);
    if (!extents.add(end - at, hole ? kStateHole | kStateZero : 0)) return 0;
    at = end;
    if (question.one) break;
  }
  extents.write();
  return 0;
}

// What has changed, and between it what has not.
void findChanged(const Disk& disk, const Question& question, Extents& extents) noexcept {
  const uint64_t questionEnd = question.offset + question.length;
  const auto& changed = disk.changed();
  auto next = std::upper_bound(changed.begin(), changed.end(), question.offset,
                               [](uint64_t offset, const ChangedRange& range) { return offset < range.end; });
  for (uint64_t at = question.offset; at < questionEnd;) {
    const bool inside = next != changed.end() && next->begin <= at;
    const uint64_t end = std::min(questionEnd, next == changed.end() ? questionEnd : inside ? next->end : next->begin);
    if (!extents.add(end - at, inside ? kStateChanged : 0)) return;
    at = end;
    if (inside) ++next;
    if (question.one) break;
  }
  extents.write();
}

uint32_t keyState(Gate::State state) noexcept {
  switch (state) {
    case Gate::State::live:
      return 0;
    case Gate::State::hung:
      return 1;
    case Gate::State::failed:
      break;
  }
  return 2;
}

}  // namespace

std::optional<Refusal> prepareStatus(Disk& disk, const Negotiated& negotiated, Job* job) noexcept {
  Question question;
  if (auto refusal = ask(disk, negotiated, job, question)) return refusal;
  // The buffer: parts, the one extent of the key's state, extents of the allocation, those of what has changed. The payload is read by now.
  const bool wide = negotiated.replies == Replies::extended;
  uint8_t* const stateAt = job->buffer + kMostContexts * sizeof(ReplyPart);
  uint8_t* const allocationAt = stateAt + 16;
  uint8_t* const end = job->buffer + kStatusBytes;
  uint8_t* const changedAt = question.changed && question.allocation ? allocationAt + (end - allocationAt) / 2 : allocationAt;
  auto* parts = reinterpret_cast<ReplyPart*>(job->buffer);
  const PartWriter writer(job->request, negotiated.replies);
  uint32_t count = 0;
  if (question.allocation) {
    Extents extents(allocationAt, question.changed ? changedAt : end, wide);
    if (const int error = findAllocation(disk, question, extents))
      return Refusal{onWire(error), "the file under the disk does not tell its holes", 0, 0};
    parts[count++] = writer.status(negotiated.allocationId, extents.begin(), extents.bytes(), extents.count(),
                                   !question.keyState && !question.changed);
  }
  if (question.changed) {
    Extents extents(changedAt, end, wide);
    findChanged(disk, question, extents);
    parts[count++] = writer.status(negotiated.changedId, extents.begin(), extents.bytes(), extents.count(), !question.keyState);
  }
  if (question.keyState) {
    Extents extents(stateAt, allocationAt, wide);
    extents.add(question.length, keyState(disk.gate().state()));
    extents.write();
    parts[count++] = writer.status(negotiated.keyStateId, extents.begin(), extents.bytes(), extents.count(), true);
  }
  job->parts = parts;
  job->partCount = count;
  return std::nullopt;
}

}  // namespace sealdisk
