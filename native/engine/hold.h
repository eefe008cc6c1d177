// A moment in which no request works on a disk's file: what lies there is then a state that a power cut could have left.
//
// Every write that was answered before is in it; none that comes later is, for those are parked. Any thread but a connection's;
// the disk stays open meanwhile.
#pragma once

#include <cstdint>

namespace sealdisk {

class Disk;

class Hold {
 public:
  // Waits until the requests in flight have ended, with limits (kHold*): std::system_error(ETIME) when they never do.
  explicit Hold(Disk& disk);
  ~Hold();
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

  // Ends it. How long requests were held, in nanoseconds.
  uint64_t release() noexcept;

 private:
  bool tryFor(uint64_t patienceMs);

  Disk& disk_;
  uint64_t sinceNs_ = 0;
  bool holds_ = false;
};

}  // namespace sealdisk
