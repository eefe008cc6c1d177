#include "engine/connection.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "engine/pool.h"
#include "engine/process.h"
#include "engine/socket_buffer.h"

namespace sealdisk {

namespace {

int duplicate(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) throw std::system_error(errno, std::generic_category(), "dup of the socket");
  const int on = 1;
  setsockopt(copy, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // no matter for AF_UNIX
  widenLocalSocket(copy);
  return copy;
}

// TCP resets a connection that is closed with input unread, and takes replies away from a peer that still reads them.
void leaveInOrder(int fd) noexcept {
  shutdown(fd, SHUT_WR);
  static constexpr int kReadsMax = 256;  // a peer that sends on for ever is left behind
  char sink[16384];
  for (int reads = 0; reads < kReadsMax && recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0;) ++reads;
}

}  // namespace

Connection::Connection(Disk& disk, ConnectionOptions options, Ended ended)
    : disk_(disk),
      socket_(duplicate(options.socketFd)),
      makeChannel_(std::move(options.channel)),
      replies_(options.negotiated.replies),
      negotiated_(options.negotiated),
      rest_(options.rest.begin(), options.rest.end()),
      ended_(std::move(ended)) {
  disk_.counters().connections.fetch_add(1);
  const SignalsBlocked untilStarted;
  try {
    thread_ = std::thread([this] { run(); });
  } catch (...) {
    disk_.counters().connections.fetch_sub(1);
    throw;
  }
}

Connection::~Connection() {
  close();
  join();
}

void Connection::join() {
  if (thread_.joinable()) thread_.join();
}

std::unique_ptr<Backing> Connection::makeBacking() {
  if (Pool* pool = disk_.pool()) return makePoolBacking(*pool, disk_.fd(), socket_.get(), mailbox_.wake());
  return makeRing(disk_.fd(), socket_.get(), mailbox_.wake(), store_->hotPayload());
}

void Connection::run() noexcept {
  lockOwnStack();  // where the limit forbids it the server works all the same
  try {
    store_.emplace(mailbox_);
    backing_ = makeBacking();
    if (!backing_) throw std::runtime_error("the kernel refuses another io_uring");
    spin_.emplace();
    executor_.emplace(disk_, negotiated_, *backing_, replies_);
    channel_ = std::exchange(makeChannel_, nullptr)(socket_.get());
    receiver_.emplace(*channel_, negotiated_, *store_, *executor_, rest_);
    rest_ = {};
    loop();
  } catch (const std::exception& error) {  // before the loop, which does not throw
    end_ = {ConnectionEnd::Reason::error, error.what()};
  }
  release();
  disk_.counters().connections.fetch_sub(1);
  finished_.store(true);
  ended_(end_);
}

// Who still holds this object (JavaScript's handle, the disk's list) holds no payload, memory or descriptor of it.
void Connection::release() noexcept {
  backing_.reset();
  receiver_.reset();
  executor_.reset();
  store_.reset();
  channel_.reset();
  spin_.reset();
  if (draining_) leaveInOrder(socket_.get());
  socket_.close();
  mailbox_.shut();
}

void Connection::loop() noexcept {
  judge(receiver_->parse());
  for (;;) {
    work();
    sendReplies();
    if (over()) return;
    if (share_) {
      judge(receiver_->parse());
    } else if (!lookForInput()) {
      sleep();
    }
  }
}

// What has begun, as far as it goes without waiting.
void Connection::work() noexcept {
  executor_->beginShare();
  for (;;) {
    backing_->flush();
    IoOp* op = backing_->ended();
    if (!op) return;
    for (; op; op = backing_->ended()) executor_->ioEnded(static_cast<Job*>(op->owner));
  }
}

// While nothing but input can come.
bool Connection::lookForInput() noexcept {
  if (wantedEvents() != POLLIN || executor_->inFlight() || executor_->parked() || !spin_->begin()) return false;
  Receiver::Verdict verdict = Receiver::Verdict::nothing;
  executor_->beginBatch();
  while (verdict == Receiver::Verdict::nothing && !mailbox_.wake().pending() && spin_->lasts()) verdict = receiver_->receive();
  const bool found = verdict != Receiver::Verdict::nothing;
  spin_->end(found);
  if (!found) return false;
  noteEvent();
  judge(verdict);
  return true;
}

void Connection::sleep() noexcept {
  waiting_.store(executor_->inFlight() + executor_->parked(), std::memory_order_relaxed);
  spin_->fallAsleep();
  const Ready ready = backing_->wait(wantedEvents(), !inputWaits_);
  spin_->wakeUp(ready.socketEvents & POLLIN);
  if (ready.socketEvents) noteEvent();
  executor_->beginBatch();
  if (ready.woken) takeMail();
  takeInput(ready.socketEvents);
}

void Connection::noteEvent() noexcept { events_.store(events_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

void Connection::takeMail() noexcept {
  if (mailbox_.takeGateChanged()) executor_->gateChanged();
  while (Job* job = mailbox_.takeGoingOn()) executor_->goOn(job);
  if (mailbox_.draining() && !draining_) beginDrain();
  if (mailbox_.closing()) end(ConnectionEnd::Reason::closed, "closed here", false);
}

// Parked requests wait for a key, which may never come: with them there is nothing that could be finished.
void Connection::beginDrain() noexcept {
  draining_ = true;
  receiver_->finish();
  if (executor_->parked()) return end(ConnectionEnd::Reason::closed, "closed here", true);
  endWhenDrained();
}

void Connection::endWhenDrained() noexcept {
  if (draining_ && receiver_->between()) end(ConnectionEnd::Reason::closed, "closed here", true);
}

void Connection::takeInput(short events) noexcept {
  if (ending_) return;
  if (!stalled_ && (events & (POLLIN | POLLHUP | POLLERR) || inputWaits_)) return judge(receiver_->receive());
  // Nothing is read while requests are parked to the brim, so the end of file is not seen, but its shadow is. The peer may
  // still read: what is answered already is sent, whole.
  if (stalled_ && executor_->parked() && events & (POLLRDHUP | POLLHUP | POLLERR))
    end(ConnectionEnd::Reason::eof, "the peer went away while requests were parked", true);
}

void Connection::judge(Receiver::Verdict verdict) noexcept {
  using Verdict = Receiver::Verdict;
  using Reason = ConnectionEnd::Reason;
  stalled_ = verdict == Verdict::stalled;
  share_ = verdict == Verdict::share;
  inputWaits_ = verdict == Verdict::again || (verdict == Verdict::more && channel_->holdsInput());
  switch (verdict) {
    case Verdict::nothing:
    case Verdict::more:
    case Verdict::again:
    case Verdict::stalled:
    case Verdict::share:
      return endWhenDrained();
    case Verdict::disconnect:
      return end(Reason::disconnect, "", true);
    case Verdict::eof:
      return end(Reason::eof, "", true);
    case Verdict::cut:
      return end(Reason::eof, "the stream ended inside a request", true);
    case Verdict::protocol:
      return end(Reason::protocol, receiver_->fault(), false);
    case Verdict::error:
      return end(Reason::error, std::strerror(receiver_->error()), false);
  }
}

void Connection::sendReplies() noexcept {
  if (channel_->holdsOutput() && channel_->flush() != 0) broken_ = true;
  if (replies_.empty()) return;
  JobList done;
  if (broken_ || replies_.send(*channel_, done) != 0) {
    broken_ = true;  // the end of file follows, or is here
    replies_.drop(done);
  }
  if (done.empty()) return;
  store_->giveAll(done);
  if (stalled_ && !ending_) judge(receiver_->parse());
}

// The first reason stands; impatience may come later.
void Connection::end(ConnectionEnd::Reason reason, std::string detail, bool patient) noexcept {
  if (!ending_) {
    ending_ = true;
    stalled_ = share_ = inputWaits_ = false;
    patient_ = patient;
    end_ = {reason, std::move(detail)};
  }
  patient_ = patient_ && patient;
  JobList parked = executor_->abandonParked();
  store_->giveAll(parked);
}

bool Connection::over() const noexcept {
  return ending_ && executor_->inFlight() == 0 && (!patient_ || !repliesLeft());
}

bool Connection::repliesLeft() const noexcept {
  return !replies_.empty() || (!broken_ && channel_->holdsOutput());
}

short Connection::wantedEvents() const noexcept {
  short events = repliesLeft() ? POLLOUT : 0;
  if (!ending_ && !stalled_) events |= POLLIN;
  if (!ending_ && stalled_ && executor_->parked()) events |= POLLRDHUP;
  return events;
}

}  // namespace sealdisk
