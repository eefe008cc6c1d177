// BLOCK_STATUS: what lies where (base:allocation), and whether the key is there (sealdisk:key-state).
//
// proto.md, NBD_CMD_BLOCK_STATUS and "The base: metadata namespace". Neither needs the key. sealdisk:key-state has one
// extent, whose flags are 0 live, 1 hung, 2 failed.
#pragma once

#include <optional>

#include "engine/disk.h"
#include "engine/job.h"
#include "engine/request.h"

namespace sealdisk {

constexpr uint32_t kStateHole = 1 << 0;
constexpr uint32_t kStateZero = 1 << 1;

// Prepares the parts of the reply in the job's buffer (kStatusBytes). A refusal when the request's payload is no good,
// or the file does not tell.
std::optional<Refusal> prepareStatus(Disk& disk, const Negotiated& negotiated, Job* job) noexcept;

}  // namespace sealdisk
