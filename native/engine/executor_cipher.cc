// Who does the cipher's work: the connection's thread, or, of a long request beside others, the disk's crew, so that one
// connection uses more than one processor. It goes on with receiving and sending meanwhile.
#include <cstring>

#include "engine/executor.h"
#include "engine/fault.h"
#include "engine/limits.h"
#include "engine/mailbox.h"
#include "engine/pool.h"

namespace sealdisk {

// The one place where a plain disk differs: what lies in its file is what its clients see.
void Executor::encipher(const Job* job, uint8_t* data, size_t bytes, uint64_t exportOffset) const noexcept {
  if (!disk_.plain()) job->pass->key().encrypt(data, bytes, sector(), exportOffset / 512);
}

void Executor::decipher(const Job* job, const uint8_t* from, uint8_t* to, size_t bytes, uint64_t exportOffset) const noexcept {
  if (!disk_.plain()) {
    job->pass->key().decrypt(from, to, bytes, sector(), exportOffset / 512);
  } else if (from != to) {
    std::memcpy(to, from, bytes);
  }
}

// A read that has its ciphertext, or a write that has its plaintext in whole sectors.
void Executor::cipher(Job* job) noexcept {
  job->stage = Job::Stage::cipher;
  if (!handsOver(job)) {
    carryOut(job);
    return ciphered(job);
  }
  const Pool::Task task{[](void* self, void* item) noexcept {
                          auto* handed = static_cast<Job*>(item);
                          static_cast<const Executor*>(self)->help(handed);
                          handed->mailbox->goOn(handed);
                        },
                        this, job};
  disk_.crew()->push({&task, 1});
}

// Alone it is done sooner here than somebody wakes up. Of a long write the copy is handed over, too,
// as io_uring would have to.
bool Executor::handsOver(const Job* job) const noexcept {
  const Pool* crew = disk_.crew();
  if (!crew || crew->busy() >= kCrewBacklog * crew->threads() || Spin::crowded()) return false;
  const uint64_t bytes = job->request.length;
  if (job->request.command != Command::read && !disk_.direct()) return bytes >= kCrewMinBytes;
  if (disk_.plain()) return false;
  const uint64_t worthUs = Spin::processors() > 2 ? kCrewWorthUs : kCrewWorthUsOfTwo;
  return inFlight_ > 1 && bytes >= worthUs * xtsKernelBytesPerUs();
}

// On a thread of the crew. It copies to the page cache, too, while it has the bytes at hand.
void Executor::help(Job* job) const noexcept {
  const bool writes = job->request.command != Command::read;
  writes && !disk_.direct() ? encryptAndWrite(job) : carryOut(job);
}

// Any thread; the key is held by the job's pass.
void Executor::carryOut(Job* job) const noexcept {
  job->gone = false;
  if (job->request.command != Command::read) return encrypt(job);
  if (job->from == job->buffer) return decrypt(job);
  job->gone = !reachable([this, job] { decrypt(job); });
}

void Executor::ciphered(Job* job) noexcept {
  if (job->request.command != Command::read) return writeFile(job);
  job->gone ? readFile(job) : finish(job, NbdErrno::ok);
}

}  // namespace sealdisk
