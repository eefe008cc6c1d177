/**
 * Conversions in place: a plain file or device becomes an encrypted disk, an encrypted disk gets another data key.
 *
 * Both can be cut at any instruction and gone on with by the same call; how: convert-steps.ts, in-place-start.ts. Nobody
 * else has the file meanwhile. There is no way back to plain.
 */

import { randomUUID } from 'node:crypto';
import type { DataKey } from '../engine/engine.js';
import { fail } from '../errors.js';
import type { KeyProvider, SecretBytes, WrappedKey } from '../kms/provider.js';
import type { Conversion, Found } from '../luks2/conversion.js';
import { readHeader, writeHeader } from '../luks2/copies.js';
import { checkFits } from '../luks2/fits.js';
import type { Digest, Luks2Header } from '../luks2/header.js';
import { geometryOf } from '../luks2/metadata.js';
import { HEADER_MAC_SIZE_BYTES, type SealdiskToken, tokenOf, withToken } from '../luks2/token.js';
import { sizeOf } from './backing.js';
import type { BulkOptions } from './bulk.js';
import {
  conversionOn,
  formerHeader,
  formerOf,
  proofOf,
  proveConversion,
  writeConversion,
} from './conversion.js';
import { finish } from './convert-steps.js';
import { checkLabels, digestFor, sealedHeader } from './create.js';
import { CONVERTED_SECTOR_BYTES } from './encrypt-to.js';
import { generateDataKey, sealOf, unwrapDataKey } from './envelope.js';
import { checkPlain, type Held, withHeld } from './held-file.js';
import { findStart } from './in-place-record.js';
import { payloadOf, startInPlace, startLayout, undoStart } from './in-place-start.js';
import { withKeyslot } from './keyslot-aside.js';
import { removeLabel } from './plain.js';
import { wrappingOf } from './wrapping.js';

/** The least room that LUKS2 gives a keyslot: of a conversion that needs none. */
const BLOCK_BYTES = 4096n;

export interface InPlaceTarget {
  /** Its UUID is to be this one; a fresh one, when left out. */
  readonly uuid?: string;
  readonly name: string;
  /** Id of what it was made from. */
  readonly source?: string;
  readonly tags: Readonly<Record<string, string>>;
  /** 512, when left out: what was plain had sectors of that size for whoever used it. */
  readonly sectorSize?: 512 | 4096;
  /** Of a block device: what its owner has made free at its end. */
  readonly reduceBytes?: bigint;
  /** Opens the disk from the first moment on, and lets cryptsetup finish the work; stays the caller's. */
  readonly passphrase?: SecretBytes;
}

/** The KMSs that may be asked; each provider is closed here. */
export interface Keys {
  /** For a new data key; `token`: of the disk as it is, where there is one. */
  readonly forNew: (token?: SealdiskToken) => Promise<KeyProvider>;
  /** The one that wrapped. */
  readonly forToken: (token: SealdiskToken, path: string) => Promise<KeyProvider>;
}

export interface Converted {
  readonly uuid: string;
  readonly path: string;
  readonly sizeBytes: bigint;
  readonly sectorSize: 512 | 4096;
  readonly keyUri: string;
  readonly keyId: string;
  readonly holes: boolean;
  /** It went on with what an earlier run, or another program, had begun. */
  readonly resumed: boolean;
}

/** Encrypts a plain file or device where it lies, or goes on with that. DISK_*, CONVERT_*, LUKS2_*, KMS_*. */
export async function encryptInPlace(
  path: string,
  target: InPlaceTarget,
  keys: Keys,
  options: BulkOptions,
): Promise<Converted> {
  return withHeld(path, 'write', async (held) => {
    const found = await conversionOn(held.file.fd, path);
    if (found) return labelled(await goOn(held, found, keys, options));
    const start = await findStart(held);
    const plain = start ? await undoStart(held, start) : held;
    await checkPlain(plain);
    return labelled(await begin(plain, target, keys, options));
  });
}

/** The token says it all by now. */
function labelled(done: Converted): Converted {
  removeLabel(done.path);
  return done;
}

/** Gives a disk another data key where it lies, or goes on with that. Fails as `encryptInPlace`. */
export async function rekey(path: string, keys: Keys, options: BulkOptions): Promise<Converted> {
  return withHeld(path, 'write', async (held) => {
    const found = await conversionOn(held.file.fd, path);
    if (found) return goOn(held, found, keys, options);
    return beginRekey(held, keys, options);
  });
}

async function begin(
  held: Held,
  target: InPlaceTarget,
  keys: Keys,
  options: BulkOptions,
): Promise<Converted> {
  const { path } = held;
  const sectorSize = target.sectorSize ?? CONVERTED_SECTOR_BYTES;
  const payloadBytes = payloadOf(held, sectorSize, target.reduceBytes);
  const uuid = target.uuid ?? randomUUID();
  const disk = { ...target, path, sizeBytes: payloadBytes, sectorSize, discard: false };
  checkLabels(disk, uuid);
  return withNewKey(await keys.forNew(), uuid, options, async (key, wrapped, provider) => {
    const header = await sealedHeader(disk, uuid, provider.keyUri, key, wrapped);
    const { passphrase } = target;
    const keyslots = passphrase ? await withKeyslot(header, provider, passphrase) : undefined;
    const final = keyslots?.header ?? header;
    const layout = startLayout(payloadBytes);
    const offset = 2 * final.hdrSizeBytes + (keyslots?.area.length ?? 0);
    const area = { offsetBytes: BigInt(offset), sizeBytes: BLOCK_BYTES };
    const proof = proofOf(layout, area, final.metadata.segments['0'], [key]);
    const fresh = { final, layout, originalBytes: held.sizeBytes, area, proof, mac: Buffer.alloc(0) };
    const conversion = await startInPlace({ held, conversion: fresh, key, options }, keyslots);
    const grown = { ...held, sizeBytes: await sizeOf(held.file, path) };
    await finish({ held: grown, conversion, key, options });
    return converted(held, final, false);
  });
}

