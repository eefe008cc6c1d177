#include "addon/transform_verbs.h"

#include <fcntl.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "addon/data_key_handle.h"
#include "addon/glue.h"
#include "addon/instance.h"
#include "convert/transform.h"
#include "engine/fd.h"

namespace sealdisk {

namespace {

using Reason = TransformEnd::Reason;

const char* nameOf(Reason reason) noexcept {
  switch (reason) {
    case Reason::done:
      return "done";
    case Reason::cancelled:
      return "cancelled";
    case Reason::from:
      return "from";
    case Reason::to:
      return "to";
    case Reason::differs:
      return "differs";
  }
  return "from";
}

// The descriptors are its own: JavaScript may close its meanwhile.
struct Running {
  Running(Fd from_, Fd to_, TransformOptions options)
      : from(std::move(from_)), to(std::move(to_)), transform(std::move(options)) {}
  Fd from, to;
  Transform transform;
};

// Blocks a thread of libuv's pool while it runs. The promise is always kept: how it ended is a value.
class TransformWork final : public Napi::AsyncWorker {
 public:
  TransformWork(Napi::Env env, std::shared_ptr<Running> running)
      : AsyncWorker(env), deferred(Napi::Promise::Deferred::New(env)), running_(std::move(running)) {}

  const Napi::Promise::Deferred deferred;

 protected:
  // A duplicate holds the locks of its file: it is not left to the garbage collector.
  void Execute() override {
    end_ = running_->transform.run();
    running_->from.close();
    running_->to.close();
  }
  void OnOK() override {
    Napi::Object result = Napi::Object::New(Env());
    result.Set("reason", nameOf(end_.reason));
    result.Set("errno", end_.error ? errnoName(end_.error) : "");
    result.Set("atBytes", Napi::BigInt::New(Env(), end_.atBytes));
    deferred.Resolve(result);
  }

 private:
  const std::shared_ptr<Running> running_;
  TransformEnd end_;
};

Fd duplicate(int fd) {
  Fd own(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (own.get() < 0) failWith(errno, "dup");
  return own;
}

Napi::Object sideObject(const Napi::Object& options, const char* name) {
  const Napi::Value value = member(options, name);
  if (!value.IsObject()) invalid(options.Env(), std::string(name) + " is not an object");
  return value.As<Napi::Object>();
}

Fd fileOf(const Napi::Object& side) { return duplicate(static_cast<int>(wholeNumber(side, "fd", 0, INT32_MAX))); }

Side sideOf(const Napi::Object& object, int fd) {
  const Napi::Env env = object.Env();
  Side side;
  side.fd = fd;
  side.offsetBytes = unsigned64(object, "offsetBytes");
  side.sectorBytes = static_cast<uint32_t>(wholeNumber(object, "sectorSize", 512, 4096));
  if (side.sectorBytes != 512 && side.sectorBytes != 4096) invalid(env, "sectorSize is neither 512 nor 4096");
  side.holes = boolean(object, "holes", false);
  const Napi::Value key = member(object, "key");
  if (key.IsUndefined()) return side;
  if (!key.IsObject() || !key.As<Napi::Object>().InstanceOf(instanceOf(env).dataKey.Value()))
    invalid(env, "key is no DataKey");
  side.key = XtsKey(DataKeyHandle::Unwrap(key.As<Napi::Object>())->key(env));
  return side;
}

TransformOptions optionsOf(const Napi::Object& object, int fromFd, int toFd) {
  TransformOptions options;
  const std::string work = text(object, "work");
  if (work != "copy" && work != "compare") invalid(object.Env(), "work is neither copy nor compare");
  options.work = work == "copy" ? TransformOptions::Work::copy : TransformOptions::Work::compare;
  options.from = sideOf(sideObject(object, "from"), fromFd);
  options.to = sideOf(sideObject(object, "to"), toFd);
  options.beginBytes = unsigned64(object, "beginBytes");
  options.sizeBytes = unsigned64(object, "sizeBytes");
  options.keepHoles = boolean(object, "keepHoles", false);
  options.reread = boolean(object, "reread", false);
  if (!member(object, "fromBytes").IsUndefined()) options.fromBytes = unsigned64(object, "fromBytes");
  return options;
}

}  // namespace

Napi::Value transform(const CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const Napi::Object object = objectArgument(info, 0);
    Fd from = fileOf(sideObject(object, "from")), to = fileOf(sideObject(object, "to"));
    TransformOptions options = optionsOf(object, from.get(), to.get());
    const auto running = std::make_shared<Running>(std::move(from), std::move(to), std::move(options));
    auto* work = new TransformWork(env, running);
    Napi::Object handle = Napi::Object::New(env);
    handle.Set("done", work->deferred.Promise());
    handle.Set("progress", Napi::Function::New(env, [running](const CallbackInfo& call) {
                 return Napi::BigInt::New(call.Env(), running->transform.doneBytes());
               }));
    handle.Set("cancel", Napi::Function::New(env, [running](const CallbackInfo&) { running->transform.cancel(); }));
    work->Queue();
    return handle;
  });
}

}  // namespace sealdisk
