// READ: whole sectors come from the file, or lie in memory, and are decrypted into the buffer. On a disk that may have holes
// those are left as they are, and told to clients that understand it.
#include <algorithm>
#include <cstring>

#include "engine/executor.h"
#include "engine/hole.h"
#include "engine/limits.h"

namespace sealdisk {

static_assert(kChunksPerRead * sizeof(ReplyPart) <= kPageBytes);

// What lies in memory is not copied first: deciphering is the copy.
void Executor::read(Job* job) noexcept {
  const uint64_t begin = job->claim.begin, bytes = job->claim.end - begin;
  job->from = disk_.mapped().at(disk_.geometry().offsetBytes + begin, bytes);
  job->from ? cipher(job) : readFile(job);
}

void Executor::readFile(Job* job) noexcept {
  job->from = job->buffer;
  issue(job, Job::Stage::read, IoOp::Kind::read, job->buffer, job->claim.end - job->claim.begin, job->claim.begin);
}

void Executor::decrypt(Job* job) const noexcept {
  const size_t bytes = job->claim.end - job->claim.begin;
  // Zeros of a plain disk are zeros wherever they lie: only who is told of holes needs to know them.
  if (disk_.holes() && (!disk_.plain() || readsInChunks(job->request))) return decryptAround(job, bytes);
  decipher(job, job->from, job->buffer, bytes, job->claim.begin);
}

// Run by run of sectors that are holes, or are not.
void Executor::decryptAround(Job* job, size_t bytes) const noexcept {
  const uint8_t* from = job->from;
  const bool chunks = readsInChunks(job->request);
  if (chunks) {
    job->parts = reinterpret_cast<ReplyPart*>(job->lastPage());
    job->partCount = 0;
  }
  for (size_t at = 0; at < bytes;) {
    const bool hole = isHole(from + at, sector());
    size_t end = at + sector();
    while (end < bytes && isHole(from + end, sector()) == hole) end += sector();
    if (hole) {
      std::memset(job->buffer + at, 0, end - at);
    } else {
      decipher(job, from + at, job->buffer + at, end - at, job->claim.begin + at);
    }
    if (chunks) addChunk(job, at, end, hole);
    at = end;
  }
}

// A chunk of the reply for what was asked of bytes [from, to) of the buffer. The last one that has room takes the rest
// with it, as data.
void Executor::addChunk(Job* job, size_t from, size_t to, bool hole) const noexcept {
  if (job->partCount == kChunksPerRead) return;
  const uint64_t requestEnd = job->request.offset + job->request.length;
  const uint64_t begin = std::max(job->request.offset, job->claim.begin + from);
  uint64_t end = std::min(requestEnd, job->claim.begin + to);
  if (job->partCount == kChunksPerRead - 1) {
    hole = hole && end == requestEnd;
    end = requestEnd;
  }
  const PartWriter writer(job->request, negotiated_.replies);
  const auto length = static_cast<uint32_t>(end - begin);
  const uint8_t* data = job->buffer + (begin - job->claim.begin);
  const bool done = end == requestEnd;
  job->parts[job->partCount++] = hole ? writer.hole(begin, length, done) : writer.data(begin, data, length, done);
}

}  // namespace sealdisk
