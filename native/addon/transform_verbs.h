// Bulk work as JavaScript starts it. JS thread, but for the work itself.
#pragma once

#include <napi.h>

namespace sealdisk {

// transform(options): { done, progress(), cancel() }; see src/engine/transform.ts.
Napi::Value transform(const Napi::CallbackInfo& info);

}  // namespace sealdisk
