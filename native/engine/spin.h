// Whether to look for input a while before falling asleep, which takes longer than many a pause of a busy peer.
//
// It pays as long as input comes within kSpinMaxNs: looks that find nothing shorten the next until there is none, and a
// sleep that was as short brings them back. So an idle connection costs nothing. Nobody looks unless, beside all connections
// that are awake, a processor is left for who is to send. Owner: the connection's thread.
#pragma once

#include <cstdint>

namespace sealdisk {

class Spin {
 public:
  Spin() noexcept;
  ~Spin();
  Spin(const Spin&) = delete;
  Spin& operator=(const Spin&) = delete;

  // That this process may run on.
  static int processors() noexcept;
  // As many connections are awake as there are processors.
  static bool crowded() noexcept;

  // Begins a look, if it is worth it and a processor is to spare: end() follows.
  bool begin() noexcept;
  // It may go on.
  bool lasts() const noexcept;
  void end(bool found) noexcept;

  // Around a sleep that input may end.
  void fallAsleep() noexcept;
  void wakeUp(bool input) noexcept;

 private:
  uint64_t lengthNs_ = 0;
  uint64_t sinceNs_ = 0;
};

}  // namespace sealdisk
