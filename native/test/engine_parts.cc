// The engine's small parts, each against a model or a rule: arena, range lock, gate.
#include <algorithm>
#include <map>

#include "check.h"
#include "engine/arena.h"
#include "engine/gate.h"
#include "engine/range_lock.h"
#include "engine_rig.h"

using namespace sealdisk;

TEST("an arena hands out runs that never overlap, and is whole again when all are back") {
  constexpr size_t kPages = 300;
  Arena arena(kPages * kPageBytes, 0);
  std::map<uint8_t*, size_t> out;
  uint8_t* lowest = arena.take(1);
  arena.give(lowest, 1);
  for (int step = 0; step < 20000; ++step) {
    if (testRandom()() % 2) {
      const size_t bytes = 1 + testRandom()() % (40 * kPageBytes);
      uint8_t* run = arena.take(bytes);
      if (!run) continue;
      CHECK(reinterpret_cast<uintptr_t>(run) % kPageBytes == 0);
      CHECK(run >= lowest && run + bytes <= lowest + kPages * kPageBytes);
      const auto after = out.lower_bound(run);
      if (after != out.end()) CHECK(run + bytes <= after->first);
      if (after != out.begin()) CHECK(std::prev(after)->first + std::prev(after)->second <= run);
      out[run] = bytes;
    } else if (!out.empty()) {
      auto some = std::next(out.begin(), static_cast<long>(testRandom()() % out.size()));
      arena.give(some->first, some->second);
      out.erase(some);
    }
  }
  for (const auto& [run, bytes] : out) arena.give(run, bytes);
  uint8_t* all = arena.take(kPages * kPageBytes);
  CHECK(all == lowest);
  CHECK(arena.take(1) == nullptr);
  arena.give(all, kPages * kPageBytes);
}

namespace {

constexpr auto kRead = RangeLock::Kind::read, kWrite = RangeLock::Kind::write, kMerge = RangeLock::Kind::merge;

struct Claimant : RangeLock::Claim {
  bool held = false;
  Claimant(uint64_t from, uint64_t to, RangeLock::Kind what) {
    begin = from;
    end = to;
    kind = what;
    granted = [](RangeLock::Claim* claim) { static_cast<Claimant*>(claim)->held = true; };
  }
  void acquire(RangeLock& lock) { held = lock.acquire(this); }
};

bool conflict(const Claimant& a, const Claimant& b) {
  const bool together = a.kind == b.kind && a.kind != kMerge;
  return !together && a.begin < b.end && b.begin < a.end;
}

}  // namespace

TEST("a range lock lets reads overlap, and writes, and keeps a merge alone") {
  for (const auto kind : {kRead, kWrite}) {
    RangeLock lock;
    Claimant first(0, 10, kind), second(5, 15, kind), alone(9, 10, kMerge), elsewhere(15, 20, kMerge);
    first.acquire(lock);
    second.acquire(lock);
    alone.acquire(lock);
    elsewhere.acquire(lock);
    CHECK(first.held && second.held && elsewhere.held && !alone.held);
    lock.release(&first);
    CHECK(!alone.held);
    lock.release(&second);
    CHECK(alone.held);
    lock.release(&alone);
    lock.release(&elsewhere);
  }
}

TEST("a range lock keeps reads and writes of the same bytes apart") {
  RangeLock lock;
  Claimant write(0, 10, kWrite), read(9, 11, kRead), beside(10, 12, kRead), next(11, 13, kWrite);
  write.acquire(lock);
  read.acquire(lock);
  beside.acquire(lock);
  next.acquire(lock);
  CHECK(write.held && !read.held && beside.held && !next.held);
  lock.release(&write);
  CHECK(read.held && !next.held);
  lock.release(&read);
  lock.release(&beside);
  CHECK(next.held);
  lock.release(&next);
}

