// One NBD connection in its transmission phase, on a thread of its own.
//
// The loop takes in what the socket has, lets the executor work, sends what is ready, and waits once for everything:
// socket, disk, mailbox. When the connection ends, requests in flight always finish; parked ones are dropped unanswered,
// and the peer sends them again elsewhere. drain() ends it when what has begun to arrive is answered, close() does not wait
// for a peer: neither for the rest of its request, nor until it has read its replies.
//
// Threads: the constructor, close() and join() are the disk's control thread's; run() and all members are the
// connection's thread's, except mailbox_ and the atomics, which are for all.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/channel.h"
#include "engine/executor.h"
#include "engine/fd.h"
#include "engine/mailbox.h"
#include "engine/receiver.h"
#include "engine/reply.h"
#include "engine/spin.h"

namespace sealdisk {

struct ConnectionOptions {
  int socketFd = -1;                // duplicated
  std::span<const uint8_t> rest{};  // what was read from it already, at most kReceiveBytes
  Negotiated negotiated;
  MakeChannel channel = makeSocketChannel;  // called on the connection's thread
};

struct ConnectionEnd {
  enum class Reason { disconnect, eof, protocol, closed, error };
  Reason reason;
  std::string detail;
};

// For who ends idle connections.
struct ConnectionActivity {
  uint64_t events;   // grows with whatever the peer does
  uint64_t waiting;  // requests that wait for us: in flight, or parked behind the gate
};

class Connection {
 public:
  using Ended = std::function<void(const ConnectionEnd&)>;

  // See Disk::serve, which alone makes one. Starts the thread.
  Connection(Disk& disk, ConnectionOptions options, Ended ended);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Any thread, also after the end.
  void drain() noexcept { mailbox_.drain(); }
  void close() noexcept { mailbox_.close(); }
  void gateChanged() noexcept { mailbox_.gateChanged(); }
  bool finished() const noexcept { return finished_.load(); }
  ConnectionActivity activity() const noexcept { return {events_.load(), waiting_.load()}; }
  void join();

 private:
  void run() noexcept;
  std::unique_ptr<Backing> makeBacking();
  void loop() noexcept;
  void release() noexcept;
  void work() noexcept;
  bool lookForInput() noexcept;
  void sleep() noexcept;
  void noteEvent() noexcept;
  void takeMail() noexcept;
  void beginDrain() noexcept;
  void endWhenDrained() noexcept;
  void takeInput(short events) noexcept;
  void judge(Receiver::Verdict verdict) noexcept;
  void sendReplies() noexcept;
  void end(ConnectionEnd::Reason reason, std::string detail, bool patient) noexcept;
  bool over() const noexcept;
  bool repliesLeft() const noexcept;
  short wantedEvents() const noexcept;

  Disk& disk_;
  Fd socket_;
  MakeChannel makeChannel_;
  std::unique_ptr<Channel> channel_;
  Mailbox mailbox_;
  std::optional<JobStore> store_;
  ReplyQueue replies_;
  std::optional<Spin> spin_;
  std::unique_ptr<Backing> backing_;
  std::optional<Executor> executor_;
  std::optional<Receiver> receiver_;
  const Negotiated negotiated_;
  std::vector<uint8_t> rest_;

  bool stalled_ = false;     // the receiver waits for a job or for memory
  bool share_ = false;       // the receiver waits until what has begun is answered
  bool inputWaits_ = false;  // the socket had more than one recv took
  bool draining_ = false;    // no more input than the rest of what has begun to arrive
  bool ending_ = false;      // no more input
  bool patient_ = false;     // replies that are left are sent before the end
  bool broken_ = false;      // the socket takes no more replies
  ConnectionEnd end_{ConnectionEnd::Reason::closed, ""};
  Ended ended_;
  std::atomic<bool> finished_{false};
  std::atomic<uint64_t> events_{0}, waiting_{0};  // see ConnectionActivity
  std::thread thread_;
};

}  // namespace sealdisk
