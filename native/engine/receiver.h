// The inward half of a connection: bytes of the socket become requests.
//
// One recv takes in many requests. Payload of a write that is not in the receive buffer yet is received straight into
// its place. A request that finds no job or no memory stalls the receiver; nothing is read until it goes on.
//
// Owner: the connection's thread.
#pragma once

#include <memory>
#include <span>

#include "engine/channel.h"
#include "engine/executor.h"
#include "engine/job_store.h"
#include "engine/limits.h"

namespace sealdisk {

class Receiver {
 public:
  enum class Verdict {
    nothing,     // the socket was empty
    more,        // all taken in, the socket is (nearly) empty
    again,       // the socket had more than fitted
    stalled,     // goes on with parse() when a job has been given back
    share,       // goes on with parse() when what has begun is issued and answered
    disconnect,  // DISC
    eof,         // end of file between two requests
    cut,         // end of file inside a request
    protocol,    // the peer broke the protocol; fault() says how
    error,       // the socket failed; error() is the errno
  };

  Receiver(Channel& channel, const Negotiated& negotiated, JobStore& store, Executor& executor,
           std::span<const uint8_t> rest);

  // Works off what is in the buffer.
  Verdict parse() noexcept;
  // One recv, then parse(). Not to be called while stalled.
  Verdict receive() noexcept;

  // From now on only the rest of a request that has begun to arrive is received: until between().
  void finish() noexcept { finishing_ = true; }
  // No request has arrived in part, none waits in the buffer.
  bool between() const noexcept { return !current_ && !skip_ && available() == 0; }

  const char* fault() const noexcept { return fault_; }
  int error() const noexcept { return error_; }

 private:
  size_t available() const noexcept { return end_ - begin_; }
  Verdict takeHeader(bool& progressed) noexcept;
  void expectNext() const noexcept;
  void takePayload() noexcept;
  void compact() noexcept;
  size_t room() const noexcept;

  Channel& channel_;
  const Negotiated negotiated_;
  JobStore& store_;
  Executor& executor_;

  Arena memory_;  // of the receive buffer: payload passes through it
  uint8_t* buffer_;
  size_t begin_ = 0, end_ = 0;

  Job* current_ = nullptr;      // the request whose payload is coming in
  size_t payloadGot_ = 0;       // of it
  size_t skip_ = 0;             // bytes of a refused write's payload that are still to come
  bool finishing_ = false;
  const char* fault_ = "";
  int error_ = 0;
};

}  // namespace sealdisk
