// Every limit of the data plane, each with its reason. Relations between them are asserted here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sealdisk {

constexpr size_t KiB = 1024;
constexpr size_t MiB = 1024 * KiB;

// Pages of the buffers; O_DIRECT and the cipher kernels want no less.
constexpr size_t kPageBytes = 4096;

// What the handshake announces (NBD_INFO_BLOCK_SIZE): proto.md's default for a client that does not ask.
constexpr uint32_t kAnnouncedMaxBytes = 32 * MiB;
// What is served all the same: some clients do not ask and send more; nbdkit and qemu stop here too.
constexpr uint32_t kServedMaxBytes = 64 * MiB;
// Payload of a refused write is read and dropped up to here, so that the connection survives a peer's mistake; a length
// beyond it is no mistake but garbage, and what follows cannot be trusted to be a request.
constexpr uint32_t kSkippedMaxBytes = 2 * kServedMaxBytes;

// Requests of one connection that are not answered yet. The kernel sends 128 per socket; libnbd and fio rarely more.
constexpr size_t kJobsPerConnection = 256;

// Bytes read from a socket at once: many small requests; larger payload goes straight into its buffer.
constexpr size_t kReceiveBytes = 128 * KiB;

// Address space of one connection's payload: the largest request, the sectors that it cuts, and one to merge from.
constexpr size_t kArenaBytes = kServedMaxBytes + 64 * KiB;
// The part of it that is touched and locked beforehand: the kernel's 128 requests of 128 KiB. Lowest pages are handed
// out first, so the rest is touched only by clients that send more than that at once.
constexpr size_t kArenaHotBytes = 16 * MiB;

// WRITE_ZEROES has no payload and no bound: it is worked off in pieces of this size.
constexpr size_t kZeroPieceBytes = 1 * MiB;

// CACHE reads ahead no more than this of what it is asked for: it is a hint, and a disk is larger than memory.
constexpr size_t kCachedMaxBytes = 64 * MiB;

// Chunks of a structured read's reply; what lies behind so many holes is sent as data, zeros included.
constexpr size_t kChunksPerRead = 64;

// Memory of a BLOCK_STATUS reply: its chunks, then the extents of base:allocation, about a thousand.
constexpr size_t kStatusBytes = 16 * KiB;
// Its payload, where a request has one, without the ids that follow: the length of the range.
constexpr uint32_t kStatusPayloadBytes = 8;

// A copy to or from the page cache up to here is made where it is submitted, not by io_uring's workers. Such a piece also
// stays in the processor's second-level cache.
constexpr size_t kCopiedMaxBytes = 64 * KiB;

// Of a file in memory that is mapped so much is known at once to be there, or is not.
constexpr size_t kMappedChunkBytes = 1 * MiB;

// A read of no more than this is fetched into the processor's cache ahead of its turn.
constexpr size_t kExpectedMaxBytes = 16 * KiB;

// Of requests that came together so many bytes are carried out and answered before the rest: the peer works on these while we
// do on those, and what was read is still in the processor's cache when it is deciphered and sent.
constexpr size_t kShareBytes = 64 * KiB;
// While the socket takes no more, or no processor is left for the peer, a share is larger: fewer system calls.
constexpr size_t kLargeShareBytes = 2 * MiB;

// How long a connection looks for its next request before it sleeps: about what falling asleep and waking up cost.
constexpr uint64_t kSpinMaxNs = 50'000;
constexpr uint64_t kSpinMinNs = 1'000;

// Threads of the worker pool, where io_uring is not there. A disk's queue is rarely deeper for what they do.
constexpr size_t kPoolThreads = 8;
// Past the page cache each operation waits for the disk in a thread of its own: as many as the kernel sends at once. They are
// all started beforehand, since there may be no memory for another later.
constexpr size_t kDirectPoolThreads = 128;

// Threads of a disk that do the cipher's part of long requests, beside those of its connections: no more wait for them than
// they can soon do, and only such that are worth waking somebody.
constexpr size_t kCrewThreadsMax = 7;
constexpr size_t kCrewBacklog = 2;  // for each thread
constexpr size_t kCrewMinBytes = 128 * KiB;
constexpr uint64_t kCrewWorthUs = 20;
constexpr uint64_t kCrewWorthUsOfTwo = 100;  // of two processors the other one has the peer, mostly

// Buffers of one sendmsg: at most IOV_MAX; a reply takes two.
constexpr size_t kReplyVectors = 256;

// A hold ends when requests in flight have not ended in this time, and is tried again after a pause: it is not to be felt. Once in a
// while one takes that long (a write of 64 MiB on a slow disk), so that the last try has more patience.
constexpr uint64_t kHoldPatienceMs = 40;
constexpr uint64_t kHoldPauseMs = 60;
constexpr int kHoldTries = 30;
constexpr uint64_t kLastHoldPatienceMs = 2'000;

// A copy before write is made by chunks: the smaller, the less a small write waits for; a map has a bit for each.
constexpr uint64_t kCopyChunkBytes = 64 * KiB;
// So many at once, where nobody waits.
constexpr uint64_t kCopyRunBytes = 512 * KiB;
// While the disk is used, a copy rests for so many times what its last step took, and no longer than this.
constexpr uint64_t kCopyGivesWay = 3;
constexpr uint64_t kCopyPauseMaxNs = 50'000'000;
// What has been copied begins its way to storage in pieces of this size.
constexpr uint64_t kCopyWriteOutBytes = 8 * MiB;

// Entries of a connection's ring: each job has one operation at a time; the rest are the polls.
constexpr unsigned kRingEntries = 512;

// Socket buffers of a pair made for the kernel's device. The kernel's nbd driver fills them from the emergency reserve of
// memory (vm.min_free_kbytes; __GFP_MEMALLOC in drivers/block/nbd.c, sock_xmit), and takes the socket for dead when the
// reserve is empty. The kernel doubles what is asked for, so that one device may take an eighth of the reserve.
constexpr size_t kSocketPairMaxBytes = 4 * MiB;
constexpr size_t kSocketPairMinBytes = 64 * KiB;
constexpr size_t kSocketPairShareOfReserve = 16;
// What a local client's socket takes of replies at least, under the same rule: room for a large one, so that we do not fall asleep
// several times in each.
constexpr size_t kLocalSendBytes = 512 * KiB;

static_assert(kAnnouncedMaxBytes <= kServedMaxBytes);
static_assert(kServedMaxBytes + 3 * kPageBytes <= kArenaBytes, "a request with two cut sectors must fit, and its merge page");
static_assert(kArenaHotBytes <= kArenaBytes && kArenaBytes % kPageBytes == 0);
static_assert(kZeroPieceBytes % kPageBytes == 0 && kZeroPieceBytes + kPageBytes <= kArenaBytes);
static_assert(kSocketPairMinBytes <= kSocketPairMaxBytes);
static_assert(kCopyRunBytes % kCopyChunkBytes == 0 && kCopyChunkBytes % kPageBytes == 0);
static_assert(kReplyVectors <= 1024, "IOV_MAX");
static_assert(kJobsPerConnection + 8 <= kRingEntries);

}  // namespace sealdisk
