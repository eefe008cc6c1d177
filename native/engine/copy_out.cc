#include "engine/copy_out.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

#include "engine/disk.h"
#include "engine/hold.h"
#include "engine/process.h"

namespace sealdisk {

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void failWith(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

uint64_t endOf(int fd) {
  const off_t end = lseek(fd, 0, SEEK_END);
  if (end < 0) failWith(errno, "lseek");
  return static_cast<uint64_t>(end);
}

// Where data (or a hole) begins at or after `at`; `end` when none does. What tells nothing of holes is data all over.
uint64_t seek(int fd, uint64_t at, uint64_t end, int whence) noexcept {
  const off_t found = lseek(fd, static_cast<off_t>(at), whence);
  if (found < 0) return whence == SEEK_DATA && errno != ENXIO ? at : end;
  return std::min(end, static_cast<uint64_t>(found));
}

// A whole transfer, or an exception.
template <typename Call>
void whole(Call call, uint64_t begin, uint64_t end, const char* what) {
  while (begin < end) {
    const ssize_t moved = call(begin, end);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) failWith(moved < 0 ? errno : EIO, what);
    begin += static_cast<uint64_t>(moved);
  }
}

}  // namespace

CopyOut::CopyOut(Disk& disk, CopyOptions options, std::function<void(uint64_t)> begun, std::function<void(int)> ended)
    : disk_(disk),
      options_(std::move(options)),
      begun_(std::move(begun)),
      ended_(std::move(ended)),
      memory_(kCopyRunBytes, kCopyRunBytes),
      buffer_(memory_.take(kCopyRunBytes)) {
  const SignalsBlocked untilStarted;
  thread_ = std::thread([this] { run(); });
}

CopyOut::~CopyOut() {
  cancel();
  join();
}

void CopyOut::join() noexcept {
  if (thread_.joinable()) thread_.join();
}

void CopyOut::run() noexcept {
  lockOwnStack();
  int error = 0;
  try {
    openFiles();
    take();
    copyAll();
    if (fdatasync(target_.get()) != 0) failWith(errno, "sync of a copy");
  } catch (const std::system_error& failure) {
    error = failure.code().value();
  }
  if (error) fail();
  disk_.copies().remove(this);
  finished_.store(true);
  ended_(error);
}

void CopyOut::openFiles() {
  const uint64_t sourceBytes = endOf(disk_.fd());
  const int flags = O_RDWR | O_CLOEXEC | (options_.resume ? 0 : O_CREAT);
  target_ = Fd(open(options_.path.c_str(), flags, 0600));
  if (target_.get() < 0) failWith(errno, "open a copy");
  std::shared_ptr<CopyMap> map;
  if (options_.resume) {
    map = CopyMap::open(options_.mapPath);
    if (map->state() != CopyMap::State::taken || endOf(target_.get()) != map->sourceBytes() || sourceBytes < map->sourceBytes())
      failWith(ESTALE, "no copy to go on with");
  } else {
    if (endOf(target_.get()) != 0) failWith(EEXIST, "the file is not empty");
    map = CopyMap::create(options_.mapPath, sourceBytes);
    if (ftruncate(target_.get(), static_cast<off_t>(sourceBytes)) != 0) failWith(errno, "length of a copy");
  }
  const std::lock_guard lock(mutex_);
  map_ = std::move(map);
}

// A copy that goes on has had its instant, and its disk is not live yet.
void CopyOut::take() {
  if (options_.resume) {
    disk_.copies().add(this);
    return begun_(0);
  }
  Hold hold(disk_);
  disk_.copies().add(this);
  {
    const std::lock_guard lock(mutex_);
    if (!over_) map_->enter(CopyMap::State::taken);
  }
  begun_(hold.release());
}

bool CopyOut::has(uint64_t begin, uint64_t end) const noexcept {
  const uint64_t last = std::min(end, map_->sourceBytes());
  for (uint64_t at = begin / kCopyChunkBytes; at * kCopyChunkBytes < last; ++at)
    if (!map_->has(at)) return false;
  return true;
}

bool CopyOut::pass(Wait* wait) noexcept {
  if (has(wait->begin, wait->end)) return true;
  const std::lock_guard lock(mutex_);
  if (over_ || has(wait->begin, wait->end)) return true;
  Wait** last = &waiting_;
  while (*last) last = &(*last)->next_;
  wait->next_ = nullptr;
  *last = wait;
  wake_.notify_one();
  return false;
}

void CopyOut::copyAll() {
  while (const auto run = next()) {
    const auto began = Clock::now();
    copy(*run);
    lastRunNs_ = static_cast<uint64_t>((Clock::now() - began) / std::chrono::nanoseconds(1));
    tellThoseWhoMay();
    writeOutBehind();
  }
  tellThoseWhoMay();  // of holes at the end
}

// What a write waits for comes first.
std::optional<CopyOut::Run> CopyOut::next() {
  std::unique_lock lock(mutex_);
  if (!waiting_ && !over_) giveWay(lock);
  if (over_) failWith(ECANCELED, "cancelled");
  if (waiting_) {
    const size_t first = map_->missing(waiting_->begin / kCopyChunkBytes);
    return runFrom(first, (waiting_->end + kCopyChunkBytes - 1) / kCopyChunkBytes);
  }
  lock.unlock();
  skipHole();
  if (cursor_ == map_->chunks()) return std::nullopt;
  return runFrom(cursor_, map_->chunks());
}

CopyOut::Run CopyOut::runFrom(size_t chunk, size_t limit) const noexcept {
  limit = std::min({limit, map_->chunks(), chunk + kCopyRunBytes / kCopyChunkBytes});
  size_t end = chunk + 1;
  while (end < limit && !map_->has(end)) ++end;
  return {chunk, end};
}

