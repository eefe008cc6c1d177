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

inline void Peer::take() {
  const uint64_t now = world_.tick();
  while (inEnd_ - inAt_ >= wire::kSimpleReplyBytes) {
    uint32_t magic, error;
    uint64_t cookie;
    memcpy(&magic, &in_[inAt_], 4);
    memcpy(&error, &in_[inAt_ + 4], 4);
    memcpy(&cookie, &in_[inAt_ + 8], 8);
    cookie = be64toh(cookie);
    error = be32toh(error);
    if (be32toh(magic) != wire::kSimpleReplyMagic) fault("a reply has another magic");
    const auto found = waiting_.find(cookie);
    if (found == waiting_.end()) fault("a reply to a request that nobody made, or the second to one");
    Waiting& waiting = found->second;
    judgeReply(waiting, error, now);
    const size_t data = waiting.asked.command == wire::read && error == 0 ? waiting.asked.length : 0;
    if (inEnd_ - inAt_ < wire::kSimpleReplyBytes + data) return;
    if (data) {
      world_.shadow.expect(waiting.asked.offset, &in_[inAt_ + wire::kSimpleReplyBytes], data, waiting.sent, "a read");
    }
    if (waiting.write) {
      waiting.write->answered = now;
      waiting.write->failed = error != 0;
    }
    inAt_ += wire::kSimpleReplyBytes + data;
    ++world_.replies;
    forget(cookie);
  }
}

inline void Peer::judgeReply(const Waiting& waiting, uint32_t error, uint64_t now) const {
  const Asked& asked = waiting.asked;
  const auto wrong = [&](const char* how) {
    fault(std::string(how) + ": command " + std::to_string(asked.command) + " flags " + std::to_string(asked.flags) +
          " offset " + std::to_string(asked.offset) + " length " + std::to_string(asked.length) + ", answered " +
          std::to_string(error));
  };
  if (error != wire::none && world_.mayRefuse(error, asked, readOnly_, waiting.headSent, now)) return;
  if (!world_.mayRun(asked, readOnly_, waiting.headSent, now)) wrong("a request that breaks a rule has another answer");
  if (!waiting.whole) wrong("a write is answered before its data is sent");
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

// The stream has ended on either side: the connection must end, and for the right reason.
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
  const bool byUs = world_.closed && end.reason == Reason::closed;
  if (end.reason != reasonOf() && !byUs)
    fault("the connection ended for another reason, " + std::to_string(static_cast<int>(end.reason)) + " " + end.detail);
  const bool patient = manner_.ending == Ending::disconnect || manner_.ending == Ending::halfClose ||
                       manner_.ending == Ending::cut || manner_.ending == Ending::drained;
  if (inAt_ != inEnd_ && patient && !byUs) fault("a reply is cut");
  const bool alwaysLive = !world_.gate.may(State::hung, born_, kNever);
  if (!patient || !alwaysLive || byUs) return;
  for (const auto& [cookie, waiting] : waiting_) {
    if (waiting.whole || !world_.mayRun(waiting.asked, readOnly_, waiting.headSent, kNever))
      fault("a request is not answered");
  }
}

}  // namespace fuzz
