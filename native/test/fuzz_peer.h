// One connection of the fuzzer: what it sends, in which pieces, how it reads, how it ends, and what may come back.
//
// What is asked depends on the seed alone. A request is known to the model from the moment its header is
// sent, a write's data from the moment all of it is. What comes back is judged in fuzz_replies.h.
//
// Owner: the driver's thread; nothing here blocks, except to await the end of a connection that must end.
#pragma once

#include <deque>
#include <unordered_map>

#include "fuzz_manner.h"
#include "fuzz_world.h"

namespace fuzz {

class Peer {
 public:
  Peer(World& world, uint64_t seed);
  ~Peer() { vanish(); }

  bool over() const { return phase_ == Phase::over; }
  pollfd wanted() const;
  // Sends, reads and checks what can be; true when something moved.
  bool step(short events);
  // The disk has begun to grow at `begun`: writes that did not fit may fit now.
  void grown(uint64_t begun);
  std::string describe() const;

 private:
  enum class Phase { sending, reading, over };

  struct Waiting {
    Asked asked;
    uint64_t headSent, sent;  // when the header was, and its last byte
    bool whole = false;       // payload and all are sent
    Bytes data;               // of a write that is not begun
    WriteRef write;           // begun: it may be carried out
    uint32_t error = 0;       // of an error chunk that has come
    std::vector<std::pair<uint64_t, uint64_t>> chunks;  // ranges of a read that have come
    uint32_t statuses = 0;                              // contexts of a BLOCK_STATUS that have been told
  };
  // Where in the stream a request lies that is not wholly sent.
  struct Mark {
    uint64_t headEnd, end;
    Asked asked;
    Bytes data;
    bool known = false;  // stands among the waiting
  };

  void serve();
  void fill();
  void make(const Bytes& bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    madeTotal_ += bytes.size();
  }
  void fillToTheBrim();
  bool reads() const {
    return phase_ == Phase::reading || !manner_.readsLate || blocked_ || waiting_.size() >= manner_.depth ||
           (left_ == 0 && outAt_ == out_.size());
  }
  bool mayMake() const { return left_ > 0 && waiting_.size() + marks_.size() < manner_.depth; }
  void addRequest();
  void addEnd();
  bool send();
  void sentUpTo(uint64_t now);
  void mayBegin(Waiting& waiting, uint64_t now);
  void endSending();
  bool receive();
  void take();
  bool takeSimple(uint64_t now);
  bool takeChunk(uint64_t now);
  Waiting& waitingFor(uint64_t cookie);
  void takeError(Waiting& waiting, const uint8_t* payload, uint64_t bytes, bool at);
  void takeRange(Waiting& waiting, uint64_t offset, uint64_t bytes, const uint8_t* data);
  void takeStatus(Waiting& waiting, const uint8_t* payload, uint64_t bytes);
  void takeEnd(Waiting& waiting, uint64_t now);
  void judgeReply(const Waiting& waiting, uint32_t error, uint64_t now) const;
  void forget(uint64_t cookie);
  void finish();
  size_t piece(size_t most) { return pace_.oneIn(2) ? kPieceMaxBytes : most; }
  void expectEnd(const sealdisk::ConnectionEnd& end) const;
  void vanish() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  World& world_;
  Dice dice_;
  Dice pace_;  // pieces and cookies: what is asked does not depend on when
  const Manner manner_;
  Grammar grammar_;
  const ExportFacts facts_;  // its size is the world's
  const uint64_t born_;
  int fd_ = -1;
  std::shared_ptr<sealdisk::Connection> connection_;
  std::shared_ptr<rig::Later<sealdisk::ConnectionEnd>> end_;