// While the disk is used, the copy leaves it most of the time.
void CopyOut::giveWay(std::unique_lock<std::mutex>& lock) {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  const DiskCounters& counters = disk_.counters();
  const uint64_t requests = counters.reads.load(kRelaxed) + counters.writes.load(kRelaxed) + counters.flushes.load(kRelaxed);
  const bool used = std::exchange(requestsSeen_, requests) != requests || counters.inFlight.load(kRelaxed) != 0;
  if (!used) return;
  const std::chrono::nanoseconds pause(std::min(lastRunNs_ * kCopyGivesWay, kCopyPauseMaxNs));
  wake_.wait_for(lock, pause, [this] { return waiting_ || over_; });
}

// To the next chunk that is missing and not all hole. Nobody writes into one that is missing.
void CopyOut::skipHole() noexcept {
  cursor_ = map_->missing(cursor_);
  const uint64_t bytes = map_->sourceBytes();
  if (cursor_ == map_->chunks()) return;
  const uint64_t data = seek(disk_.fd(), cursor_ * kCopyChunkBytes, bytes, SEEK_DATA);
  const size_t end = data == bytes ? map_->chunks() : data / kCopyChunkBytes;
  for (; cursor_ < end; ++cursor_) map_->set(cursor_);
  cursor_ = map_->missing(cursor_);
}

void CopyOut::copy(Run run) {
  const uint64_t end = std::min(run.end * kCopyChunkBytes, map_->sourceBytes());
  for (uint64_t at = run.begin * kCopyChunkBytes; at < end;) {
    const uint64_t data = seek(disk_.fd(), at, end, SEEK_DATA);
    at = data < end ? seek(disk_.fd(), data, end, SEEK_HOLE) : end;
    if (data < at) copyBytes(data, at);
  }
  for (size_t chunk = run.begin; chunk < run.end; ++chunk) map_->set(chunk);
}

// O_DIRECT wants whole pages of both: so the read begins on one and has room for one.
void CopyOut::copyBytes(uint64_t begin, uint64_t end) {
  const uint64_t base = begin / kPageBytes * kPageBytes;
  const uint64_t room = (end - base + kPageBytes - 1) / kPageBytes * kPageBytes;
  whole([&](uint64_t at, uint64_t) { return pread(disk_.fd(), buffer_ + (at - base), room - (at - base), static_cast<off_t>(at)); },
        base, end, "read for a copy");
  whole([&](uint64_t at, uint64_t to) { return pwrite(target_.get(), buffer_ + (at - base), to - at, static_cast<off_t>(at)); },
        begin, end, "write of a copy");
}

// So that the sync at the end is short, and the copy does not fill the page cache.
void CopyOut::writeOutBehind() noexcept {
  const uint64_t at = cursor_ * kCopyChunkBytes;
  if (at < writtenOut_ + kCopyWriteOutBytes) return;
  sync_file_range(target_.get(), static_cast<off_t>(writtenOut_), static_cast<off_t>(at - writtenOut_), SYNC_FILE_RANGE_WRITE);
  posix_fadvise(target_.get(), 0, static_cast<off_t>(writtenOut_), POSIX_FADV_DONTNEED);
  writtenOut_ = at;
}

void CopyOut::tellThoseWhoMay() noexcept {
  Wait* ready = nullptr;
  {
    const std::lock_guard lock(mutex_);
    for (Wait** at = &waiting_; *at;) {
      Wait* wait = *at;
      if (!has(wait->begin, wait->end)) {
        at = &wait->next_;
        continue;
      }
      *at = wait->next_;
      wait->next_ = ready;
      ready = wait;
    }
  }
  while (ready) {  // the owner may reuse a wait as soon as it is told
    Wait* wait = std::exchange(ready, ready->next_);
    wait->told(wait);
  }
}

// Said in the map before anybody overwrites what is missing: who finds the map then does not go on.
void CopyOut::fail() noexcept {
  Wait* waiting;
  {
    const std::lock_guard lock(mutex_);
    if (map_) map_->enter(CopyMap::State::failed);
    over_ = true;
    waiting = std::exchange(waiting_, nullptr);
    wake_.notify_one();
  }
  while (waiting) {
    Wait* wait = std::exchange(waiting, waiting->next_);
    wait->told(wait);
  }
}

void CopyOut::cancel() noexcept {
  if (!finished()) fail();
}

CopyOut::Progress CopyOut::progress() const noexcept {
  const std::lock_guard lock(mutex_);
  if (!map_) return {0, 0};
  const uint64_t total = map_->sourceBytes();
  return {std::min<uint64_t>(total, map_->count() * kCopyChunkBytes), total};
}

bool Copies::pass(CopyOut::Wait* wait) noexcept {
  const std::lock_guard lock(mutex_);
  return std::all_of(copies_.begin(), copies_.end(), [wait](CopyOut* copy) { return copy->pass(wait); });
}

bool Copies::has(uint64_t begin, uint64_t end) noexcept {
  const std::lock_guard lock(mutex_);
  return std::all_of(copies_.begin(), copies_.end(), [=](const CopyOut* copy) { return copy->has(begin, end); });
}

void Copies::add(CopyOut* copy) {
  const std::lock_guard lock(mutex_);
  copies_.push_back(copy);
  count_.store(copies_.size(), std::memory_order_relaxed);
}

void Copies::remove(CopyOut* copy) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase(copies_, copy);
  count_.store(copies_.size(), std::memory_order_relaxed);
}

}  // namespace sealdisk
