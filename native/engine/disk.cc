#include "engine/disk.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "engine/arena.h"
#include "engine/backing.h"
#include "engine/clone.h"
#include "engine/connection.h"
#include "engine/event.h"
#include "engine/limits.h"
#include "engine/pool.h"
#include "engine/spin.h"

namespace sealdisk {

namespace {

[[noreturn]] void failWith(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

void checkGeometry(const Geometry& geometry) {
  const uint64_t sector = geometry.sectorBytes;
  if (sector != 512 && sector != 4096) throw std::invalid_argument("sector size is neither 512 nor 4096");
  if (geometry.offsetBytes % sector) throw std::invalid_argument("offset is not a multiple of the sector size");
}

void holdAgainstOthers(int fd, const DiskOptions& options) {
  if (flock(fd, LOCK_SH | LOCK_NB) != 0) failWith(errno, "flock");
  struct flock lock {};
  lock.l_type = options.readOnly ? F_RDLCK : F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(options.geometry.offsetBytes);
  lock.l_len = 0;  // to the end of the file, wherever it will be
  if (fcntl(fd, F_OFD_SETLK, &lock) != 0) failWith(errno == EACCES ? EAGAIN : errno, "lock");
}

// With O_DIRECT the file system may want larger sectors than the disk has: seen now, not at the first request.
void tryDirectRead(int fd, const Geometry& geometry) {
  Arena memory(kPageBytes, kPageBytes);
  uint8_t* page = memory.take(kPageBytes);
  if (pread(fd, page, geometry.sectorBytes, static_cast<off_t>(geometry.offsetBytes)) < 0) failWith(errno, "O_DIRECT");
}

}  // namespace

std::unique_ptr<Disk> Disk::open(const DiskOptions& options) {
  checkGeometry(options.geometry);
  if (options.discard && !options.holes && !options.plain) throw std::invalid_argument("discard on a disk that may have no holes");
  std::unique_ptr<Disk> disk(new Disk);
  disk->geometry_ = options.geometry;
  disk->readOnly_ = options.readOnly;
  disk->direct_ = options.direct;
  disk->holes_ = options.holes || options.plain;
  disk->plain_ = options.plain;
  disk->changed_ = options.changed;
  disk->discards_ = options.discard && !options.readOnly;
  const int flags = O_CLOEXEC | (options.readOnly ? O_RDONLY : O_RDWR) | (options.direct ? O_DIRECT : 0);
  disk->fd_ = ::open(options.path.c_str(), flags);
  if (disk->fd_ < 0) failWith(errno, "open");
  holdAgainstOthers(disk->fd_, options);
  disk->resize(options.sizeBytes);
  if (options.direct) tryDirectRead(disk->fd_, options.geometry);
  if (!options.direct && !disk->discards_) disk->mapped_.map(disk->fd_, options.geometry.offsetBytes + options.sizeBytes);

  const BackingKind kind = backingFromEnvironment();
  if (kind == BackingKind::ring && !ringAvailable()) failWith(ENOSYS, "io_uring");
  if (kind == BackingKind::pool || !ringAvailable()) {
    disk->pool_ = std::make_unique<Pool>(options.direct ? kDirectPoolThreads : kPoolThreads);
  }
  const size_t helpers = std::min<size_t>(Spin::processors() - 1, kCrewThreadsMax);
  if (helpers > 0) disk->crew_ = std::make_unique<Pool>(helpers);
  return disk;
}

Disk::~Disk() { close(); }

void Disk::checkSize(uint64_t sizeBytes) const {
  if (sizeBytes == 0 || sizeBytes % geometry_.sectorBytes)
    throw std::invalid_argument("size is zero or not a multiple of the sector size");
  if (sizeBytes > INT64_MAX - geometry_.offsetBytes) throw std::invalid_argument("size is too large");
  const off_t end = lseek(fd_, 0, SEEK_END);  // also right for block devices
  if (end < 0) failWith(errno, "lseek");
  const uint64_t needed = geometry_.offsetBytes + sizeBytes;
  if (static_cast<uint64_t>(end) < needed) throw DiskTooSmall(static_cast<uint64_t>(end), needed);
}

void Disk::resize(uint64_t sizeBytes) {
  checkSize(sizeBytes);
  sizeBytes_.store(sizeBytes, std::memory_order_relaxed);
}

bool Disk::whole() noexcept {
  struct stat file {};
  const uint64_t end = geometry_.offsetBytes + sizeBytes();
  if (fstat(fd_, &file) == 0 && S_ISREG(file.st_mode) && static_cast<uint64_t>(file.st_size) < end) {
    cut_.store(true);
    syncs_.lose(EIO);
  }
  return !cut_.load();
}

void Disk::goLive(XtsKey key) {
  if (plain_ == static_cast<bool>(key)) throw std::invalid_argument(plain_ ? "a key for a plain disk" : "no key for an encrypted disk");
  gate_.open(std::move(key));
  notifyConnections();
}

void Disk::shut(Gate::State to, std::function<void()> wiped) {
  gate_.shut(to, std::move(wiped));
  notifyConnections();
}

void Disk::hold(std::function<void()> still) { gate_.hold(std::move(still)); }

void Disk::release() noexcept {
  gate_.release();
  notifyConnections();
}

int Disk::sync() noexcept {
  if (readOnly_) return 0;
  Event told;
  SyncGroup::Member member;
  member.owner = &told;
  member.told = [](SyncGroup::Member* self) { static_cast<Event*>(self->owner)->set(); };
  if (syncs_.join(&member)) member.leads = true;
  else told.wait();
  if (member.leads) syncs_.ended(fdatasync(fd_) == 0 ? 0 : errno);
  return syncs_.lost();
}

uint64_t Disk::clone(const std::string& path) {
  const std::lock_guard notClosing(closeMutex_);
  if (fd_ < 0) failWith(EBADF, "the disk is closed");
  return cloneFile(*this, path);
}

std::shared_ptr<CopyOut> Disk::copy(CopyOptions options, std::function<void(uint64_t)> begun, std::function<void(int)> ended) {
  if (fd_ < 0) throw std::invalid_argument("the disk is closed");
  std::erase_if(copying_, [](const auto& copy) { return copy->finished(); });
  copying_.push_back(std::make_shared<CopyOut>(*this, std::move(options), std::move(begun), std::move(ended)));
  return copying_.back();
}

void Disk::notifyConnections() {
  const std::lock_guard lock(connectionsMutex_);
  for (const auto& connection : connections_) connection->gateChanged();
}

void Disk::forgetEnded() {
  const std::lock_guard lock(connectionsMutex_);
  std::erase_if(connections_, [](const auto& connection) { return connection->finished(); });
}

std::shared_ptr<Connection> Disk::serve(ConnectionOptions options, std::function<void(const ConnectionEnd&)> ended) {
  if (fd_ < 0) throw std::invalid_argument("the disk is closed");
  if (options.rest.size() > kReceiveBytes) throw std::invalid_argument("more bytes were read ahead than are taken over");
  options.negotiated.readOnly |= readOnly_;
  options.negotiated.discards = discards_;
  forgetEnded();
  auto connection = std::make_shared<Connection>(*this, std::move(options), std::move(ended));
  const std::lock_guard lock(connectionsMutex_);
  connections_.push_back(connection);
  return connection;
}

int Disk::close() noexcept {
  const std::lock_guard closing(closeMutex_);
  if (fd_ < 0) return 0;
  std::vector<std::shared_ptr<Connection>> connections;
  {
    const std::lock_guard lock(connectionsMutex_);
    connections.swap(connections_);
  }
  for (const auto& copy : copying_) copy->cancel();
  for (const auto& connection : connections) connection->close();
  for (const auto& connection : connections) connection->join();
  for (const auto& copy : copying_) copy->join();
  copying_.clear();
  int error = syncs_.lost();
  if (!readOnly_ && fdatasync(fd_) != 0 && !error) error = errno;
  gate_.shut(Gate::State::failed, [] {});  // no pass is out: the key goes now
  pool_.reset();
  crew_.reset();
  ::close(fd_);
  fd_ = -1;
  return error;
}

}  // namespace sealdisk
