/** The file format of a backup (see backup.ts): entries into an encrypted stream, and out of one. */

import type { FileHandle } from 'node:fs/promises';
import sodium from 'sodium-native';
import { errnoOf, fail } from '../../errors.js';
import type { SecretBytes } from '../provider.js';
import { writeAll } from './durable.js';
import type { Argon2 } from './root/description.js';
import { stretch } from './root/passphrase.js';
import { freeSecret } from './secret.js';

const MAGIC = Buffer.from('SDKBACK1', 'latin1');
const PASSES_AT = MAGIC.length;
const MEMORY_AT = PASSES_AT + 4;
const SALT_AT = MEMORY_AT + 8;
const STREAM_AT = SALT_AT + sodium.crypto_pwhash_SALTBYTES;
const HEADER_BYTES = STREAM_AT + sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES;
const CHUNK_BYTES = 64 * 1024;
const TAG_BYTES = sodium.crypto_secretstream_xchacha20poly1305_ABYTES;
const NEWLINE = 0x0a;
const ENTRY_LINE_MAX_BYTES = 4096;

export interface Entry {
  readonly name: string;
  /** Overwritten when the next entry is asked for. */
  readonly bytes: Buffer;
}

export interface EntryWriter {
  entry(name: string, bytes: Buffer): Promise<void>;
  /** Marks the end; without it the file is refused. */
  end(): Promise<void>;
}

// The published types know another form of the state.
const stream = sodium as unknown as {
  crypto_secretstream_xchacha20poly1305_STATEBYTES: number;
  crypto_secretstream_xchacha20poly1305_init_push(state: Buffer, header: Buffer, key: Buffer): void;
  crypto_secretstream_xchacha20poly1305_init_pull(state: Buffer, header: Buffer, key: Buffer): void;
  crypto_secretstream_xchacha20poly1305_push(
    state: Buffer,
    c: Buffer,
    m: Buffer,
    ad: Buffer | null,
    tag: number,
  ): void;
  crypto_secretstream_xchacha20poly1305_pull(
    state: Buffer,
    m: Buffer,
    tag: Buffer,
    c: Buffer,
    ad: Buffer | null,
  ): number;
  crypto_secretstream_xchacha20poly1305_TAG_MESSAGE: number;
  crypto_secretstream_xchacha20poly1305_TAG_FINAL: number;
};
const MESSAGE = stream.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE;
const FINAL = stream.crypto_secretstream_xchacha20poly1305_TAG_FINAL;
const newState = (): Buffer => sodium.sodium_malloc(stream.crypto_secretstream_xchacha20poly1305_STATEBYTES);

/** Begins a backup in the empty `file`; `passphrase` is stretched as `argon2` says, and freed. */
export async function chunksInto(
  file: FileHandle,
  passphrase: SecretBytes,
  argon2: Argon2,
): Promise<EntryWriter> {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32BE(argon2.passes, PASSES_AT);
  header.writeBigUInt64BE(BigInt(argon2.memoryBytes), MEMORY_AT);
  header.write(argon2.salt, SALT_AT, 'base64');
  const state = newState();
  const key = await stretch(passphrase, argon2);
  stream.crypto_secretstream_xchacha20poly1305_init_push(state, header.subarray(STREAM_AT), key);
  freeSecret(key);
  await writeAll(file, header);

  const pending = sodium.sodium_malloc(CHUNK_BYTES);
  let filled = 0;
  let bound: Buffer | null = header;
  const flush = async (tag: number): Promise<void> => {
    const chunk = Buffer.alloc(4 + filled + TAG_BYTES);
    chunk.writeUInt32BE(filled + TAG_BYTES);
    stream.crypto_secretstream_xchacha20poly1305_push(
      state,
      chunk.subarray(4),
      pending.subarray(0, filled),
      bound,
      tag,
    );
    bound = null;
    filled = 0;
    await writeAll(file, chunk);
  };
  const add = async (bytes: Buffer): Promise<void> => {
    for (let done = 0; done < bytes.length; ) {
      const copied = bytes.copy(pending, filled, done);
      filled += copied;
      done += copied;
      if (filled === CHUNK_BYTES) await flush(MESSAGE);
    }
  };
  return {
    async entry(name, bytes) {
      await add(Buffer.from(`${JSON.stringify({ name, sizeBytes: bytes.length })}\n`));
      await add(bytes);
    },
    async end() {
      await flush(FINAL);
      freeSecret(pending);
      freeSecret(state);
    },
  };
}

