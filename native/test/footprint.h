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

  // Each has a guard behind it, so that the kernel never shows two as one.
  static size_t mappedArenaBytes() {
    size_t bytes = 0;
    FILE* maps = fopen("/proc/self/maps", "r");
    for (char line[512]; maps && fgets(line, sizeof line, maps);) {
      unsigned long begin, end;
      if (sscanf(line, "%lx-%lx rw", &begin, &end) == 2 && end - begin == sealdisk::kArenaBytes) bytes += end - begin;
    }
    if (maps) fclose(maps);
    return bytes;
  }
};
