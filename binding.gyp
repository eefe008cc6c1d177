{
  "targets": [{
    "target_name": "sealdisk",
    "sources": [
      "native/addon.cc",
      "<!@(ls native/addon/*.cc native/convert/*.cc native/crypto/*.cc native/engine/*.cc native/netlink/*.cc native/tls/*.cc)"
    ],
    "include_dirs": ["native", "<!@(node -p \"require('node-addon-api').include\")"],
    "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED", "NAPI_CPP_EXCEPTIONS"],
    "cflags": ["-Wall", "-Wextra", "-O3", "-fvisibility=hidden", "-fno-strict-aliasing"],
    "cflags_cc": ["-std=gnu++20"],
    "cflags_cc!": ["-fno-rtti", "-fno-exceptions", "-std=gnu++17"],
    "libraries": ["-luring"]
  }]
}
