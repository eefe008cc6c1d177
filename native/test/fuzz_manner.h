// How one connection of the fuzzer behaves: how much it sends, in which pieces, how it reads, and how it ends.
#pragma once

#include "fuzz_grammar.h"

namespace fuzz {

// How a stream ends.
enum class Ending {
  drained,     // all is answered, then DISC
  disconnect,  // DISC at once
  halfClose,   // no more is sent, all is read
  cut,         // inside a request, then half closed
  vanish,      // closed by the peer, at any byte
  garbage,     // what is no request, and more requests behind it
  closedHere,  // by the server
};

// Of a send or recv. Where pieces are small half of them are large, or a stream would take for ever.
constexpr size_t kPieceMaxBytes = 64 * 1024;

struct Manner {
  Ending ending;
  Mode mode;
  uint32_t contexts;  // 1 base:allocation, 2 sealdisk:key-state
  uint64_t inputs;    // requests to send
  size_t depth;       // requests that wait for replies at once
  size_t sendBytes;   // at once, at most
  size_t readBytes;   // at once, at most
  bool readsLate;     // only when it can send no more
  bool readOnly;
  bool restGiven;     // the first bytes come as those that the handshake read ahead
  bool brims;         // when drained and alone: shows that it still has all its memory

  static Manner draw(Dice& dice) {
    Manner manner{};
    manner.ending = dice.pick<Ending>({Ending::drained, Ending::drained, Ending::drained, Ending::drained,
                                       Ending::disconnect, Ending::halfClose, Ending::cut, Ending::vanish,
                                       Ending::garbage, Ending::closedHere});
    manner.mode = dice.pick<Mode>({Mode::simple, Mode::structured, Mode::structured, Mode::extended, Mode::extended});
    manner.contexts = manner.mode == Mode::simple ? 0 : static_cast<uint32_t>(dice.below(4));
    manner.inputs = dice.oneIn(4) ? dice.between(1, 20) : dice.between(50, 500);
    manner.depth = dice.pick<size_t>({1, 2, 4, 16, 64, 200, 400});
    manner.sendBytes = dice.pick<size_t>({kPieceMaxBytes, kPieceMaxBytes, 4096, 29, 7});
    manner.readBytes = dice.pick<size_t>({kPieceMaxBytes, kPieceMaxBytes, 4096, 29, 7});
    manner.readsLate = dice.oneIn(6);
    manner.readOnly = dice.oneIn(12);
    manner.restGiven = dice.oneIn(3);
    manner.brims = dice.oneIn(3);
    return manner;
  }
};

}  // namespace fuzz