/** Runs `use` with a new data key for the disk `uuid`; wipes it, and closes the provider. */
async function withNewKey<T>(
  provider: KeyProvider,
  uuid: string,
  options: BulkOptions,
  use: (key: DataKey, wrapped: WrappedKey, provider: KeyProvider) => Promise<T>,
): Promise<T> {
  try {
    const { key, wrapped } = await generateDataKey(provider, uuid, options);
    try {
      return await use(key, wrapped, provider);
    } finally {
      key.wipe();
    }
  } finally {
    await provider.close();
  }
}

async function goOn(held: Held, found: Found, keys: Keys, options: BulkOptions): Promise<Converted> {
  const { path, file } = held;
  const final = found.kind === 'ours' ? found.conversion.final : found.final;
  return withKey(final, path, keys, options, async (key) => {
    if (found.kind === 'finished') await writeHeader(file.fd, path, final);
    else await goOnWith(held, found.conversion, key, keys, options);
    return converted(held, final, true);
  });
}

async function goOnWith(
  held: Held,
  conversion: Conversion,
  key: DataKey,
  keys: Keys,
  options: BulkOptions,
): Promise<void> {
  proveConversion(conversion, key, held.path);
  if (!conversion.former) return finish({ held, conversion, key, options });
  await withKey(formerHeader(conversion), held.path, keys, options, (formerKey) =>
    finish({ held, conversion, key, formerKey, options }),
  );
}

/** Runs `use` with the data key that has proved the header. */
async function withKey<T>(
  header: Luks2Header,
  path: string,
  keys: Keys,
  options: BulkOptions,
  use: (key: DataKey) => Promise<T>,
): Promise<T> {
  const provider = await keys.forToken(tokenOf(header), path);
  try {
    const key = await unwrapDataKey(header, provider, options);
    try {
      return await use(key);
    } finally {
      key.wipe();
    }
  } finally {
    await provider.close();
  }
}

async function beginRekey(held: Held, keys: Keys, options: BulkOptions): Promise<Converted> {
  const { path, file } = held;
  const { header } = await readHeader(file.fd, path);
  const payloadBytes = checkFits(header, held.sizeBytes);
  const keyslots = Object.keys(header.metadata.keyslots).length;
  if (keyslots > 0) {
    const why = `its ${keyslots} recovery passphrases open the present data key only; remove them, and add them again afterwards`;
    fail('CONVERT_REFUSED', { path, why });
  }
  return withKey(header, path, keys, options, async (formerKey) =>
    withNewKey(await keys.forNew(tokenOf(header)), header.uuid, options, async (key, wrapped, provider) => {
      const final = await underKey(header, key, wrappingOf(wrapped, provider.keyUri));
      const layout = {
        kind: 'rekey',
        payloadBytes,
        boundaryBytes: 0n,
        hotBytes: 0n,
        shiftBytes: 0n,
      } as const;
      const area = journalOf(header, path);
      const proof = proofOf(layout, area, final.metadata.segments['0'], [formerKey, key]);
      const former = formerOf(header);
      const fresh = { final, layout, originalBytes: 0n, area, proof, former, mac: Buffer.alloc(0) };
      const conversion = await writeConversion(file.fd, path, fresh, key);
      await finish({ held, conversion, key, formerKey, options });
      return converted(held, final, false);
    }),
  );
}

/** The header of the same disk under another data key, proved by it. */
async function underKey(
  header: Luks2Header,
  key: DataKey,
  wrapping: Pick<SealdiskToken, 'keyUri' | 'keyId' | 'keyVersion' | 'wrappedKey'>,
): Promise<Luks2Header> {
  const { salt, digest, iterations } = await digestFor(key);
  const record: Digest = {
    type: 'pbkdf2',
    keyslots: [],
    segments: ['0'],
    hash: 'sha256',
    iterations,
    salt: salt.toString('base64'),
    digest: digest.toString('base64'),
  };
  const digestId = '0' in header.metadata.digests ? '1' : '0';
  const token = tokenOf(header);
  const next = {
    ...token,
    ...wrapping,
    wrappedFor: '',
    generation: token.generation + 1,
    headerMac: Buffer.alloc(HEADER_MAC_SIZE_BYTES),
  };
  const bare = withToken(
    { ...header, metadata: { ...header.metadata, digests: { [digestId]: record } } },
    next,
  );
  return withToken(bare, { ...next, headerMac: sealOf(bare, key) });
}

/** The keyslots area is empty: it is the journal. */
function journalOf(header: Luks2Header, path: string) {
  const sizeBytes = BigInt(header.metadata.config.keyslots_size);
  if (sizeBytes < 4096n)
    fail('CONVERT_REFUSED', { path, why: 'its keyslots area has no room for a journal' });
  return { offsetBytes: 2n * BigInt(header.hdrSizeBytes), sizeBytes };
}

async function converted({ path, file }: Held, final: Luks2Header, resumed: boolean): Promise<Converted> {
  const token = tokenOf(final);
  const { sectorSize } = geometryOf(final);
  const sizeBytes = checkFits(final, await sizeOf(file, path));
  const { keyUri, keyId, holes } = token;
  return { uuid: final.uuid, path, sizeBytes, sectorSize, keyUri, keyId, holes, resumed };
}
