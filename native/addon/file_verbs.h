// Extended attributes of a file, which Node does not offer: where the label of a plain disk lies.
#pragma once

#include <napi.h>

namespace sealdisk {

// (path, name) -> Buffer, or null where the file has none of that name.
Napi::Value getAttribute(const Napi::CallbackInfo& info);
// (path, name, Buffer | null): null takes it away; that there was none is fine.
void setAttribute(const Napi::CallbackInfo& info);

}  // namespace sealdisk
