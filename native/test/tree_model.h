// A folder and a copy of its tree in memory: random names are made, moved, linked and removed in both.
//
// As in file_model.h the operations follow from the seed alone. Owner: one thread.
#pragma once

#include <dirent.h>
#include <sys/xattr.h>

#include <filesystem>
#include <map>

#include "file_model.h"

namespace files {

constexpr size_t kNamesMax = 150;
constexpr size_t kSmallFileMaxBytes = 20 << 10;
constexpr char kAttribute[] = "user.test";

class TreeModel {
 public:
  // Without a root only the copy in memory is worked on.
  TreeModel(const std::string& root, uint64_t seed) : random_(seed), root_(root) {
    if (onDisk()) std::filesystem::create_directory(root);
  }

  void step() {
    static constexpr void (TreeModel::*kOperations[])() = {
        &TreeModel::makeFolder, &TreeModel::makeFile, &TreeModel::makeFile, &TreeModel::makeSymlink, &TreeModel::link,
        &TreeModel::rename,     &TreeModel::rename,   &TreeModel::rewrite,  &TreeModel::setAttribute, &TreeModel::remove,
        &TreeModel::remove,     &TreeModel::sync,
    };
    (this->*kOperations[random_() % std::size(kOperations)])();
  }

  // The tree at `root`: names, kinds, link counts, contents, attributes.
  void compareWith(const std::string& root) const {
    std::map<std::string, bool> expected;
    for (const auto& [name, inode] : names_) expected[name] = false;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      const std::string name = entry.path().string().substr(root.size());
      const auto at = names_.find(name);
      if (at == names_.end()) throw std::runtime_error(name + " is there, and should not be");
      expected[name] = true;
      compareInode(root + name, *at->second, static_cast<size_t>(at->second.use_count()));
    }
    for (const auto& [name, found] : expected) {
      if (!found) throw std::runtime_error(name + " is not there");
    }
  }

  size_t size() const { return names_.size(); }

 private:
  enum class Kind { kFile, kFolder, kSymlink };
  struct Inode {
    Kind kind;
    Bytes bytes;  // the target, when it is a link
    std::string attribute;
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;  // "/a/b" under the root

  bool onDisk() const { return !root_.empty(); }

  // Each of its names owns the inode, and nobody else does: `names` is their count.
  static void compareInode(const std::string& path, const Inode& inode, size_t names) {
    struct stat found = {};
    must(lstat(path.c_str(), &found), "lstat");
    const mode_t mode = inode.kind == Kind::kFile ? S_IFREG : inode.kind == Kind::kFolder ? S_IFDIR : S_IFLNK;
    if ((found.st_mode & S_IFMT) != mode) throw std::runtime_error(path + " is of another kind");
    if (inode.kind == Kind::kFolder) return;
    if (found.st_nlink != names) throw std::runtime_error(path + " has " + std::to_string(found.st_nlink) + " links");
    if (content(path, inode.kind) != inode.bytes) throw std::runtime_error(path + " holds other bytes");
    if (inode.kind == Kind::kFile && attributeOf(path) != inode.attribute) throw std::runtime_error(path + " has another attribute");
  }
  static Bytes content(const std::string& path, Kind kind) {
    Bytes bytes(kSmallFileMaxBytes + 1);
    if (kind == Kind::kSymlink) {
      bytes.resize(static_cast<size_t>(must(readlink(path.c_str(), reinterpret_cast<char*>(bytes.data()), bytes.size()), "readlink")));
      return bytes;
    }
    const int fd = must(open(path.c_str(), O_RDONLY | O_CLOEXEC), "open");
    const ssize_t count = read(fd, bytes.data(), bytes.size());
    close(fd);
    bytes.resize(static_cast<size_t>(must(count, "read")));
    return bytes;
  }
  static std::string attributeOf(const std::string& path) {
    char value[64];
    const ssize_t count = getxattr(path.c_str(), kAttribute, value, sizeof value);
    return count < 0 ? "" : std::string(value, static_cast<size_t>(count));
  }

