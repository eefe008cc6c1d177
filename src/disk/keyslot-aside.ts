/**
 * A recovery keyslot for a header that has no file yet: cryptsetup makes it in a header of its own, aside, and it moves.
 *
 * A keyslot's room is at the same place in both headers, so what cryptsetup wrote is copied as it is. With it cryptsetup
 * can go on with a conversion without sealdisk and without the KMS.
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeyProvider, SecretBytes } from '../kms/provider.js';
import { readHeader, writeHeader } from '../luks2/copies.js';
import { fileOf, orDiskIo } from '../luks2/file.js';
import type { Luks2Header } from '../luks2/header.js';
import { geometryOf } from '../luks2/metadata.js';
import { openBacking } from './backing.js';
import { addPassphrase } from './recover.js';

export interface Keyslots {
  /** The header, with the keyslot. */
  readonly header: Luks2Header;
  /** What is to stand in the file from the end of the header copies on. */
  readonly area: Buffer;
  readonly areaOffsetBytes: number;
}

/** Room of one keyslot that cryptsetup makes for a key of 64 bytes. */
const KEYSLOT_BYTES = 258_048;

/** Adds a keyslot with `passphrase` to a new header, proved by opening it. Fails as `addPassphrase`. */
export async function withKeyslot(
  header: Luks2Header,
  provider: KeyProvider,
  passphrase: SecretBytes,
): Promise<Keyslots> {
  const dir = await mkdtemp(join(tmpdir(), 'sealdisk-header-'));
  const path = join(dir, 'header');
  try {
    const { offsetBytes, sectorSize } = geometryOf(header);
    await writeFile(path, '', { mode: 0o600 });
    await grownWithHeader(path, header, Number(offsetBytes) + sectorSize);
    await addPassphrase(path, provider, passphrase, undefined);
    const file = await openBacking(path, 'read');
    try {
      const areaOffsetBytes = 2 * header.hdrSizeBytes;
      const area = await orDiskIo(path, fileOf(file.fd).read(areaOffsetBytes, KEYSLOT_BYTES));
      const made = (await readHeader(file.fd, path)).header;
      return { header: { ...made, seqid: header.seqid }, area, areaOffsetBytes };
    } finally {
      await file.close();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function grownWithHeader(path: string, header: Luks2Header, sizeBytes: number): Promise<void> {
  const file = await openBacking(path, 'write');
  try {
    await orDiskIo(path, file.truncate(sizeBytes));
    await writeHeader(file.fd, path, header);
  } finally {
    await file.close();
  }
}
