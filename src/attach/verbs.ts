/** What a serving process does for whoever asks on its control socket, however it serves its disk. */

import type { InService } from '../disk/in-service.js';
import { readObject } from '../disk/object.js';
import { relabelPlain } from '../disk/relabel.js';
import { Resizer } from '../disk/resize.js';
import { HeaderKeeper } from '../disk/rewrap.js';
import { ServedDisk } from '../disk/served-disk.js';
import { fail } from '../errors.js';
import type { ProviderEnvironment } from '../kms/provider.js';
import { type ControlRequest, statusOf } from './control.js';
import type { Snapshots } from './snapshots.js';

/** What the verbs have to know of how the disk is served. */
export interface VerbsFront {
  readonly environment: ProviderEnvironment;
  /** The owner named the key that must wrap. */
  readonly pinned: boolean;
  /** Who would miss the end of the disk, as in "mounted on /mnt"; undefined when nobody would. */
  user(): string | undefined;
  /** Shows another size to whoever uses the disk, and records it. */
  show(sizeBytes: bigint): Promise<void>;
  /** Records the disk as it is by now. */
  record(): Promise<void>;
}

export class Verbs {
  readonly #resizer: Resizer;
  readonly #header: HeaderKeeper | undefined;

  constructor(
    private readonly served: InService,
    private readonly snapshots: Snapshots,
    front: VerbsFront,
  ) {
    this.#resizer = new Resizer(served, {
      user: () => (snapshots.running > 0 ? 'being copied for a snapshot' : front.user()),
      show: (sizeBytes) => front.show(sizeBytes),
    });
    const { environment, pinned } = front;
    if (served instanceof ServedDisk) {
      this.#header = new HeaderKeeper(served, { environment, pinned, show: () => front.record() });
    }
  }

  /** Fails as the verb does; with ATTACH_NOT_ATTACHED for one that is not for every way of serving. */
  async carryOut(request: ControlRequest): Promise<unknown> {
    const { served } = this;
    const { path } = served.facts;
    switch (request.verb) {
      case 'status':
        return statusOf(served);
      case 'resize':
        return this.#resizer.resize(request.change, request.force);
      case 'rewrap':
        return (this.#header ?? fail('DISK_PLAIN', { path, what: 'no key wraps it' })).rewrap(request.wish);
      case 'relabel':
        return this.#header
          ? this.#header.relabel(request.change)
          : relabelPlain(await readObject(path), request.change);
      case 'snapshot':
      case 'snapshot-status':
      case 'snapshot-cancel':
        return this.snapshots.handle(request);
      case 'detach':
        return fail('ATTACH_NOT_ATTACHED', { target: path });
    }
  }
}
