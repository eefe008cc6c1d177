// How much a socket on this host holds, under the rule of kSocketPair… in limits.h. Any thread.
#pragma once

namespace sealdisk {

// Of a new pair for the kernel's device: both ends, both ways.
void sizeSocketPair(const int (&fds)[2]) noexcept;

// Makes room for a large reply in an AF_UNIX socket that nobody has sized; TCP sizes its own.
void widenLocalSocket(int fd) noexcept;

}  // namespace sealdisk
