// One file and a copy of it in memory: random operations are done to both, and every read must agree.
//
// The operations follow from the seed alone, so that a model that touches no file ends as one that did: that is how the
// file is judged after a remount. Owner: one thread.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <vector>

namespace files {

constexpr size_t kFileMaxBytes = 512 << 10;
constexpr size_t kOperationMaxBytes = 48 << 10;
// What O_DIRECT, FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE want their offsets to be multiples of.
constexpr size_t kBlockBytes = 4096;

using Bytes = std::vector<uint8_t>;

// Throws with errno unless the call succeeded.
template <class Result>
Result must(Result result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

inline Bytes noise(std::mt19937_64& random, size_t count) {
  Bytes bytes(count + sizeof(uint64_t));
  for (size_t i = 0; i < count; i += sizeof(uint64_t)) {
    const uint64_t word = random();
    memcpy(&bytes[i], &word, sizeof word);
  }
  bytes.resize(count);
  return bytes;
}

class FileModel {
 public:
  // Without a path only the copy in memory is worked on. `shifts`: the file system can insert and collapse ranges.
  FileModel(const std::string& path, uint64_t seed, bool shifts) : random_(seed), shifts_(shifts) {
    if (path.empty()) return;
    fd_ = must(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), "open");
    directFd_ = must(open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC), "open O_DIRECT");
  }
  ~FileModel() {
    if (fd_ >= 0) close(fd_);
    if (directFd_ >= 0) close(directFd_);
  }
  FileModel(const FileModel&) = delete;
  FileModel& operator=(const FileModel&) = delete;

  void step() {
    static constexpr void (FileModel::*kOperations[])() = {
        &FileModel::write,    &FileModel::write,     &FileModel::mappedWrite, &FileModel::directWrite, &FileModel::read,
        &FileModel::read,     &FileModel::mappedRead, &FileModel::directRead, &FileModel::truncate,    &FileModel::punch,
        &FileModel::zeroRange, &FileModel::allocate, &FileModel::collapse,   &FileModel::insert,      &FileModel::sync,
        &FileModel::forget,
    };
    (this->*kOperations[random_() % std::size(kOperations)])();
  }

  // The whole file at `path`, which may be another one than what was worked on.
  void compareWith(const std::string& path) const {
    const int fd = must(open(path.c_str(), O_RDONLY | O_CLOEXEC), "open");
    struct stat found = {};
    Bytes bytes(copy_.size());
    const bool statted = fstat(fd, &found) == 0;
    const ssize_t count = pread(fd, bytes.data(), bytes.size(), 0);
    close(fd);
    if (!statted || static_cast<size_t>(found.st_size) != copy_.size()) {
      throw std::runtime_error("the file has " + std::to_string(found.st_size) + " bytes, expected " +
                               std::to_string(copy_.size()));
    }
    agree(bytes, 0, must(count, "pread"), "the whole file");
  }

  size_t size() const { return copy_.size(); }

 private:
  struct Range {
    size_t offset, length;
  };

  bool onDisk() const { return fd_ >= 0; }

  Range anywhere() {
    const size_t offset = random_() % kFileMaxBytes;
    return {offset, std::min(1 + random_() % kOperationMaxBytes, kFileMaxBytes - offset)};
  }
  Range inBlocks() {
    const Range range = anywhere();
    const size_t offset = range.offset / kBlockBytes * kBlockBytes;
    const size_t length = (range.length / kBlockBytes + 1) * kBlockBytes;
    return {offset, std::min(length, kFileMaxBytes - offset)};
  }
  // What of it lies in the file.
  Range inside(Range range) const {
    const size_t offset = std::min(range.offset, copy_.size());
    return {offset, std::min(range.length, copy_.size() - offset)};
  }

  void agree(const Bytes& found, size_t offset, size_t count, const char* what) const {
    const size_t expected = inside({offset, found.size()}).length;
    if (count != expected) {
      throw std::runtime_error(std::string(what) + " at " + std::to_string(offset) + " gave " + std::to_string(count) +
                               " bytes, expected " + std::to_string(expected));
    }
    const auto end = found.begin() + static_cast<ptrdiff_t>(count);
    const auto wrong = std::mismatch(found.begin(), end, copy_.begin() + static_cast<ptrdiff_t>(std::min(offset, copy_.size())));
    if (wrong.first == end) return;
    throw std::runtime_error(std::string(what) + " found " + std::to_string(*wrong.first) + " at byte " +
                             std::to_string(wrong.first - found.begin() + static_cast<ptrdiff_t>(offset)) + ", expected " +
                             std::to_string(*wrong.second));
  }

  void put(size_t offset, const Bytes& bytes) {
    copy_.resize(std::max(copy_.size(), offset + bytes.size()));
    std::copy(bytes.begin(), bytes.end(), copy_.begin() + static_cast<ptrdiff_t>(offset));
  }
  void clear(Range range) {
    const Range part = inside(range);
    std::fill_n(copy_.begin() + static_cast<ptrdiff_t>(part.offset), part.length, 0);
  }

