// Every limit of bulk work, each with its reason.
#pragma once

#include <cstddef>

#include "engine/limits.h"

namespace sealdisk {

// What a worker reads, ciphers and writes at a time: long enough that system calls do not count, short enough to stay in the
// processor's second-level cache between the three.
constexpr size_t kTransformChunkBytes = 512 * KiB;

// The cipher is faster than any file by then.
constexpr size_t kTransformThreadsMax = 8;

static_assert(kTransformChunkBytes % kPageBytes == 0);

}  // namespace sealdisk
