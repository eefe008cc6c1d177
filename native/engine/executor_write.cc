// WRITE, WRITE_ZEROES and TRIM.
//
// With discard whole sectors of a TRIM or of WRITE_ZEROES become a hole first, and only what it leaves over is written.
// A write is one piece; zeros come in pieces. A piece that cuts a sector reads it, merges and writes it back.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/executor.h"
#include "engine/hole.h"
#include "engine/limits.h"

namespace sealdisk {

void Executor::punch(Job* job) noexcept {
  const Request& request = job->request;
  job->holeBegin = up(request.offset, sector());
  job->holeEnd = down(request.offset + request.length, sector());
  if (!disk_.discards() || job->holeBegin >= job->holeEnd) return punchEnded(job, EOPNOTSUPP);
  const IoOp::Kind kind = request.has(kFlagNoHole) ? IoOp::Kind::zero : IoOp::Kind::punch;
  issue(job, Job::Stage::punch, kind, nullptr, job->holeEnd - job->holeBegin, job->holeBegin);
}

// A file that knows no holes: a trim is a hint, zeros are written, unless they were to be fast.
void Executor::punchEnded(Job* job, int error) noexcept {
  const Request& request = job->request;
  if (error && error != EOPNOTSUPP) return finish(job, onWire(error));
  if (request.command == Command::trim) return done(job);
  if (error && request.has(kFlagFastZero)) return finish(job, NbdErrno::notsup);
  if (error) job->holeBegin = job->holeEnd = 0;
  startPieces(job);
}

void Executor::startPieces(Job* job) noexcept {
  job->pieceEnd = job->request.offset;
  written(job);
}

// From the end of one piece to the next, around the hole.
void Executor::written(Job* job) noexcept {
  const bool hole = job->holeBegin < job->holeEnd;
  job->pieceBegin = hole && job->pieceEnd == job->holeBegin ? job->holeEnd : job->pieceEnd;
  const uint64_t end = job->request.offset + job->request.length;
  if (job->pieceBegin == end) return done(job);
  job->pieceEnd = hole && job->pieceBegin < job->holeBegin ? job->holeBegin : end;
  startPiece(job);
}

// Pieces of zeros end on multiples of kZeroPieceBytes, hence on sectors.
void Executor::startPiece(Job* job) noexcept {
  if (job->request.command == Command::writeZeroes) {
    job->pieceEnd = std::min<uint64_t>(job->pieceEnd, down(job->pieceBegin, sector()) + kZeroPieceBytes);
    std::memset(job->buffer, 0, up(job->pieceEnd, sector()) - down(job->pieceBegin, sector()));
  }
  if (job->pieceBegin % sector() == 0) return mergeTailOrCipher(job);
  issue(job, Job::Stage::mergeHead, IoOp::Kind::read, job->lastPage(), sector(), down(job->pieceBegin, sector()));
}

// The cut sector has been read into the last page: what the request leaves alone goes into the buffer.
void Executor::merge(Job* job, bool tail) noexcept {
  const uint64_t first = down(job->pieceBegin, sector()), last = down(job->pieceEnd, sector());
  uint8_t* page = job->lastPage();
  if (!disk_.holes() || !isHole(page, sector())) decipher(job, page, page, sector(), tail ? last : first);
  if (!tail) std::memcpy(job->buffer, page, job->pieceBegin - first);
  if (job->pieceEnd % sector() && (tail || first == last)) {
    const size_t from = job->pieceEnd - last;
    std::memcpy(job->buffer + (job->pieceEnd - first), page + from, sector() - from);
  }
}

void Executor::mergeTailOrCipher(Job* job) noexcept {
  const uint64_t last = down(job->pieceEnd, sector());
  const bool mergedWithHead = job->pieceBegin % sector() && down(job->pieceBegin, sector()) == last;
  if (job->pieceEnd % sector() == 0 || mergedWithHead) return cipher(job);
  issue(job, Job::Stage::mergeTail, IoOp::Kind::read, job->lastPage(), sector(), last);
}

void Executor::encrypt(Job* job) const noexcept {
  const uint64_t first = down(job->pieceBegin, sector());
  encipher(job, job->buffer, up(job->pieceEnd, sector()) - first, first);
}

// Piece by piece: what was encrypted is still in the processor's cache when it is copied.
void Executor::encryptAndWrite(Job* job) const noexcept {
  const uint64_t first = down(job->pieceBegin, sector()), end = up(job->pieceEnd, sector());
  uint64_t at = first;
  do {
    const uint64_t bytes = std::min<uint64_t>(kCopiedMaxBytes, end - at);
    uint8_t* data = job->buffer + (at - first);
    encipher(job, data, bytes, at);
    prepare(job, Job::Stage::write, IoOp::Kind::write, data, bytes, at);
    while (!job->io.advance(job->io.call(disk_.fd()))) {
    }
    at += bytes;
  } while (at < end && job->io.error == 0);
}

void Executor::writeFile(Job* job) noexcept {
  const uint64_t first = down(job->pieceBegin, sector());
  issue(job, Job::Stage::write, IoOp::Kind::write, job->buffer, up(job->pieceEnd, sector()) - first, first);
}

}  // namespace sealdisk
