/**
 * Entry of the process that holds one PKCS#11 module: `pkcs11-main.cjs MODULE PUBLIC-KEY`, with an IPC channel to whoever
 * asks. It does one thing at a time, and may be blocked by the module for as long as that likes; it ends with its asker.
 *
 * It is protected as a server's process is, since disks may hang until it answers: see docs/reliability.md.
 */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type * as Pkcs11 from 'pkcs11js';
import sodium from 'sodium-native';
import { engine } from '../../../engine/engine.js';
import { catalogued } from '../../../errors.js';
import { allocSecret } from '../../local/secret.js';
import { PLAINTEXT_MAX_BYTES, TAG_BYTES } from '../sealed-key.js';
import { TokenModule } from './token.js';
import type { Answer, KeyWork, Work } from './work.js';

const [, , modulePath = '', publicKeyHex = ''] = process.argv;
const publicKey = Buffer.from(publicKeyHex, 'hex');
/** Some modules want room for the whole ciphertext to decrypt it. It is locked first: what may be locked may be little. */
const room = allocSecret(PLAINTEXT_MAX_BYTES + TAG_BYTES);
const oomScoreAdj = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
engine().protectProcess({ lockMemory: true, oomScoreAdj });

const pkcs11 = createRequire(import.meta.url)('pkcs11js') as typeof Pkcs11;
const module = new TokenModule(pkcs11, modulePath, room);

function answer(work: KeyWork): Answer {
  try {
    const { plainBytes, ...done } = module.do(work);
    if (plainBytes === 0) return { done };
    const boxed = Buffer.alloc(plainBytes + sodium.crypto_box_SEALBYTES);
    sodium.crypto_box_seal(boxed, room.subarray(0, plainBytes), publicKey);
    return { done: { ...done, boxed } };
  } catch (error) {
    return { failure: catalogued(error).toJSON(), refusedPin: module.refusedPin };
  } finally {
    sodium.sodium_memzero(room);
  }
}

/** Who asks says when it is over, also to a terminal's and a service manager's signals. */
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});

function end(): void {
  module.end();
  process.exit(0);
}

process.on('disconnect', end);
process.on('message', (work: Work) => (work.verb === 'end' ? end() : process.send?.(answer(work))));
