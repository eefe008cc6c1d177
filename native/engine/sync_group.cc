#include "engine/sync_group.h"

#include <utility>

namespace sealdisk {

void SyncGroup::lose(int error) noexcept {
  int none = 0;
  lost_.compare_exchange_strong(none, error);
}

bool SyncGroup::join(Member* member) noexcept {
  const std::lock_guard lock(mutex_);
  if (!running_) return running_ = true;
  member->next_ = waiting_;
  waiting_ = member;
  return false;
}

void SyncGroup::ended(int error) noexcept {
  if (error) lose(error);
  Member *over, *leader;
  {
    const std::lock_guard lock(mutex_);
    over = std::exchange(covered_, nullptr);
    leader = std::exchange(waiting_, nullptr);
    running_ = leader != nullptr;
    if (leader) covered_ = std::exchange(leader->next_, nullptr);
  }
  if (leader) {
    leader->leads = true;
    leader->told(leader);
  }
  while (over) {  // the owner may reuse a member as soon as it is told
    Member* member = over;
    over = std::exchange(member->next_, nullptr);
    member->leads = false;
    member->told(member);
  }
}

}  // namespace sealdisk
