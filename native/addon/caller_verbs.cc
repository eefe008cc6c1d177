#include "addon/caller_verbs.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "addon/glue.h"

namespace sealdisk {
namespace {

constexpr size_t kEntryBytes = 4096;
constexpr size_t kEntryMaxBytes = 1 << 20;  // a group of some ten thousand members
constexpr int kGroupsMax = 65536;           // NGROUPS_MAX of Linux

struct Account {
  uid_t uid;
  gid_t gid;
  std::string name;
};

// Runs a reentrant lookup with as large a buffer as it needs. False: there is no such entry.
template <typename Lookup>
bool lookUp(const char* what, std::vector<char>& buffer, Lookup lookup) {
  for (buffer.resize(kEntryBytes);; buffer.resize(buffer.size() * 4)) {
    bool found = false;
    const int error = lookup(buffer, found);
    if (error == 0) return found;
    if (error == ENOENT || error == ESRCH) return false;
    if (error != ERANGE || buffer.size() >= kEntryMaxBytes) failWith(error, what);
  }
}

template <typename Find>
std::optional<Account> accountBy(Find find) {
  std::vector<char> buffer;
  passwd entry{};
  const bool found = lookUp("getpwuid", buffer, [&](std::vector<char>& room, bool& there) {
    passwd* result = nullptr;
    const int error = find(&entry, room.data(), room.size(), &result);
    there = result != nullptr;
    return error;
  });
  if (!found) return std::nullopt;
  return Account{entry.pw_uid, entry.pw_gid, entry.pw_name};
}

// Null, for a group that has a number and no name.
std::optional<std::string> groupName(gid_t gid) {
  std::vector<char> buffer;
  group entry{};
  const bool found = lookUp("getgrgid", buffer, [&](std::vector<char>& room, bool& there) {
    group* result = nullptr;
    const int error = getgrgid_r(gid, &entry, room.data(), room.size(), &result);
    there = result != nullptr;
    return error;
  });
  return found ? std::optional<std::string>(entry.gr_name) : std::nullopt;
}

std::vector<gid_t> groupsOf(const Account& account) {
  std::vector<gid_t> groups(64);
  for (;;) {
    int count = static_cast<int>(groups.size());
    const bool fits = getgrouplist(account.name.c_str(), account.gid, groups.data(), &count) >= 0;
    groups.resize(fits ? count : groups.size() * 2);
    if (fits) return groups;
    if (groups.size() > kGroupsMax) failWith(ERANGE, "getgrouplist");
  }
}

}  // namespace

// Who connected the stream socket `fd` (SO_PEERCRED, unix(7)): pid, uid, gid of the process at that moment.
Napi::Value peerCredentials(const CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int fd = static_cast<int>(wholeNumber(info.Env(), info[0], "fd", 0, INT32_MAX));
    ucred peer{};
    socklen_t bytes = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) failWith(errno, "SO_PEERCRED");
    // What the kernel says of a socket that has no peer.
    if (bytes != sizeof peer || peer.uid == static_cast<uid_t>(-1)) failWith(ENOTCONN, "SO_PEERCRED");
    Napi::Object found = Napi::Object::New(info.Env());
    found.Set("pid", peer.pid);
    found.Set("uid", peer.uid);
    found.Set("gid", peer.gid);
    return found;
  });
}

// The account with this number, or with this name: { uid, name, groups }, the groups by their names; null for none.
Napi::Value account(const CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    std::optional<Account> found;
    if (info[0].IsString()) {
      const std::string name = info[0].As<Napi::String>().Utf8Value();
      found = accountBy([&](passwd* entry, char* room, size_t bytes, passwd** result) {
        return getpwnam_r(name.c_str(), entry, room, bytes, result);
      });
    } else {
      const auto uid = static_cast<uid_t>(wholeNumber(env, info[0], "uid", 0, UINT32_MAX));
      found = accountBy([&](passwd* entry, char* room, size_t bytes, passwd** result) {
        return getpwuid_r(uid, entry, room, bytes, result);
      });
    }
    if (!found) return env.Null();
    Napi::Array groups = Napi::Array::New(env);
    for (const gid_t gid : groupsOf(*found)) {
      if (const auto name = groupName(gid)) groups.Set(groups.Length(), *name);
    }
    Napi::Object account = Napi::Object::New(env);
    account.Set("uid", found->uid);
    account.Set("name", found->name);
    account.Set("groups", groups);
    return account;
  });
}

}  // namespace sealdisk
