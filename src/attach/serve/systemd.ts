/**
 * What systemd gives a service and hears from it: listening sockets (sd_listen_fds(3)) and a notification socket
 * (sd_notify(3)). Without systemd there are no sockets, and nobody is told.
 */

import { engine } from '../../engine/engine.js';
import { fail } from '../../errors.js';
import type { Log } from '../../log.js';
import type { ListenAddress } from '../../nbd/server.js';

/** SD_LISTEN_FDS_START. */
const FIRST_DESCRIPTOR = 3;
/** More than anybody passes; a number beyond it is garbage. */
const DESCRIPTORS_MAX = 1024;

type Environment = Readonly<NodeJS.ProcessEnv>;

/**
 * The listening sockets that were handed to the process `pid`: none when LISTEN_PID names another. Fails with USAGE when
 * the variables are garbage, with NBD_ADDRESS when a descriptor is no listening stream socket.
 */
export function inheritedSockets(environment: Environment, pid: number): ListenAddress[] {
  const { LISTEN_FDS: fds, LISTEN_PID: forPid } = environment;
  if (fds === undefined || forPid !== `${pid}`) return [];
  const count = /^\d{1,4}$/.test(fds) ? Number(fds) : Number.NaN;
  if (!(count <= DESCRIPTORS_MAX)) fail('USAGE', { what: `LISTEN_FDS is "${fds}", expected a number` });
  return Array.from({ length: count }, (_, i) => {
    const fd = FIRST_DESCRIPTOR + i;
    return { fd, bound: engine().listeningSocket(fd) };
  });
}

/** What a service manager is told. STATUS is one line for people. */
export type Notice =
  | { readonly kind: 'ready' | 'status'; readonly status: string }
  | { readonly kind: 'reloading' }
  | { readonly kind: 'stopping'; readonly status: string };

export type Notify = (notice: Notice) => void;

/** Tells the manager at NOTIFY_SOCKET. That it cannot be told is logged, once, and changes nothing. */
export function openNotify(environment: Environment, log: Log): Notify {
  const path = environment.NOTIFY_SOCKET;
  if (!path) return () => {};
  let failed = false;
  return (notice) => {
    try {
      engine().notifyManager({ path, message: messageOf(notice) });
    } catch (error) {
      if (!failed)
        log.warn({ event: 'notify_failed', err: error }, `the service manager at ${path} hears nothing`);
      failed = true;
    }
  };
}

function messageOf(notice: Notice): string {
  switch (notice.kind) {
    case 'ready':
      return `READY=1\nSTATUS=${notice.status}`;
    case 'status':
      return `STATUS=${notice.status}`;
    case 'reloading':
      // The manager matches it with the READY=1 that follows by this time (CLOCK_MONOTONIC, as hrtime is).
      return `RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`;
    case 'stopping':
      return `STOPPING=1\nSTATUS=${notice.status}`;
  }
}
