// A lean NBD client that loads a server and prints what it saw, one JSON line: requests, verified ones, seconds, requests
// per second, percentiles of the latency in microseconds.
//
//   nbd_load --socket PATH | --host H --port P  [--export NAME] [--ca FILE]
//            [--fill | --write] [--random] [--block BYTES] [--depth N] [--connections N] [--seconds S]
//
// --fill writes the whole export once, with the bytes that reads expect; --ca goes through TLS. One thread for each
// connection, blocking: a request leaves as soon as a reply has come, nothing is made of the bytes but every 1000th check.
#include <getopt.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>

#include "peer.h"

using namespace load;

namespace {

constexpr auto kWarmUp = std::chrono::milliseconds(200);
constexpr uint64_t kFillBytes = 1 << 20;

struct Options {
  Address address;
  std::string name;
  Work work;
  bool fills = false;
  size_t connections = 1;
  double seconds = 1;
};

Options parse(int argc, char** argv) {
  enum { kSocket, kHost, kPort, kExport, kCa, kFill, kWrite, kRandom, kBlock, kDepth, kConnections, kSeconds };
  const option known[] = {{"socket", 1, nullptr, kSocket}, {"host", 1, nullptr, kHost},     {"port", 1, nullptr, kPort},
                          {"export", 1, nullptr, kExport}, {"ca", 1, nullptr, kCa},         {"fill", 0, nullptr, kFill},
                          {"write", 0, nullptr, kWrite},   {"random", 0, nullptr, kRandom}, {"block", 1, nullptr, kBlock},
                          {"depth", 1, nullptr, kDepth},   {"connections", 1, nullptr, kConnections},
                          {"seconds", 1, nullptr, kSeconds}, {nullptr, 0, nullptr, 0}};
  Options options;
  for (int found; (found = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    switch (found) {
      case kSocket: options.address.socket = optarg; break;
      case kHost: options.address.host = optarg; break;
      case kPort: options.address.port = optarg; break;
      case kExport: options.name = optarg; break;
      case kCa: options.address.certificateAuthority = optarg; break;
      case kFill: options.fills = true; break;
      case kWrite: options.work.writes = true; break;
      case kRandom: options.work.random = true; break;
      case kBlock: options.work.blockBytes = strtoull(optarg, nullptr, 0); break;
      case kDepth: options.work.depth = strtoull(optarg, nullptr, 0); break;
      case kConnections: options.connections = strtoull(optarg, nullptr, 0); break;
      case kSeconds: options.seconds = atof(optarg); break;
      default: exit(2);
    }
  }
  return options;
}

void fill(const Options& options) {
  Peer peer(options.address, options.name, {true, false, kFillBytes, 4}, 0);
  peer.run(true, false, peer.sizeBytes() / kFillBytes);
  peer.leave();
}

void measure(const Options& options) {
  std::vector<std::unique_ptr<Peer>> peers;
  for (size_t i = 0; i < options.connections; ++i)
    peers.push_back(std::make_unique<Peer>(options.address, options.name, options.work, i + 1));
  std::atomic<bool> start{false}, stop{false};
  std::vector<std::thread> threads;
  for (const auto& peer : peers) {
    threads.emplace_back([&start, &stop, &peer] {
      try {
        peer->run(start, stop);
      } catch (const std::exception& error) {
        fprintf(stderr, "nbd_load: %s\n", error.what());
        _exit(1);
      }
    });
  }
  std::this_thread::sleep_for(kWarmUp);
  const uint64_t begunNs = nowNs();
  start = true;
  std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
  const double seconds = static_cast<double>(nowNs() - begunNs) / 1e9;
  stop = true;
  uint64_t requests = 0, inAll = 0, verified = 0;
  Latencies latencies;
  for (size_t i = 0; i < peers.size(); ++i) {
    threads[i].join();
    requests += peers[i]->requests;
    inAll += peers[i]->requestsInAll;
    verified += peers[i]->verified;
    latencies.add(peers[i]->latencies);
    peers[i]->leave();
  }
  printf("{\"requests\":%llu,\"requestsInAll\":%llu,\"verified\":%llu,\"seconds\":%.3f,\"perSecond\":%.0f,\"p50Us\":%.1f,\"p99Us\":%.1f}\n",
         static_cast<unsigned long long>(requests), static_cast<unsigned long long>(inAll), static_cast<unsigned long long>(verified), seconds,
         static_cast<double>(requests) / seconds, latencies.percentileUs(50), latencies.percentileUs(99));
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  try {
    options.fills ? fill(options) : measure(options);
  } catch (const std::exception& error) {
    fprintf(stderr, "nbd_load: %s\n", error.what());
    return 1;
  }
  return 0;
}
