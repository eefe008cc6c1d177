// BLOCK_STATUS: what lies where (base:allocation), whether the key is there (sealdisk:key-state), and what has changed since an older
// snapshot (under the names that src/attach gives that).
//
// proto.md, NBD_CMD_BLOCK_STATUS and "The base: metadata namespace". None needs the key. sealdisk:key-state has one
// extent, whose flags are 0 live, 1 hung, 2 failed. Of what has changed flag 0 is set, as in QEMU's dirty bitmaps.
#pragma once

#include <optional>

#include "engine/disk.h"
#include "engine/job.h"
#include "engine/request.h"

namespace sealdisk {

constexpr uint32_t kStateHole = 1 << 0;
constexpr uint32_t kStateZero = 1 << 1;
constexpr uint32_t kStateChanged = 1 << 0;

// Prepares the parts of the reply in the job's buffer (kStatusBytes). A refusal when the request's payload is no good,
// or the file does not tell.
std::optional<Refusal> prepareStatus(Disk& disk, const Negotiated& negotiated, Job* job) noexcept;

}  // namespace sealdisk
