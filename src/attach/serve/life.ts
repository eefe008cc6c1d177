/**
 * The life of a serving process between its signals: start, ready, reload, stop; a service manager hears of each.
 *
 * SIGTERM and SIGINT end it in good order; a second one ends it as signals do. During the start either one ends the
 * process at once, and what the start has recorded is taken away. SIGHUP reloads, one time after the other.
 */

import type { Log } from '../../log.js';
import type { Serving } from './serve.js';
import type { Notify } from './systemd.js';

/** What serves: exports, or something else that has no name here. */
export type Living = Pick<Serving, 'status' | 'reload' | 'close'> & Partial<Pick<Serving, 'exports'>>;

export interface Life<L extends Living> {
  readonly start: (onChange: () => void) => Promise<L>;
  /** Called once, when clients may come. */
  readonly announce: (serving: L) => void;
  readonly notify: Notify;
  readonly log: Log;
}

/** Resolves when the process has been stopped and all is closed; fails as the start or the close does. */
export async function live<L extends Living>({ start, announce, notify, log }: Life<L>): Promise<void> {
  let serving: L | undefined;
  const stopped = new Promise<string>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        if (serving) return resolve(signal);
        log.info({ event: 'stopped_early', signal }, 'stopped before it was ready');
        process.exit(0);
      });
    }
  });
  let reloading = Promise.resolve();
  process.on('SIGHUP', () => {
    reloading = reloading.then(async () => {
      if (!serving) return; // its files are being read just now
      notify({ kind: 'reloading' });
      await serving.reload();
      notify({ kind: 'ready', status: serving.status() });
    });
  });
  serving = await start(() => serving && notify({ kind: 'status', status: serving.status() }));
  announce(serving);
  log.info({ event: 'serving', exports: serving.exports }, serving.status());
  notify({ kind: 'ready', status: serving.status() });
  const signal = await stopped;
  notify({ kind: 'stopping', status: `stopping (${signal})` });
  log.info({ event: 'stopping', signal }, 'answering what is in flight');
  await serving.close();
}