  Phase phase_ = Phase::sending;
  uint64_t left_;           // requests to be made
  bool ended_ = false;      // the stream's end is among what is to be sent
  bool blocked_ = false;    // the socket took nothing
  bool abandoned_ = false;  // left with requests behind a shut gate
  Bytes out_;
  size_t outAt_ = 0;
  uint64_t sentTotal_ = 0;  // bytes of the stream
  uint64_t madeTotal_ = 0;
  std::deque<Mark> marks_;
  std::unordered_map<uint64_t, Waiting> waiting_;
  Bytes in_;
  size_t inAt_ = 0, inEnd_ = 0;
};

inline Peer::Peer(World& world, uint64_t seed)
    : world_(world),
      dice_(seed),
      pace_(~seed),
      manner_(Manner::draw(dice_)),
      grammar_(dice_, dice_.oneIn(2) ? world.shape.sizeBytes : world.shape.sizeMaxBytes, world.shape.sectorBytes,
               manner_.mode, manner_.contexts),
      facts_{0, world.shape.readOnly || manner_.readOnly, world.shape.discards, manner_.mode, manner_.contexts != 0},
      born_(world.tick()),
      left_(manner_.inputs) {
  serve();
}

inline void Peer::serve() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) fault("socketpair");
  fd_ = fds[1];
  if (dice_.oneIn(4)) {
    const int small = static_cast<int>(dice_.between(2048, 16384));
    for (const int fd : fds) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  }
  Bytes rest;
  if (manner_.restGiven) {
    fill();
    const size_t bytes = dice_.between(0, std::min(out_.size(), sealdisk::kReceiveBytes));
    rest.assign(out_.begin(), out_.begin() + static_cast<long>(bytes));
    outAt_ = bytes;
  }
  end_ = std::make_shared<rig::Later<sealdisk::ConnectionEnd>>();
  const uint64_t now = world_.tick();
  sealdisk::ConnectionOptions options;
  options.socketFd = fds[0];
  options.rest = rest;
  options.negotiated.readOnly = manner_.readOnly;
  options.negotiated.replies = static_cast<sealdisk::Replies>(manner_.mode);
  options.negotiated.allocationId = manner_.contexts & 1 ? kAllocationId : 0;
  options.negotiated.keyStateId = manner_.contexts & 2 ? kKeyStateId : 0;
  connection_ = world_.disk->serve(std::move(options),
                                   [end = end_](const sealdisk::ConnectionEnd& how) { end->set(how); });
  close(fds[0]);
  sentTotal_ = outAt_;
  sentUpTo(now);
}

inline pollfd Peer::wanted() const {
  const bool sends = phase_ == Phase::sending && (outAt_ < out_.size() || mayMake());
  return {fd_, static_cast<short>((sends ? POLLOUT : 0) | (reads() ? POLLIN : 0)), 0};
}

inline bool Peer::step(short events) {
  bool moved = false;
  if (events & POLLHUP) phase_ = Phase::reading;  // the server has ended it: whether it may, its end will show
  if (phase_ == Phase::sending) {
    fill();
    if (phase_ == Phase::sending && outAt_ < out_.size()) moved = send();
    if (phase_ == Phase::sending && outAt_ == out_.size() && ended_) endSending();
  }
  if (phase_ != Phase::over && reads() && events & (POLLIN | POLLHUP | POLLERR)) moved = receive() || moved;
  return moved;
}

inline void Peer::fill() {
  if (outAt_ == out_.size()) {
    out_.clear();
    outAt_ = 0;
  }
  while (mayMake() && out_.size() - outAt_ < 16384) addRequest();
  if (left_ > 0 || ended_) return;
  if (manner_.ending != Ending::drained) return addEnd();
  if (!waiting_.empty() || !marks_.empty()) return;
  manner_.brims && connection_ && world_.peers == 1 && world_.gate.latest() == State::live ? fillToTheBrim() : addEnd();
}

