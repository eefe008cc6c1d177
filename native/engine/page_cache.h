// What can be done of an operation without waiting: a copy from or to the page cache.
//
// One system call on the connection's thread, against a hand-over to io_uring or to a worker. Owner: the backing.
#pragma once

#include "engine/backing.h"

namespace sealdisk {

class PageCache {
 public:
  explicit PageCache(int fileFd) noexcept;

  // True when the operation has ended. Else what was done of it is taken off, and the rest is to be done elsewhere.
  bool tryRead(IoOp* op) noexcept;
  bool tryWrite(IoOp* op) noexcept;
  // The file is in memory and nowhere else (tmpfs): a read of it never waits, and io_uring does not know that.
  bool inMemory() const noexcept { return inMemory_; }

 private:
  const int fileFd_;
  const bool cached_;       // the file goes through the page cache
  const bool inMemory_;
  bool readsAsked_ = true;  // the file system can say that a read would wait
};

}  // namespace sealdisk
