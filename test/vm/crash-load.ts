/** The seeded load of the crash tests: writes, zeros, FUA and FLUSH on two connections, many in flight, told to a CrashModel. */

import type { Random } from '../fuzz/random.js';
import type { NbdClient } from './crash-client.js';
import { type CrashModel, PIECE_BYTES, payloadOf, type Write } from './crash-model.js';

const WRITES_PER_ROUND = 12;
const PIECES_MAX = 48;

interface Flying {
  readonly write: Write;
  readonly ended: Promise<void>;
}

export class CrashLoad {
  readonly #flying = new Set<Flying>();
  readonly #acknowledged = new Set<Write>();
  readonly counts = { writes: 0, zeros: 0, fua: 0, flushes: 0 };

  constructor(
    private readonly model: CrashModel,
    private readonly clients: readonly NbdClient[],
    private readonly random: Random,
  ) {}

  /** Every piece gets data, so that from now on noise is wrong everywhere. */
  async fill(): Promise<void> {
    for (let first = 0; first < this.model.pieces; first += PIECES_MAX) {
      await this.#write(first, Math.min(PIECES_MAX, this.model.pieces - first), false, false).ended;
    }
    await this.flush();
  }

  /** Writes of which some are still in flight when the FLUSH is sent that ends the round. */
  async round(): Promise<void> {
    for (let n = 0; n < WRITES_PER_ROUND; n++) this.#any();
    const stillFlying = this.random.below(WRITES_PER_ROUND / 2);
    while (this.#flying.size > stillFlying) await Promise.race([...this.#flying].map(({ ended }) => ended));
    const flushed = this.flush();
    this.#any();
    await flushed;
  }

  async flush(): Promise<void> {
    const covered = [...this.#acknowledged];
    this.#acknowledged.clear();
    await this.#client().flush();
    this.counts.flushes++;
    for (const write of covered) this.model.becameStable(write);
  }

  /** Until nothing is in flight. */
  async settle(): Promise<void> {
    await Promise.all([...this.#flying].map(({ ended }) => ended));
  }

  #any(): void {
    const pieces = 1 + this.random.below(this.random.chance(0.5) ? 8 : PIECES_MAX);
    const first = this.random.below(this.model.pieces - pieces);
    if (this.#isTouched(first, pieces)) return;
    this.#write(first, pieces, this.random.chance(0.15), this.random.chance(0.15));
  }

  #isTouched(first: number, pieces: number): boolean {
    return [...this.#flying].some(
      ({ write }) => first < write.first + write.pieces && write.first < first + pieces,
    );
  }

  #write(first: number, pieces: number, zeros: boolean, fua: boolean): Flying {
    const write = this.model.issue(first, pieces, zeros);
    const offset = first * PIECE_BYTES;
    const client = this.#client();
    const asked = zeros
      ? client.zero(offset, pieces * PIECE_BYTES, fua)
      : client.write(offset, payloadOf(write), fua);
    const flying: Flying = {
      write,
      ended: asked.then(() => {
        this.#flying.delete(flying);
        if (fua) this.model.becameStable(write);
        else this.#acknowledged.add(write);
      }),
    };
    this.#flying.add(flying);
    this.counts.writes++;
    if (zeros) this.counts.zeros++;
    if (fua) this.counts.fua++;
    return flying;
  }

  #client(): NbdClient {
    return this.random.pick(this.clients);
  }
}
