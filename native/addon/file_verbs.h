// What Node does not offer of files: extended attributes, where the label of a plain disk lies, and where the data is in a sparse file.
#pragma once

#include <napi.h>

namespace sealdisk {

// (path, name) -> Buffer, or null where the file has none of that name.
Napi::Value getAttribute(const Napi::CallbackInfo& info);
// (path, name, Buffer | null): null takes it away; that there was none is fine.
void setAttribute(const Napi::CallbackInfo& info);

// (fd, fromBytes: bigint) -> [begin, end] of the first run of data that does not end before, or null where there is none. A device that
// tells nothing is data to its end.
Napi::Value dataRun(const Napi::CallbackInfo& info);

}  // namespace sealdisk
