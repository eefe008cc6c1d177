/**
 * Plain objects: raw files without a cipher, which people bring along, and what is known of each.
 *
 * The label (UUID, id, name, tags, source) lies in an extended attribute of the file, so that the file stays raw for every
 * other program. A file that has lost it, or lies where none are kept, is still an object: its kind and name are those of
 * the file's name, and its UUID follows from that.
 */

import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { engine } from '../engine/engine.js';
import { fail, isFailure } from '../errors.js';
import { isObject, parseJson } from '../luks2/json.js';
import { decodeLabel, encodeLabel, type Label, type ObjectKind, objectIdOf, UUID } from '../luks2/label.js';
import { madeAside } from './aside.js';
import { openBacking, sizeOf } from './backing.js';
import { setFileSize } from './file-size.js';
import { findStart } from './in-place-record.js';

const ATTRIBUTE = 'user.sealdisk';
/** What a plain disk is served in. */
export const PLAIN_SECTOR_BYTES = 512n;
const SUFFIX = /(?:\.(snapshot|image))?\.(?:raw|img)$/;

export interface PlainDisk {
  readonly path: string;
  readonly uuid: string;
  readonly label: Label;
  /** Bytes served, a multiple of PLAIN_SECTOR_BYTES. */
  readonly sizeBytes: bigint;
}

export interface PlainLabel {
  readonly uuid: string;
  readonly label: Label;
}

/** The name of the file that holds the plain object `name`. */
export const plainFileName = (kind: ObjectKind, name: string): string =>
  `${name}${kind === 'disk' ? '' : `.${kind}`}.raw`;

/** The file's name without what says that it is plain. */
export const bareName = (path: string): string => basename(path).replace(SUFFIX, '');

export const hasPlainName = (path: string): boolean => SUFFIX.test(basename(path));

/**
 * The plain object at `path`; undefined for a file that is none: it has neither a label nor the name of one. DISK_*, and
 * CONVERT_UNFINISHED for one whose encryption was cut before it had a header.
 */
export async function readPlain(path: string): Promise<PlainDisk | undefined> {
  const file = await openBacking(path, 'read');
  try {
    const stat = await file.stat();
    const found = readLabel(path) ?? (hasPlainName(path) ? labelByName(path, stat.birthtime) : undefined);
    if (found === undefined) return undefined;
    const fileBytes = await sizeOf(file, path);
    if (await findStart({ path, file, sizeBytes: fileBytes })) {
      fail('CONVERT_UNFINISHED', { path, what: 'its encryption', percent: 0 });
    }
    return { path, ...found, sizeBytes: fileBytes - (fileBytes % PLAIN_SECTOR_BYTES) };
  } finally {
    await file.close();
  }
}

export interface NewPlain {
  readonly path: string;
  readonly kind: ObjectKind;
  readonly name: string;
  readonly source: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** A new label with an identity of its own. DISK_LABEL for what a label cannot hold. */
export function newLabel({ kind, name, source, tags }: NewPlain): PlainLabel {
  const uuid = randomUUID();
  const object = { kind, id: objectIdOf(kind, uuid) };
  return { uuid, label: checked({ object, name, source, createdAt: new Date().toISOString(), tags }) };
}

/** Gives a plain object without a label one, and an identity that no other file of its name has. DISK_LABEL, DISK_IO. */
export function adoptPlain({ path, label }: PlainDisk): void {
  if (readLabel(path) !== undefined) return;
  const { object, name, source, tags } = label;
  writeLabel(path, newLabel({ path, kind: object.kind, name, source, tags }), 'must');
}

/** What names a plain file as a source: the id that its label gives it, or nothing. */
export const sourceIdOf = (path: string): string =>
  (existsSync(path) ? readLabel(path)?.label.object.id : undefined) ?? '';

/** Makes an empty plain disk, which reads as zeros. DISK_EXISTS, DISK_LABEL, DISK_IO. */
export async function createPlain(plain: NewPlain, sizeBytes: bigint): Promise<PlainDisk> {
  const sector = PLAIN_SECTOR_BYTES;
  const wholeBytes = ((sizeBytes + sector - 1n) / sector) * sector;
  const named = newLabel(plain);
  return madeAside(plain.path, async (aside) => {
    await setFileSize(aside.file, plain.path, wholeBytes);
    writeLabel(aside.path, named);
    return { path: plain.path, ...named, sizeBytes: wholeBytes };
  });
}

/**
 * Writes the label of the file. Where its file system keeps no attributes, the file's name has to say it all: DISK_LABEL
 * for a label with tags, and for every label that `must` be kept.
 */
export function writeLabel(path: string, { uuid, label }: PlainLabel, kept: 'may' | 'must' = 'may'): void {
  const value = Buffer.from(JSON.stringify({ version: 1, uuid, ...encodeLabel(checked(label)) }));
  try {
    engine().setAttribute(path, ATTRIBUTE, value);
  } catch (error) {
    const unkept = isFailure(error, 'DISK_IO') && /ENOTSUP|EOPNOTSUPP/.test(`${error.facts.errno}`);
    if (!unkept) throw error;
    if (kept === 'must' || Object.keys(label.tags).length > 0) {
      const expected = 'a file system that keeps extended attributes';
      fail('DISK_LABEL', { field: 'label', found: 'beside a file without attributes', expected }, error);
    }
  }
}

/** Takes the label away: of a file that is no plain object any longer. */
export const removeLabel = (path: string): void => engine().setAttribute(path, ATTRIBUTE, null);

/** The label that the file has; undefined for none, and for one that does not hold: the file's name speaks then. */
export function readLabel(path: string): PlainLabel | undefined {
  const value = engine().getAttribute(path, ATTRIBUTE);
  if (value === null) return undefined;
  try {
    const json = parseJson(value.toString('utf8'));
    if (!isObject(json) || json.version !== 1) return undefined;
    const { uuid } = json;
    return typeof uuid === 'string' && UUID.test(uuid) ? { uuid, label: decodeLabel(json) } : undefined;
  } catch (error) {
    if (isFailure(error)) return undefined;
    throw error;
  }
}

function labelByName(path: string, born: Date): PlainLabel {
  const name = basename(path);
  const kind = (SUFFIX.exec(name)?.[1] as 'snapshot' | 'image' | undefined) ?? 'disk';
  const uuid = uuidOfName(name);
  return {
    uuid,
    label: {
      object: { kind, id: objectIdOf(kind, uuid) },
      name: bareName(name),
      source: '',
      createdAt: born.toISOString(),
      tags: {},
    },
  };
}

/** RFC 9562, version 8: the same for the same name. */
function uuidOfName(name: string): string {
  const hex = createHash('sha256').update(`sealdisk plain ${name}`).digest('hex');
  const digits = `${hex.slice(0, 12)}8${hex.slice(13, 16)}8${hex.slice(17, 32)}`;
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function checked(label: Label): Label {
  try {
    return decodeLabel(encodeLabel(label));
  } catch (error) {
    if (isFailure(error, 'LUKS2_TOKEN')) fail('DISK_LABEL', error.facts, error);
    throw error;
  }
}
