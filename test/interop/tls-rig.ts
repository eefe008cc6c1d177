/**
 * A disk served over TLS by src/nbd and the engine, in this process, with certificates of certtool and keys of psktool:
 * all that a client of GnuTLS (libnbd, qemu, nbdkit) needs.
 */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { engine, type TlsOptions } from '#sealdisk/engine/engine.js';
import { isFailure } from '#sealdisk/errors.js';
import { type ServerEvent, startServer } from '#sealdisk/nbd/server.js';
import { diskFile, OFFSET } from '../engine/rig.js';
import { tempDir } from '../nbd/rig.js';
import { disk as anExport } from '../nbd/wire.js';

const certtool = (...args: string[]) => execFileSync('certtool', args, { stdio: 'pipe' });

/** A CA and what it signs, each in a folder with the names that libnbd and qemu look for. */
export class GnutlsCa {
  readonly #dir: string;

  constructor(dir: string) {
    mkdirSync(dir);
    this.#dir = dir;
    const [template, key, out] = [join(dir, 'ca.info'), join(dir, 'ca-key.pem'), join(dir, 'ca-cert.pem')];
    writeFileSync(template, 'cn = test CA\nca\ncert_signing_key\n');
    certtool('--generate-privkey', '--key-type=ecdsa', '--curve=secp256r1', `--outfile=${key}`);
    certtool('--generate-self-signed', `--load-privkey=${key}`, `--template=${template}`, `--outfile=${out}`);
  }

  pem(): Buffer {
    return readFileSync(join(this.#dir, 'ca-cert.pem'));
  }

  /** A folder with ca-cert.pem and, where there is a role, ROLE-cert.pem and ROLE-key.pem. */
  folder(name: string, role?: 'server' | 'client', commonName = name): string {
    const folder = join(this.#dir, name);
    const at = (file: string) => join(folder, file);
    mkdirSync(folder);
    writeFileSync(at('ca-cert.pem'), this.pem());
    if (role === undefined) return folder;
    const uses =
      role === 'server'
        ? 'tls_www_server\ndns_name = localhost\nip_address = 127.0.0.1\n'
        : 'tls_www_client\n';
    writeFileSync(at('info'), `cn = ${commonName}\nsigning_key\n${uses}`);
    const key = at(`${role}-key.pem`);
    certtool('--generate-privkey', '--key-type=ecdsa', '--curve=secp256r1', `--outfile=${key}`);
    certtool(
      '--generate-certificate',
      `--load-privkey=${key}`,
      `--template=${at('info')}`,
      `--load-ca-certificate=${join(this.#dir, 'ca-cert.pem')}`,
      `--load-ca-privkey=${join(this.#dir, 'ca-key.pem')}`,
      `--outfile=${at(`${role}-cert.pem`)}`,
    );
    return folder;
  }
}

/** The file of pre-shared keys, with a key for each name. */
export function pskFile(path: string, ...names: string[]): string {
  for (const name of names) execFileSync('psktool', ['-u', name, '-p', path], { stdio: 'pipe' });
  return path;
}

export interface TlsServer {
  /** With the disk's file, `disk`. */
  readonly dir: string;
  /** Of the unix socket. */
  readonly path: string;
  /** On 127.0.0.1. */
  readonly port: string;
  /** The one line of each connection that was refused, oldest first. */
  refusals(): string[];
  readonly events: readonly ServerEvent[];
}

/** Serves a fresh disk, whose export has no name, on a unix socket and on TCP. */
export async function serveTls(
  t: Test,
  tlsOptions: TlsOptions,
  { sizeBytes = 16 << 20, names }: { sizeBytes?: number; names?: readonly string[] } = {},
): Promise<TlsServer> {
  const dir = tempDir(t);
  const options = { ...diskFile(dir), sizeBytes: BigInt(sizeBytes) };
  truncateSync(options.path, OFFSET + sizeBytes);
  const disk = engine().openDisk(options);
  const key = engine().takeDataKey(randomBytes(64));
  disk.goLive(key);
  key.wipe();
  const context = engine().tlsContext(tlsOptions);
  const events: ServerEvent[] = [];
  const path = join(dir, 's');
  const exported = { ...anExport, name: '', sizeBytes: BigInt(sizeBytes), contexts: [] };
  const server = await startServer({
    listen: [{ path }, { host: '127.0.0.1', port: 0 }],
    exports: () => [{ ...exported, ...(names && { clientNames: names }) }],
    tls: { mode: 'require', accept: () => context.accept() },
    transmit: ({ fd, rest, tls }) => disk.serve({ fd, rest, readOnly: false, ...(tls && { tls }) }),
    onEvent: (event) => events.push(event),
  });
  t.teardown(async () => {
    await server.close();
    await disk.close();
    context.close();
  });
  const refusals = () =>
    events.flatMap((event) =>
      'error' in event && event.error !== undefined
        ? [isFailure(event.error) ? event.error.message : `no line of the catalogue: ${event.error}`]
        : [],
    );
  return { dir, path, port: server.addresses[1]?.split(':').at(-1) ?? '', events, refusals };
}