TEST("a range lock lets nobody overtake a waiter that it conflicts with") {
  RangeLock lock;
  Claimant holder(0, 10, kRead), waiter(0, 10, kMerge), late(5, 6, kRead), apart(20, 30, kRead);
  holder.acquire(lock);
  waiter.acquire(lock);
  late.acquire(lock);
  apart.acquire(lock);
  CHECK(!waiter.held && !late.held && apart.held);
  lock.release(&holder);
  CHECK(waiter.held && !late.held);
  lock.release(&waiter);
  CHECK(late.held);
  lock.release(&late);
  lock.release(&apart);
}

TEST("a range lock never has two conflicting holders, and forgets nobody") {
  RangeLock lock;
  constexpr RangeLock::Kind kinds[] = {kRead, kWrite, kMerge};
  std::vector<std::unique_ptr<Claimant>> claims;
  for (int step = 0; step < 20000; ++step) {
    if (testRandom()() % 2 && claims.size() < 40) {
      const uint64_t begin = testRandom()() % 50;
      claims.push_back(
          std::make_unique<Claimant>(begin, begin + 1 + testRandom()() % 10, kinds[testRandom()() % 3]));
      claims.back()->acquire(lock);
    } else if (!claims.empty()) {
      const size_t index = testRandom()() % claims.size();
      if (!claims[index]->held) continue;
      lock.release(claims[index].get());
      claims.erase(claims.begin() + static_cast<long>(index));
    }
    bool someHeld = claims.empty();
    for (size_t a = 0; a < claims.size(); ++a) {
      someHeld = someHeld || claims[a]->held;
      for (size_t b = 0; b < a; ++b)
        CHECK(!(claims[a]->held && claims[b]->held && conflict(*claims[a], *claims[b])));
    }
    REQUIRE(someHeld);
  }
  while (!claims.empty()) {
    const auto held = std::find_if(claims.begin(), claims.end(), [](const auto& claim) { return claim->held; });
    REQUIRE(held != claims.end());
    lock.release(held->get());
    claims.erase(held);
  }
}

TEST("a gate starts hung, without a key") {
  Gate gate;
  CHECK(gate.state() == Gate::State::hung);
  CHECK(!gate.enter());
}

TEST("a gate wipes the key when the last pass has left, not before") {
  Gate gate;
  gate.open(XtsKey(rig::someKey()));
  auto first = gate.enter(), second = gate.enter();
  REQUIRE(first && second);
  bool wiped = false;
  gate.shut(Gate::State::hung, [&wiped] { wiped = true; });
  CHECK(!gate.enter());
  CHECK(!wiped && first->key());
  first.reset();
  CHECK(!wiped && second->key());
  second.reset();
  CHECK(wiped);
}

TEST("a gate that is shut without passes is without a key at once") {
  Gate gate;
  gate.open(XtsKey(rig::someKey()));
  bool hung = false, failed = false;
  gate.shut(Gate::State::hung, [&hung] { hung = true; });
  CHECK(hung);
  gate.shut(Gate::State::failed, [&failed] { failed = true; });
  CHECK(failed && gate.state() == Gate::State::failed);
}

TEST("a gate that opens again under old passes keeps their key and tells who waited") {
  Gate gate;
  gate.open(XtsKey(rig::someKey()));
  auto pass = gate.enter();
  bool told = false;
  gate.shut(Gate::State::hung, [&told] { told = true; });
  gate.open(XtsKey(rig::someKey()));
  CHECK(told && pass->key());
  CHECK(gate.enter().has_value());
}

TEST("no pass of a gate ever sees a wiped key, however often it opens and shuts") {
  Gate gate;
  std::atomic<bool> stop{false}, torn{false};
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&] {
      while (!stop) {
        if (const auto pass = gate.enter(); pass && !pass->key()) torn = true;
      }
    });
  }
  for (int round = 0; round < 300; ++round) {
    gate.open(XtsKey(rig::someKey()));
    const auto wiped = std::make_shared<rig::Later<bool>>();
    gate.shut(round % 2 ? Gate::State::hung : Gate::State::failed, [wiped] { wiped->set(true); });
    REQUIRE(wiped->wait());
  }
  stop = true;
  for (auto& client : clients) client.join();
  CHECK(!torn);
}

CHECK_MAIN