  Names::iterator any() { return names_.empty() ? names_.end() : std::next(names_.begin(), static_cast<ptrdiff_t>(random_() % names_.size())); }
  Names::iterator anyOf(Kind kind) {
    const auto from = any();
    for (auto at = from; at != names_.end(); ++at) {
      if (at->second->kind == kind) return at;
    }
    return names_.end();
  }
  // A name that may be taken, in a folder that is there.
  std::string anyName() {
    const auto folder = anyOf(Kind::kFolder);
    const std::string parent = folder == names_.end() || random_() % 3 == 0 ? "" : folder->first;
    return parent + "/" + std::string(1 + random_() % 40, static_cast<char>('a' + random_() % 26)) + std::to_string(random_() % 100);
  }
  std::string freeName() {
    const std::string name = anyName();
    return names_.size() >= kNamesMax || names_.contains(name) ? "" : name;
  }

  void makeFolder() {
    const std::string name = freeName();
    if (name.empty()) return;
    names_[name] = std::make_shared<Inode>(Inode{Kind::kFolder, {}, ""});
    if (onDisk()) must(mkdir((root_ + name).c_str(), 0700), "mkdir");
  }
  void makeFile() {
    const std::string name = freeName();
    if (name.empty()) return;
    names_[name] = std::make_shared<Inode>(Inode{Kind::kFile, {}, ""});
    write(name);
  }
  void rewrite() {
    const auto at = anyOf(Kind::kFile);
    if (at != names_.end()) write(at->first);
  }
  // The whole content anew, sometimes synced.
  void write(const std::string& name) {
    const Bytes bytes = noise(random_, random_() % kSmallFileMaxBytes);
    const bool synced = random_() % 8 == 0;
    names_[name]->bytes = bytes;
    if (!onDisk()) return;
    const int fd = must(open((root_ + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), "open");
    const bool wrote = ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && (!synced || fsync(fd) == 0);
    const int error = errno;
    close(fd);
    if (!wrote) throw std::system_error(error, std::generic_category(), "write");
  }
  void makeSymlink() {
    const std::string name = freeName();
    const std::string target(1 + random_() % 200, 'x');
    if (name.empty()) return;
    names_[name] = std::make_shared<Inode>(Inode{Kind::kSymlink, Bytes(target.begin(), target.end()), ""});
    if (onDisk()) must(symlink(target.c_str(), (root_ + name).c_str()), "symlink");
  }
  void link() {
    const auto from = anyOf(Kind::kFile);
    const std::string name = freeName();
    if (from == names_.end() || name.empty()) return;
    names_[name] = from->second;
    if (onDisk()) must(::link((root_ + from->first).c_str(), (root_ + name).c_str()), "link");
  }

  // A file takes the place of a file, too; a folder moves with all that is in it, but never into itself.
  void rename() {
    const auto from = any();
    const std::string to = anyName();
    if (from == names_.end() || to == from->first || to.starts_with(from->first + "/")) return;
    const auto taken = names_.find(to);
    if (taken != names_.end() && (taken->second->kind == Kind::kFolder || from->second->kind == Kind::kFolder)) return;
    const std::string old = from->first;
    // Two names of one file: POSIX says that nothing happens.
    if (taken != names_.end() && taken->second == from->second) return;
    if (onDisk()) must(::rename((root_ + old).c_str(), (root_ + to).c_str()), "rename");
    Names moved;
    for (auto at = names_.begin(); at != names_.end();) {
      const bool inIt = at->first == old || at->first.starts_with(old + "/");
      if (inIt) moved[to + at->first.substr(old.size())] = at->second;
      at = inIt ? names_.erase(at) : std::next(at);
    }
    for (const auto& [name, inode] : moved) names_[name] = inode;
  }
  void remove() {
    const auto at = any();
    if (at == names_.end()) return;
    const std::string name = at->first;
    const bool folder = at->second->kind == Kind::kFolder;
    const auto next = names_.lower_bound(name + "/");
    if (folder && next != names_.end() && next->first.starts_with(name + "/")) return;
    names_.erase(at);
    if (onDisk()) must(folder ? rmdir((root_ + name).c_str()) : unlink((root_ + name).c_str()), "remove");
  }
  void setAttribute() {
    const auto at = anyOf(Kind::kFile);
    const std::string value(random_() % 60, static_cast<char>('a' + random_() % 26));
    if (at == names_.end()) return;
    at->second->attribute = value;
    if (onDisk()) must(setxattr((root_ + at->first).c_str(), kAttribute, value.data(), value.size(), 0), "setxattr");
  }
  void sync() {
    if (!onDisk()) return;
    const int fd = must(open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open");
    const int synced = fsync(fd);
    close(fd);
    must(synced, "fsync of a folder");
  }

  std::mt19937_64 random_;
  const std::string root_;
  Names names_;
};

}  // namespace files