// All that was asked is answered, so nothing may be held: as many requests as there are jobs, with all bytes that there
// are, must find room behind a shut gate.
inline void Peer::fillToTheBrim() {
  using sealdisk::kJobsPerConnection;
  Asked asked;
  if (manner_.mode != Mode::simple) asked.flags = wire::dontFragment;  // in pieces it would take more than its length
  asked.length = static_cast<uint32_t>(std::min<uint64_t>(world_.shape.sizeBytes, sealdisk::kServedMaxBytes / kJobsPerConnection));
  world_.enter(State::hung);
  for (size_t i = 0; i < kJobsPerConnection; ++i) {
    const Bytes request = headerOf(asked, manner_.mode);
    if (!rig::eventually([&] { return ::send(fd_, request.data(), request.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0; }))
      fault("a drained connection takes no more");
  }
  if (!rig::eventually([&] { return world_.disk->counters().parked.load() == kJobsPerConnection; }))
    fault("a drained connection has lost jobs or memory");
  abandoned_ = true;
  finish();
  world_.enter(State::live);
}

inline void Peer::addRequest() {
  --left_;
  Mark mark;
  mark.asked = grammar_.request(mark.data);
  do {
    mark.asked.cookie = pace_.oneIn(50) ? 0 - pace_.below(2) : pace_.next();
  } while (waiting_.count(mark.asked.cookie) || std::any_of(marks_.begin(), marks_.end(), [&mark](const Mark& one) {
             return one.asked.cookie == mark.asked.cookie;
           }));
  const Bytes header = headerOf(mark.asked, manner_.mode);
  make(header);
  mark.headEnd = madeTotal_;
  make(mark.data);
  mark.end = madeTotal_;
  if (left_ == 0 && (manner_.ending == Ending::cut || (manner_.ending == Ending::vanish && dice_.oneIn(2)))) {
    const uint64_t lost = dice_.between(1, header.size() + mark.data.size() - 1);
    out_.resize(out_.size() - lost);
    madeTotal_ -= lost;
  }
  marks_.push_back(std::move(mark));
}

// What follows the last request.
inline void Peer::addEnd() {
  ended_ = true;
  if (manner_.ending == Ending::drained || manner_.ending == Ending::disconnect) {
    Asked last;
    last.command = wire::disconnect;
    if (dice_.oneIn(2)) last.flags = static_cast<uint16_t>(dice_.next()) & ~wire::payloadLength;
    last.cookie = last.offset = dice_.next();
    make(headerOf(last, manner_.mode));
  } else if (manner_.ending == Ending::garbage) {
    make(grammar_.garbage());
    for (uint64_t more = dice_.below(4); more > 0; --more) make(grammar_.another());
  }
}

inline bool Peer::send() {
  const uint64_t now = world_.tick();
  const size_t bytes = std::min(out_.size() - outAt_, piece(manner_.sendBytes));
  const ssize_t result = ::send(fd_, &out_[outAt_], bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
  blocked_ = result < 0;
  if (result < 0) {
    if (errno == EAGAIN || errno == EINTR) return false;
    if (errno != EPIPE && errno != ECONNRESET) fault("send: " + std::string(strerror(errno)));
    phase_ = Phase::reading;  // as at a hang-up
    return true;
  }
  outAt_ += static_cast<size_t>(result);
  sentTotal_ += static_cast<uint64_t>(result);
  sentUpTo(now);
  return true;
}

// `now`: before the bytes were given to the socket.
inline void Peer::sentUpTo(uint64_t now) {
  while (!marks_.empty() && marks_.front().headEnd <= sentTotal_) {
    Mark& mark = marks_.front();
    const uint64_t cookie = mark.asked.cookie;
    if (!mark.known) {
      mark.known = true;
      ++world_.inputs;
      Waiting& waiting = waiting_[cookie];
      waiting.asked = mark.asked;
      waiting.headSent = waiting.sent = now;
    }
    if (mark.end > sentTotal_) return;
    const auto found = waiting_.find(cookie);
    if (found != waiting_.end()) {  // else it was refused before its payload had come
      Waiting& waiting = found->second;
      waiting.whole = true;
      waiting.sent = now;
      waiting.data = std::move(mark.data);
      if (mark.asked.command == wire::read) world_.readsUnderWay.insert(now);
      mayBegin(waiting, now);
    }
    marks_.pop_front();
  }
}

inline void Peer::grown(uint64_t begun) {
  for (auto& [cookie, waiting] : waiting_) mayBegin(waiting, begun);
}

// A write that may be carried out from `now` on is part of the model from then on. A trim makes zeros of what it likes.
inline void Peer::mayBegin(Waiting& waiting, uint64_t now) {
  const Asked& asked = waiting.asked;
  const bool trims = asked.command == wire::trim && world_.shape.discards;
  if (!waiting.whole || waiting.write || !(asked.writes() || trims)) return;
  if (!world_.mayRun(asked, facts_, waiting.headSent, now)) return;
  waiting.write = std::make_shared<Write>(
      Write{asked.offset, asked.offset + asked.length, now, kNever, trims, false, std::move(waiting.data)});
  world_.shadow.begin(waiting.write, world_.oldestRead());
}

inline void Peer::endSending() {
  phase_ = Phase::reading;
  switch (manner_.ending) {
    case Ending::halfClose:
    case Ending::cut:
      shutdown(fd_, SHUT_WR);
      return;
    case Ending::vanish:
      return finish();
    case Ending::closedHere:
      return connection_->close();
    default:
      return;
  }
}

inline std::string Peer::describe() const {
  return "ending " + std::to_string(static_cast<int>(manner_.ending)) + ", phase " +
         std::to_string(static_cast<int>(phase_)) + ", " + std::to_string(waiting_.size()) + " waiting, " +
         std::to_string(left_) + " to make, " + std::to_string(out_.size() - outAt_) + " bytes to send";
}

}  // namespace fuzz

#include "fuzz_replies.h"
