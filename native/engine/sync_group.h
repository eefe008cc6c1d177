// Stable storage for many at a time: flushes and FUA writes of all connections share syncs of the disk's file.
//
// One sync runs at a time. Linux reports a failed writeback to the first that asks after it, and then calls the pages
// clean: of two syncs at once the one would take the other's error, and the other would falsely succeed; a later one would
// succeed though data is lost. So nobody else syncs the file, and the first failure stands until the disk is opened
// again. Who joins while a sync runs is covered by the next one, which begins after the joiner's writes have ended.
//
// Any thread. The one mutex guards the lists and is held for a few instructions; `told` is called without it.
#pragma once

#include <atomic>
#include <mutex>

namespace sealdisk {

class SyncGroup {
 public:
  // Lies in its owner and stays there from join() until it is told that its sync is over, or has led.
  struct Member {
    bool leads = false;  // when told: it is to sync and call ended(); else a sync that covers it is over
    void (*told)(Member*) = nullptr;
    void* owner = nullptr;

   private:
    friend class SyncGroup;
    Member* next_ = nullptr;
  };

  // True when the caller leads at once: it syncs and calls ended(). Else `told` is called once, later.
  bool join(Member* member) noexcept;
  // The leader's sync is over, with an errno or 0. What it means for the leader stands in lost().
  void ended(int error) noexcept;

  // The errno that every flush and every FUA write has to report from now on, or 0.
  int lost() const noexcept { return lost_.load(); }
  void lose(int error) noexcept;

 private:
  std::mutex mutex_;
  bool running_ = false;
  Member* covered_ = nullptr;  // by the sync that runs, besides its leader
  Member* waiting_ = nullptr;  // for the next one
  std::atomic<int> lost_{0};
};

}  // namespace sealdisk
