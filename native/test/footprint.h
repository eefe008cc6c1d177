// What this process holds, exact under a sanitizer, too: its own heap bytes without the sanitizer's, and its arenas.
#pragma once

#include <dirent.h>

#include <cstdio>

#include "engine/limits.h"

// Of ASan's and TSan's runtime; GCC ships no header for it.
extern "C" size_t __sanitizer_get_current_allocated_bytes();

struct Footprint {
  size_t descriptors = 0, threads = 0;
  size_t arenaBytes = 0;  // address space: no arena ever takes more memory than that
  size_t heapBytes = 0;

  static Footprint now() {
    return {entriesOf("/proc/self/fd"), entriesOf("/proc/self/task"), mappedArenaBytes(),
            __sanitizer_get_current_allocated_bytes()};
  }

 private:
  static size_t entriesOf(const char* path) {
    size_t count = 0;
    if (DIR* dir = opendir(path)) {
      while (readdir(dir)) ++count;
      closedir(dir);
    }
    return count;
  }

  // Known by its length and by the guard right behind it: a sanitizer's shadow may be as long.
  static size_t mappedArenaBytes() {
    size_t bytes = 0;
    unsigned long arenaEnd = 0;  // of the line before, where it may be an arena
    FILE* maps = fopen("/proc/self/maps", "r");
    for (char line[512]; maps && fgets(line, sizeof line, maps);) {
      unsigned long begin, end;
      char mode[8];
      if (sscanf(line, "%lx-%lx %7s", &begin, &end, mode) != 3) continue;
      if (begin == arenaEnd && mode[0] == '-') bytes += sealdisk::kArenaBytes;
      arenaEnd = mode[1] == 'w' && end - begin == sealdisk::kArenaBytes ? end : 0;
    }
    if (maps) fclose(maps);
    return bytes;
  }
};