  void writeBy(int fd, Range range, const char* what) {
    const Bytes bytes = noise(random_, range.length);
    put(range.offset, bytes);
    if (!onDisk()) return;
    const Aligned buffer(range.length);
    memcpy(buffer.data, bytes.data(), range.length);
    const ssize_t count = must(pwrite(fd, buffer.data, range.length, static_cast<off_t>(range.offset)), what);
    if (static_cast<size_t>(count) != range.length) throw std::runtime_error(std::string(what) + " was short");
  }
  void readBy(int fd, Range range, const char* what) const {
    if (!onDisk()) return;
    const Aligned buffer(range.length);
    const ssize_t count = must(pread(fd, buffer.data, range.length, static_cast<off_t>(range.offset)), what);
    agree(Bytes(buffer.data, buffer.data + range.length), range.offset, static_cast<size_t>(count), what);
  }

  void write() { writeBy(fd_, anywhere(), "pwrite"); }
  void read() { readBy(fd_, anywhere(), "pread"); }
  void directWrite() { writeBy(directFd_, inBlocks(), "pwrite with O_DIRECT"); }
  void directRead() { readBy(directFd_, inBlocks(), "pread with O_DIRECT"); }

  // Maps the pages of the range, which lies in the file; `use` gets its first byte.
  template <class Use>
  void mapped(Range range, int protection, Use use) {
    const size_t lead = range.offset % kBlockBytes;
    const size_t bytes = lead + range.length;
    void* const pages = mmap(nullptr, bytes, protection, MAP_SHARED, fd_, static_cast<off_t>(range.offset - lead));
    if (pages == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
    const std::unique_ptr<void, Unmap> owner(pages, Unmap{bytes});
    use(static_cast<uint8_t*>(pages) + lead);
  }
  void mappedWrite() {
    const Range range = inside(anywhere());
    const bool synced = random_() % 4 == 0;
    const Bytes bytes = noise(random_, range.length);
    put(range.offset, bytes);
    if (!onDisk() || range.length == 0) return;
    mapped(range, PROT_READ | PROT_WRITE, [&](uint8_t* at) {
      memcpy(at, bytes.data(), range.length);
      uint8_t* const page = at - range.offset % kBlockBytes;
      if (synced) must(msync(page, static_cast<size_t>(at - page) + range.length, MS_SYNC), "msync");
    });
  }
  void mappedRead() {
    const Range range = inside(anywhere());
    if (!onDisk() || range.length == 0) return;
    mapped(range, PROT_READ, [&](const uint8_t* at) {
      agree(Bytes(at, at + range.length), range.offset, range.length, "a mapped read");
    });
  }

  void truncate() {
    const size_t size = anywhere().offset;
    copy_.resize(size);
    if (onDisk()) must(ftruncate(fd_, static_cast<off_t>(size)), "ftruncate");
  }
  void fallocateOf(int mode, Range range, const char* what) const {
    if (!onDisk() || range.length == 0) return;
    must(fallocate(fd_, mode, static_cast<off_t>(range.offset), static_cast<off_t>(range.length)), what);
  }
  void punch() {
    const Range range = anywhere();
    clear(range);
    fallocateOf(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range, "fallocate PUNCH_HOLE");
  }
  void zeroRange() {
    const Range range = anywhere();
    const bool grows = random_() % 2 == 0;
    if (grows) copy_.resize(std::max(copy_.size(), range.offset + range.length));
    clear(range);
    fallocateOf(FALLOC_FL_ZERO_RANGE | (grows ? 0 : FALLOC_FL_KEEP_SIZE), range, "fallocate ZERO_RANGE");
  }
  void allocate() {
    const Range range = anywhere();
    const bool grows = random_() % 2 == 0;
    if (grows) copy_.resize(std::max(copy_.size(), range.offset + range.length));
    fallocateOf(grows ? 0 : FALLOC_FL_KEEP_SIZE, range, "fallocate");
  }
  void collapse() {
    const Range range = inBlocks();
    if (!shifts_ || range.offset + range.length >= copy_.size()) return;
    const auto from = copy_.begin() + static_cast<ptrdiff_t>(range.offset);
    copy_.erase(from, from + static_cast<ptrdiff_t>(range.length));
    fallocateOf(FALLOC_FL_COLLAPSE_RANGE, range, "fallocate COLLAPSE_RANGE");
  }
  void insert() {
    const Range range = inBlocks();
    if (!shifts_ || range.offset >= copy_.size() || copy_.size() + range.length > kFileMaxBytes) return;
    copy_.insert(copy_.begin() + static_cast<ptrdiff_t>(range.offset), range.length, 0);
    fallocateOf(FALLOC_FL_INSERT_RANGE, range, "fallocate INSERT_RANGE");
  }

  void sync() {
    const bool data = random_() % 2 == 0;
    if (onDisk()) must(data ? fdatasync(fd_) : fsync(fd_), "fsync");
  }
  // What is read next comes from the disk.
  void forget() {
    if (!onDisk()) return;
    must(fsync(fd_), "fsync");
    posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
  }

  struct Unmap {
    size_t bytes;
    void operator()(void* pages) const { munmap(pages, bytes); }
  };
  struct Aligned {
    explicit Aligned(size_t bytes) : data(static_cast<uint8_t*>(aligned_alloc(kBlockBytes, (bytes / kBlockBytes + 1) * kBlockBytes))) {
      if (data == nullptr) throw std::bad_alloc();
    }
    ~Aligned() { free(data); }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    uint8_t* const data;
  };

  std::mt19937_64 random_;
  const bool shifts_;
  int fd_ = -1;
  int directFd_ = -1;
  Bytes copy_;
};

}  // namespace files