/** The entries of the backup in `file`; `passphrase` is freed. Fails with KMS_BACKUP, at the latest at the end. */
export async function* readChunks(
  file: FileHandle,
  path: string,
  passphrase: SecretBytes,
): AsyncGenerator<Entry> {
  const refuse = (why: string): never => fail('KMS_BACKUP', { path, why });
  let rest: Buffer = Buffer.alloc(0);
  let wanted: { name: string; sizeBytes: number } | undefined;
  for await (const plain of plainChunks(file, path, passphrase)) {
    rest = Buffer.concat([rest, plain]);
    plain.fill(0);
    for (;;) {
      if (wanted === undefined) {
        const end = rest.indexOf(NEWLINE);
        if (end < 0 && rest.length > ENTRY_LINE_MAX_BYTES) refuse('an entry has no name');
        if (end < 0) break;
        wanted = JSON.parse(rest.toString('utf8', 0, end)) as { name: string; sizeBytes: number };
        rest = rest.subarray(end + 1);
      }
      if (rest.length < wanted.sizeBytes) break;
      const bytes = rest.subarray(0, wanted.sizeBytes);
      yield { name: wanted.name, bytes };
      rest = rest.subarray(wanted.sizeBytes);
      wanted = undefined;
    }
  }
  if (wanted !== undefined || rest.length > 0) refuse('it ends within an entry');
}

async function* plainChunks(file: FileHandle, path: string, passphrase: SecretBytes): AsyncGenerator<Buffer> {
  const refuse = (why: string): never => fail('KMS_BACKUP', { path, why });
  const header = await take(file, HEADER_BYTES);
  if (header.length < HEADER_BYTES || !header.subarray(0, MAGIC.length).equals(MAGIC)) {
    freeSecret(passphrase);
    refuse('it is no backup of sealdisk');
  }
  const argon2: Argon2 = {
    passes: header.readUInt32BE(PASSES_AT),
    memoryBytes: Number(header.readBigUInt64BE(MEMORY_AT)),
    salt: header.toString('base64', SALT_AT, STREAM_AT),
  };
  const state = newState();
  const key = await stretch(passphrase, argon2);
  stream.crypto_secretstream_xchacha20poly1305_init_pull(state, header.subarray(STREAM_AT), key);
  freeSecret(key);
  try {
    for (let bound: Buffer | null = header, last = false; ; bound = null) {
      const length = await take(file, 4);
      if (length.length === 0 && last) return;
      if (last) refuse('something follows its end');
      const sizeBytes = length.length === 4 ? length.readUInt32BE() : 0;
      if (sizeBytes < TAG_BYTES || sizeBytes > CHUNK_BYTES + TAG_BYTES) refuse('it was cut short or altered');
      const chunk = await take(file, sizeBytes);
      if (chunk.length < sizeBytes) refuse('it was cut short');
      const { plain, tag } =
        pull(state, chunk, bound) ??
        refuse(bound ? 'its passphrase is another, or it was altered' : 'it was altered');
      last = tag === FINAL;
      yield plain;
    }
  } finally {
    freeSecret(state);
  }
}

function pull(
  state: Buffer,
  chunk: Buffer,
  bound: Buffer | null,
): { plain: Buffer; tag: number } | undefined {
  const plain = Buffer.alloc(chunk.length - TAG_BYTES);
  const tag = Buffer.alloc(1);
  try {
    stream.crypto_secretstream_xchacha20poly1305_pull(state, plain, tag, chunk, bound);
  } catch {
    return undefined; // the one failure that the primitive has
  }
  return { plain, tag: tag[0] as number };
}

/** Up to `sizeBytes` from where the file stands: fewer at its end. */
async function take(file: FileHandle, sizeBytes: number): Promise<Buffer> {
  const bytes = Buffer.alloc(sizeBytes);
  let filled = 0;
  while (filled < sizeBytes) {
    const { bytesRead } = await file.read(bytes, filled, sizeBytes - filled, null).catch((error) => {
      return fail('KMS_BACKUP', { path: 'backup', why: errnoOf(error) }, error);
    });
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}
