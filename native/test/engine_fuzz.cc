// The protocol fuzzer of the transmission phase: rounds of random streams to one disk, judged by a model of their own.
//
// A round is a disk, its connections and the changes of its gate, all drawn from one seed: round i of a run has SEED + i, so
// that SEED=(what is printed) FUZZ_INPUTS=1 plays a failed round alone. What the engine's threads make of it is theirs.
// FUZZ_INPUTS sets how many requests are sent at least.
#include "footprint.h"
#include "fuzz_peer.h"

using namespace fuzz;

namespace {

constexpr uint64_t kDefaultInputs = 40000;
constexpr auto kStuckAfter = std::chrono::seconds(60);

class Round {
 public:
  explicit Round(uint64_t seed) : dice_(seed), world(dice_, Shape::draw(dice_)) {}

  void run() {
    while (peersLeft_ > 0 || !peers_.empty()) {
      start();
      if (step()) {
        moved_ = Clock::now();
      } else if (Clock::now() - moved_ > kStuckAfter) {
        fault("nothing moves; " + described());
      }
      std::erase_if(peers_, [](const auto& peer) { return peer->over(); });
      if (changes_ > 0 && (world.inputs >= changeAt_ || stuckBehindGate())) change();
      if (world.inputs >= growAt_ && world.size.latest() < world.shape.sizeMaxBytes && !world.closed) grow();
      if (world.inputs >= closeAt_ && !world.closed) closeDisk();
    }
    end();
  }

 private:
  using Clock = std::chrono::steady_clock;

  void start() {
    world.peers = peers_.size();
    if (world.closed) peersLeft_ = 0;
    while (peersLeft_ > 0 && peers_.size() < together_) {
      --peersLeft_;
      peers_.push_back(std::make_unique<Peer>(world, dice_.next()));
      ++world.peers;
    }
  }

  bool step() {
    std::vector<pollfd> fds;
    for (const auto& peer : peers_) fds.push_back(peer->wanted());
    idle_ = poll(fds.data(), fds.size(), world.gate.latest() == State::live ? 100 : 2) == 0;
    bool moved = false;
    for (size_t i = 0; i < peers_.size(); ++i) moved = peers_[i]->step(fds[i].revents) || moved;
    return moved;
  }

  bool stuckBehindGate() const { return idle_ && world.gate.latest() != State::live; }

  // The last change is to live, so that all can be answered.
  void change() {
    if (world.closed) return;
    changeAt_ = world.inputs + dice_.between(1, 200);
    if (--changes_ == 0) return world.enter(State::live);
    switch (dice_.below(6)) {
      case 0:
        return world.flicker(State::hung);
      case 1:
        return world.flicker(State::failed);
      case 2:
      case 3:
        return world.enter(State::live);
      case 4:
        return world.enter(State::failed);
      default:
        return world.enter(State::hung);
    }
  }

  void grow() {
    const uint64_t begun = world.grow(world.shape.sizeMaxBytes);
    for (const auto& peer : peers_) peer->grown(begun);
  }

  void closeDisk() {
    world.closed = true;
    if (const int error = world.disk->close()) fault("the disk closes with errno " + std::to_string(error));
  }

  void end() {
    const sealdisk::DiskCounters& counters = world.disk->counters();
    if (counters.parked || counters.inFlight || counters.connections) fault("the disk counts what is gone");
    if (!world.closed) closeDisk();
    world.expectFile();
  }

  std::string described() const {
    std::string text = "gate " + std::to_string(static_cast<int>(world.gate.latest()));
    for (const auto& peer : peers_) text += "; " + peer->describe();
    return text;
  }

  Dice dice_;

 public:
  World world;

 private:
  uint64_t peersLeft_ = dice_.between(1, 8);
  const uint64_t together_ = dice_.between(1, 4);
  uint64_t changes_ = dice_.oneIn(2) ? dice_.between(2, 30) : 0;
  uint64_t changeAt_ = dice_.between(1, 300);
  const uint64_t growAt_ = dice_.below(1000);
  const uint64_t closeAt_ = dice_.oneIn(6) ? dice_.below(1000) : kNever;
  bool idle_ = false;
  Clock::time_point moved_ = Clock::now();
  std::vector<std::unique_ptr<Peer>> peers_;
};

uint64_t wantedInputs() {
  const char* given = getenv("FUZZ_INPUTS");
  return given ? strtoull(given, nullptr, 0) : kDefaultInputs;
}

// The requests and replies of a round; throws when something is wrong.
std::pair<uint64_t, uint64_t> playRound(uint64_t seed) {
  Dice dice(~seed);
  setenv("SEALDISK_IO", sealdisk::ringAvailable() && !dice.oneIn(4) ? "ring" : "pool", 1);
  Round round(seed);
  round.run();
  return {round.world.inputs, round.world.replies};
}

}  // namespace

TEST("random streams are answered by the rules, with the right bytes, and leave nothing behind") {
  const uint64_t seed = testSeed(), wanted = wantedInputs();
  uint64_t inputs = 0, replies = 0, rounds = 0;
  std::optional<Footprint> early;
  const auto begun = std::chrono::steady_clock::now();
  for (; inputs < wanted; ++rounds) {
    try {
      const auto [sent, answered] = playRound(seed + rounds);
      inputs += sent;
      replies += answered;
    } catch (const std::exception& error) {
      printf("# SEED=%llu FUZZ_INPUTS=1: %s\n", static_cast<unsigned long long>(seed + rounds), error.what());
      REQUIRE(!"a round failed");
    }
    if (rounds == 9) early = Footprint::now();
  }
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  printf("# %llu inputs, %llu replies, %llu rounds in %.1f s\n", static_cast<unsigned long long>(inputs),
         static_cast<unsigned long long>(replies), static_cast<unsigned long long>(rounds), seconds);
  if (!early) return;
  const Footprint late = Footprint::now();
  CHECK_EQ(late.descriptors, early->descriptors);
  CHECK_EQ(late.threads, early->threads);
  CHECK_EQ(late.arenaBytes, early->arenaBytes);
  printf("# heap %zu bytes after 10 rounds, %zu at the end\n", early->heapBytes, late.heapBytes);
  CHECK(late.heapBytes <= early->heapBytes + 64 * 1024);
}

CHECK_MAIN
