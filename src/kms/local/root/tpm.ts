/**
 * A key that a TPM gives back on this machine only: 32 random bytes sealed under a primary key of the owner hierarchy,
 * if asked also to the values that some PCRs have now. tpm2-tools do it (their TPM2TOOLS_TCTI names another TPM).
 *
 * Kept true: the bytes go to and from the tools through pipes, never through arguments or files. The primary key is
 * made anew from the TPM's seed each time, so nothing of ours stays in the TPM. The owner hierarchy has no password.
 */

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errnoOf, fail } from '../../../errors.js';
import type { SecretBytes } from '../../provider.js';
import { newRootKey } from '../root-key.js';
import { KEY_BYTES } from '../seal.js';
import { allocSecret, freeSecret } from '../secret.js';
import type { TpmObject } from './description.js';

const PCRS = /^sha(1|256|384|512):[0-9]{1,2}(,[0-9]{1,2})*$/;
const SAID_MAX_BYTES = 4096;

/** Fresh 32 bytes in secure memory, and what the TPM needs to give them back. Fails with KMS_ROOT_LOCKED or USAGE. */
export async function sealToTpm(pcrs: string | null): Promise<{ key: SecretBytes; object: TpmObject }> {
  if (pcrs !== null && !PCRS.test(pcrs))
    fail('USAGE', { what: `"${pcrs}" is no list of PCRs, as sha256:0,7` });
  const key = newRootKey();
  try {
    const object = await inFolder(async (at) => {
      await primary(at('primary'));
      const policy: string[] = [];
      if (pcrs !== null) {
        await tool(['tpm2_createpolicy', '--policy-pcr', '-l', pcrs, '-L', at('policy'), '-Q']);
        policy.push('-L', at('policy'));
      }
      await tool(
        [
          'tpm2_create',
          '-C',
          at('primary'),
          '-i',
          '-',
          ...policy,
          '-u',
          at('public'),
          '-r',
          at('private'),
          '-Q',
        ],
        key,
      );
      const [publicPart, privatePart] = await Promise.all([readFile(at('public')), readFile(at('private'))]);
      return { public: publicPart.toString('base64'), private: privatePart.toString('base64'), pcrs };
    });
    return { key, object };
  } catch (error) {
    freeSecret(key);
    throw error;
  }
}

/** The 32 bytes in secure memory. Fails with KMS_ROOT_LOCKED when this TPM does not give them. */
export async function unsealFromTpm(object: TpmObject): Promise<SecretBytes> {
  if (object.pcrs !== null && !PCRS.test(object.pcrs))
    fail('KMS_ROOT_LOCKED', { why: 'its PCRs are no list' });
  return inFolder(async (at) => {
    await writeFile(at('public'), Buffer.from(object.public, 'base64'));
    await writeFile(at('private'), Buffer.from(object.private, 'base64'));
    await primary(at('primary'));
    await tool([
      'tpm2_load',
      '-C',
      at('primary'),
      '-u',
      at('public'),
      '-r',
      at('private'),
      '-c',
      at('object'),
      '-Q',
    ]);
    const policy = object.pcrs === null ? [] : ['-p', `pcr:${object.pcrs}`];
    const key = allocSecret(KEY_BYTES);
    const filled = await tool(['tpm2_unseal', '-c', at('object'), ...policy], undefined, key);
    if (filled === KEY_BYTES) return key;
    freeSecret(key);
    return fail('KMS_ROOT_LOCKED', { why: `the TPM gave ${filled} bytes, expected ${KEY_BYTES}` });
  });
}

const primary = (context: string): Promise<number> =>
  tool(['tpm2_createprimary', '-C', 'o', '-G', 'ecc', '-c', context, '-Q']);

/** Files of the tools: none holds what is sealed. */
async function inFolder<T>(use: (at: (name: string) => string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'sealdisk-tpm-'));
  try {
    return await use((name) => join(folder, name));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A TPM that is reached without a resource manager keeps what a tool has loaded, and has room for three. */
async function tool(command: string[], input?: SecretBytes, output?: SecretBytes): Promise<number> {
  try {
    return await run(command, input, output);
  } finally {
    const managed = /^$|tpmrm|abrmd/.test(process.env.TPM2TOOLS_TCTI ?? '');
    if (!managed) await run(['tpm2_flushcontext', '--transient-object']).catch(() => undefined);
  }
}

/** Runs a tool with `input`; its output goes to `output`. How many bytes it wrote. */
async function run(
  [program = '', ...args]: string[],
  input?: SecretBytes,
  output?: SecretBytes,
): Promise<number> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let filled = 0;
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => {
    if (output) bytes.copy(output, filled);
    filled += bytes.length;
    bytes.fill(0);
  });
  child.stderr.on('data', (bytes: Buffer) => {
    if (said.length < SAID_MAX_BYTES) said += bytes;
  });
  child.stdin.on('error', () => undefined); // a tool that reads none of it has ended, and says why
  child.stdin.end(input);
  const ended = await new Promise<number | Error>((end) => {
    child.on('error', end);
    child.on('close', (code) => end(code ?? -1));
  });
  if (ended === 0) return filled;
  const why = ended instanceof Error ? errnoOf(ended) : lastLine(said) || `exit code ${ended}`;
  return fail('KMS_ROOT_LOCKED', { why: `${program}: ${why}` }, ended instanceof Error ? ended : undefined);
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';
