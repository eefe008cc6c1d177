/**
 * An image for other programs: as the LUKS2 file that it is, as a qcow2, or raw.
 *
 * Kept true: of an encrypted image nothing plain lies on storage. As luks it is copied as it lies there; as qcow2 it is
 * deciphered in the engine's memory and enciphered by qemu-img under a passphrase, which comes to it through a pipe.
 */

import { madeAside } from '../disk/aside.js';
import type { BulkOptions } from '../disk/bulk.js';
import { bringDetached } from '../disk/derive.js';
import { unwrapDataKey } from '../disk/envelope.js';
import type { StoredObject } from '../disk/object.js';
import { KMS_TIMEOUT_MS } from '../disk/patience.js';
import { PLAIN_SECTOR_BYTES } from '../disk/plain.js';
import type { DiskDescription } from '../disk/read.js';
import { type DataKey, type DiskOptions, engine } from '../engine/engine.js';
import { fail } from '../errors.js';
import { freeSecret } from '../kms/local/secret.js';
import type { ProviderEnvironment, SecretBytes } from '../kms/provider.js';
import { openProvider } from '../kms/registry.js';
import { mayTouch } from '../pool/may.js';
import { mustRun, nodeOf } from './qemu-img.js';

export const EXPORT_FORMATS = ['luks', 'qcow2', 'raw'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export interface ExportWish {
  /** Of the file to be made. */
  readonly path: string;
  readonly format: ExportFormat;
  /** Of an encrypted image as qcow2, and only then: asked for once it is seen that it is needed. */
  readonly passphrase: () => Promise<SecretBytes>;
  readonly environment: ProviderEnvironment;
  readonly bulk: Omit<BulkOptions, 'timeoutMs'>;
}

/** The format that an image has without being made into another. */
export const ownFormat = ({ encrypted }: StoredObject): ExportFormat => (encrypted ? 'luks' : 'raw');

/** Makes the file. POLICY_DENIED, IMAGE_*, DISK_*, LUKS2_* or KMS_*; then nothing was made. */
export async function exportImage(image: StoredObject, wish: ExportWish): Promise<void> {
  const { path, format } = wish;
  await mayTouch('ecs:ExportImage', image, wish.environment);
  if (format === 'qcow2')
    return image.encrypted ? asSealedQcow2(image.encrypted, wish) : asQcow2(image, wish);
  if (format !== ownFormat(image)) {
    const why = image.encrypted
      ? 'it is encrypted, and leaves as luks or qcow2'
      : 'it is plain, and leaves as raw or qcow2 (image copy --key makes an encrypted one)';
    fail('IMAGE_REFUSED', { path: image.path, why });
  }
  await madeAside(path, (aside) => bringDetached(image, aside.path));
}

async function asQcow2({ path, sizeBytes }: StoredObject, wish: ExportWish): Promise<void> {
  const sectorSize = Number(PLAIN_SECTOR_BYTES) as 512;
  await convert({ path, offsetBytes: 0n, sizeBytes, sectorSize, plain: true }, undefined, wish);
}

async function asSealedQcow2(image: DiskDescription, wish: ExportWish): Promise<void> {
  const { path, offsetBytes, sizeBytes, sectorSize, holes } = image;
  const provider = await openProvider(image.token.keyUri, wish.environment);
  try {
    const key = await unwrapDataKey(image.header, provider, { timeoutMs: KMS_TIMEOUT_MS });
    try {
      const passphrase = await wish.passphrase();
      try {
        await convert({ path, offsetBytes, sizeBytes, sectorSize, holes }, { key, passphrase }, wish);
      } finally {
        freeSecret(passphrase);
      }
    } finally {
      key.wipe();
    }
  } finally {
    await provider.close();
  }
}

/** The payload as a qcow2, enciphered where the image is. qemu-img writes the file, so it runs as who may. */
async function convert(
  image: Omit<DiskOptions, 'readOnly'>,
  secrets: { readonly key: DataKey; readonly passphrase: SecretBytes } | undefined,
  { path, bulk: { onProgress, signal } }: ExportWish,
): Promise<void> {
  const disk = engine().openDisk({ ...image, readOnly: true });
  try {
    disk.goLive(secrets?.key);
    const { sizeBytes, sectorSize } = image;
    await madeAside(path, async (aside) => {
      await mustRun({
        path,
        offers: [{ disk, sizeBytes, sectorSize, readOnly: true }],
        apart: false,
        ...(secrets ? { secret: secrets.passphrase } : {}),
        onShare: (share) => {
          const doneBytes = BigInt(Math.round(Number(sizeBytes) * share));
          onProgress?.({ phase: 'copy', doneBytes, totalBytes: sizeBytes });
        },
        ...(signal ? { signal } : {}),
        words: ([from = 0]) => [
          ...['convert', '-p', '-O', 'qcow2', ...(secrets ? SEALED : [])],
          ...[nodeOf('raw', from), `file:${aside.path}`],
        ],
      });
    });
  } finally {
    await disk.close();
  }
}

const SEALED = [
  ...['--object', 'secret,id=passphrase,file=/dev/stdin'],
  ...['-o', 'encrypt.format=luks,encrypt.key-secret=passphrase'],
];
