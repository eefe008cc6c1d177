// The inward half of a fuzzer's connection: each reply is to a request that waits for one, says what the rules say, and
// carries bytes that may stand there; and the connection ends for the reason that its stream gives.
//
// Part of fuzz_peer.h, which includes it.
#pragma once

#include "fuzz_peer.h"

namespace fuzz {

inline bool Peer::receive() {
  if (inAt_ == inEnd_) inAt_ = inEnd_ = 0;
  const size_t bytes = piece(manner_.readBytes);
  if (in_.size() < inEnd_ + bytes) in_.resize(inEnd_ + 2 * kPieceMaxBytes);
  const ssize_t result = recv(fd_, &in_[inEnd_], bytes, MSG_DONTWAIT);
  if (result < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (result < 0 && errno != ECONNRESET) fault("recv: " + std::string(strerror(errno)));
  if (result <= 0) {
    finish();
    return true;
  }
  inEnd_ += static_cast<size_t>(result);
  take();
  return true;
}

template <typename T>
T loadBig(const uint8_t* from) {
  T value = 0;
  for (size_t i = 0; i < sizeof value; ++i) value = static_cast<T>(value << 8 | from[i]);
  return value;
}

inline void Peer::take() {
  const uint64_t now = world_.tick();
  while (manner_.mode == Mode::simple ? takeSimple(now) : takeChunk(now)) {
  }
}

inline Peer::Waiting& Peer::waitingFor(uint64_t cookie) {
  const auto found = waiting_.find(cookie);
  if (found == waiting_.end()) fault("a reply to a request that nobody made, or the second to one");
  return found->second;
}

// One reply; false when it is not whole.
inline bool Peer::takeSimple(uint64_t now) {
  constexpr size_t kHeader = 16;
  if (inEnd_ - inAt_ < kHeader) return false;
  const uint8_t* reply = &in_[inAt_];
  if (loadBig<uint32_t>(reply) != wire::kSimpleReplyMagic) fault("a reply has another magic");
  Waiting& waiting = waitingFor(loadBig<uint64_t>(reply + 8));
  waiting.error = loadBig<uint32_t>(reply + 4);
  judgeReply(waiting, waiting.error, now);
  const size_t data = waiting.asked.command == wire::read && !waiting.error ? waiting.asked.length : 0;
  if (inEnd_ - inAt_ < kHeader + data) return false;
  if (data) takeRange(waiting, waiting.asked.offset, data, reply + kHeader);
  inAt_ += kHeader + data;
  takeEnd(waiting, now);
  return true;
}

// One chunk of a structured or extended reply; false when it is not whole.
inline bool Peer::takeChunk(uint64_t now) {
  const bool wide = manner_.mode == Mode::extended;
  const size_t header = wide ? 32 : 20;
  if (inEnd_ - inAt_ < header) return false;
  const uint8_t* chunk = &in_[inAt_];
  if (loadBig<uint32_t>(chunk) != (wide ? wire::kExtendedReplyMagic : wire::kStructuredReplyMagic))
    fault("a chunk has another magic");
  const auto flags = loadBig<uint16_t>(chunk + 4), type = loadBig<uint16_t>(chunk + 6);
  Waiting& waiting = waitingFor(loadBig<uint64_t>(chunk + 8));
  const uint64_t bytes = wide ? loadBig<uint64_t>(chunk + 24) : loadBig<uint32_t>(chunk + 16);
  if (wide && loadBig<uint64_t>(chunk + 16) != waiting.asked.offset) fault("a chunk echoes another offset");
  if (flags & ~wire::kDone) fault("a chunk has unknown flags");
  if (bytes > waiting.asked.length + 65536) fault("a chunk is longer than its request asks for");
  if (inEnd_ - inAt_ < header + bytes) return false;
  const uint8_t* payload = chunk + header;
  inAt_ += header + bytes;
  if (type != wire::error && type != wire::errorAt) judgeReply(waiting, 0, now);
  switch (type) {
    case wire::nothing:
      if (bytes || !(flags & wire::kDone)) fault("a chunk of nothing has a payload, or is not the last");
      break;
    case wire::data:
      if (bytes <= 8) fault("a data chunk without data");
      takeRange(waiting, loadBig<uint64_t>(payload), bytes - 8, payload + 8);
      break;
    case wire::hole:
      if (bytes != 12) fault("a hole chunk of another length");
      takeRange(waiting, loadBig<uint64_t>(payload), loadBig<uint32_t>(payload + 8), nullptr);
      break;
    case wire::status:
    case wire::wideStatus:
      if ((type == wire::wideStatus) != wide) fault("a status chunk of the other width");
      takeStatus(waiting, payload, bytes);
      break;
    case wire::error:
    case wire::errorAt:
      takeError(waiting, payload, bytes, type == wire::errorAt);
      judgeReply(waiting, waiting.error, now);
      break;
    default:
      fault("a chunk of an unknown type");
  }
  if (flags & wire::kDone) takeEnd(waiting, now);
  return true;
}

inline void Peer::takeError(Waiting& waiting, const uint8_t* payload, uint64_t bytes, bool at) {
  if (bytes < 6 || bytes != 6u + loadBig<uint16_t>(payload + 4) + (at ? 8 : 0)) fault("an error chunk of another length");
  if (waiting.error) fault("a second error chunk");
  waiting.error = loadBig<uint32_t>(payload);
  if (!waiting.error) fault("an error chunk without an error");
}

// Bytes of a read that have come; without `data` they are zeros.
inline void Peer::takeRange(Waiting& waiting, uint64_t offset, uint64_t bytes, const uint8_t* data) {
  const Asked& asked = waiting.asked;
  if (asked.command != wire::read) fault("data for what is no read");
  if (bytes == 0 || offset < asked.offset || offset + bytes > asked.offset + asked.length) fault("data that was not asked for");
  if (asked.flags & wire::dontFragment && bytes != asked.length) fault("a read that may not be in pieces is");
  for (const auto& [from, to] : waiting.chunks) {
    if (offset < to && offset + bytes > from) fault("the same bytes come twice");
  }
  waiting.chunks.emplace_back(offset, offset + bytes);
  const Bytes zeros(data ? 0 : bytes);
  world_.shadow.expect(offset, data ? data : zeros.data(), bytes, waiting.sent, "a read");
}

inline void Peer::takeStatus(Waiting& waiting, const uint8_t* payload, uint64_t bytes) {
  const bool wide = manner_.mode == Mode::extended;
  const size_t head = wide ? 8 : 4, each = wide ? 16 : 8;
  if (waiting.asked.command != wire::blockStatus) fault("a status for what did not ask for it");
  if (bytes < head + each || (bytes - head) % each) fault("a status chunk of another length");
  const auto id = loadBig<uint32_t>(payload);
  const uint32_t context = id == kAllocationId ? 1 : id == kKeyStateId ? 2 : 4;
  if (!(context & manner_.contexts & ~waiting.statuses)) fault("a status of a context that was not asked for, or twice");
  waiting.statuses |= context;
  const uint64_t count = (bytes - head) / each;
  if (wide && loadBig<uint32_t>(payload + 4) != count) fault("a status chunk miscounts its extents");
  if (waiting.asked.flags & wire::reqOne && count != 1) fault("more than the one extent that was asked for");
  uint64_t total = 0;
  for (const uint8_t* at = payload + head; at < payload + bytes; at += each) {
    const uint64_t length = wide ? loadBig<uint64_t>(at) : loadBig<uint32_t>(at);
    const uint64_t state = wide ? loadBig<uint64_t>(at + 8) : loadBig<uint32_t>(at + 4);
    if (length == 0 || state > (context == 1 ? 3 : 2)) fault("an extent of no length or an unknown state");
    total += length;
  }
  if (waiting.asked.statusPayload == StatusPayload::none && total > waiting.asked.length) fault("extents beyond what was asked for");
}

// The reply is whole.
inline void Peer::takeEnd(Waiting& waiting, uint64_t now) {
  const Asked& asked = waiting.asked;
  if (!waiting.error && asked.command == wire::read) {
    uint64_t got = 0;
    for (const auto& [from, to] : waiting.chunks) got += to - from;
    if (got != asked.length) fault("a read ends before all of it has come");
  }
  const bool all = asked.statusPayload == StatusPayload::none;
  if (!waiting.error && asked.command == wire::blockStatus && (all ? waiting.statuses != manner_.contexts : !waiting.statuses))
    fault("a status ends before all contexts are told");
  if (waiting.write) {
    waiting.write->answered = now;
    waiting.write->failed = waiting.error != 0;
  }
  ++world_.replies;
  forget(asked.cookie);
}

inline void Peer::judgeReply(const Waiting& waiting, uint32_t error, uint64_t now) const {
  const Asked& asked = waiting.asked;
  const auto wrong = [&](const char* how) {
    fault(std::string(how) + ": command " + std::to_string(asked.command) + " flags " + std::to_string(asked.flags) +
          " offset " + std::to_string(asked.offset) + " length " + std::to_string(asked.length) + ", answered " +
          std::to_string(error));
  };
  if (error != wire::none && world_.mayRefuse(error, asked, facts_, waiting.headSent, now)) return;
  if (!world_.mayRun(asked, facts_, waiting.headSent, now)) wrong("a request that breaks a rule has another answer");
  if (!waiting.whole) wrong("a write is answered before its data is sent");
  if (asked.command == wire::blockStatus && error == wire::none) return;  // it asks no gate
  const bool served = error == wire::none;
  if (!served && error != wire::io) wrong("an error that no rule names");
  if (!world_.gate.may(served ? State::live : State::failed, waiting.sent, now))
    wrong(served ? "a request passed a gate that was never live" : "an error though the gate was never failed");
}

inline void Peer::forget(uint64_t cookie) {
  const auto found = waiting_.find(cookie);
  const Waiting& waiting = found->second;
  if (waiting.whole && waiting.asked.command == wire::read)
    world_.readsUnderWay.erase(world_.readsUnderWay.find(waiting.sent));
  waiting_.erase(found);
}

// The stream has ended on either side: the connection must end, and for the right reason. A disk that closes drops what is
// not sent yet, also of a stream that had ended before.
inline void Peer::finish() {
  vanish();
  const auto end = end_->wait();
  if (!end) fault("the connection does not end");
  phase_ = Phase::over;
  expectEnd(*end);
  const uint64_t now = world_.tick();
  while (!waiting_.empty()) {
    auto& [cookie, waiting] = *waiting_.begin();
    if (waiting.write) {
      waiting.write->answered = now;
      waiting.write->unsure = true;
    }
    forget(cookie);
  }
  connection_.reset();
}

inline void Peer::expectEnd(const sealdisk::ConnectionEnd& end) const {
  using Reason = sealdisk::ConnectionEnd::Reason;
  const auto reasonOf = [this] {
    if (abandoned_) return Reason::eof;
    switch (manner_.ending) {
      case Ending::drained:
      case Ending::disconnect:
        return Reason::disconnect;
      case Ending::garbage:
        return Reason::protocol;
      case Ending::closedHere:
        return Reason::closed;
      default:
        return Reason::eof;
    }
  };
  if (end.reason != reasonOf() && !(world_.closed && end.reason == Reason::closed))
    fault("the connection ended for another reason, " + std::to_string(static_cast<int>(end.reason)) + " " + end.detail);
  const bool patient = manner_.ending == Ending::disconnect || manner_.ending == Ending::halfClose ||
                       manner_.ending == Ending::cut || manner_.ending == Ending::drained;
  if (inAt_ != inEnd_ && patient && !world_.closed) fault("a reply is cut");
  const bool alwaysLive = !world_.gate.may(State::hung, born_, kNever);
  if (!patient || !alwaysLive || world_.closed) return;
  for (const auto& [cookie, waiting] : waiting_) {
    if (waiting.whole || !world_.mayRun(waiting.asked, facts_, waiting.headSent, kNever))
      fault("a request is not answered");
  }
}

}  // namespace fuzz
