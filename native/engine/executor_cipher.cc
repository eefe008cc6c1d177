// Who does the cipher's work: the connection's thread, or, of a long request beside others, the disk's crew, so that one
// connection uses more than one processor. It goes on with receiving and sending meanwhile.
#include "engine/executor.h"
#include "engine/fault.h"
#include "engine/limits.h"
#include "engine/mailbox.h"
#include "engine/pool.h"

namespace sealdisk {

// A read that has its ciphertext, or a write that has its plaintext in whole sectors.
void Executor::cipher(Job* job) noexcept {
  job->stage = Job::Stage::cipher;
  if (!handsOver(job)) {
    carryOut(job);
    return ciphered(job);
  }
  const Pool::Task task{[](void* self, void* item) noexcept {
                          auto* handed = static_cast<Job*>(item);
                          static_cast<const Executor*>(self)->carryOut(handed);
                          handed->mailbox->goOn(handed);
                        },
                        this, job};
  disk_.crew()->push({&task, 1});
}

// Alone it is done sooner here than somebody wakes up.
bool Executor::handsOver(const Job* job) const noexcept {
  const Pool* crew = disk_.crew();
  return job->request.length >= kCrewMinBytes && inFlight_ > 1 && crew && !Spin::crowded() &&
         crew->busy() < kCrewBacklog * crew->threads();
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
