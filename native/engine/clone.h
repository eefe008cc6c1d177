// A file that shares another's blocks (FICLONE), where the file system can: btrfs, XFS.
#pragma once

#include <cstdint>
#include <string>

namespace sealdisk {

class Disk;

// See Disk::clone. The file is on stable storage when this returns.
uint64_t cloneFile(Disk& disk, const std::string& path);

}  // namespace sealdisk
