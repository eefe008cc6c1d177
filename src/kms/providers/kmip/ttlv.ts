/**
 * TTLV, the encoding of KMIP messages: tag, type, length, value, padded to 8 bytes (KMIP 1.4, section 9.1).
 *
 * Pure. Reading is strict, since a hostile server may have written it: what is not exactly as the section says is a
 * fault, and nesting and the number of items are bounded. Byte strings of what is read are views of the message, so that
 * a key in one stays where the message is.
 */

export const HEAD_BYTES = 8;
const DEPTH_MAX = 8;
const ITEMS_MAX = 256;

const TYPES: Readonly<Record<Type, number>> = {
  structure: 1,
  integer: 2,
  longInteger: 3,
  enumeration: 5,
  boolean: 6,
  text: 7,
  bytes: 8,
  dateTime: 9,
  interval: 10,
};

interface Values {
  readonly structure: readonly Item[];
  readonly integer: number;
  readonly longInteger: bigint;
  readonly enumeration: number;
  readonly boolean: boolean;
  readonly text: string;
  readonly bytes: Buffer;
  readonly dateTime: bigint;
  readonly interval: number;
}

export type Type = keyof Values;
export type ValueOf<T extends Type> = Values[T];
export type Item = {
  [T in Type]: { readonly tag: number; readonly type: T; readonly value: Values[T] };
}[Type];

export type Decoded =
  | { readonly kind: 'item'; readonly item: Item }
  | { readonly kind: 'bad'; readonly why: string };

const padded = (length: number): number => Math.ceil(length / 8) * 8;

// --- writing

export function encodedBytes(item: Item): number {
  return HEAD_BYTES + padded(valueBytes(item));
}

function valueBytes(item: Item): number {
  switch (item.type) {
    case 'structure':
      return item.value.reduce((sum, each) => sum + encodedBytes(each), 0);
    case 'text':
      return Buffer.byteLength(item.value);
    case 'bytes':
      return item.value.length;
    case 'integer':
    case 'enumeration':
    case 'interval':
      return 4;
    default:
      return 8;
  }
}

/** Writes `item` at `at` of `into`, which is zeros there and long enough; where it ends. */
export function encode(item: Item, into: Buffer, at = 0): number {
  const length = valueBytes(item);
  const valueAt = at + HEAD_BYTES;
  into.writeUIntBE(item.tag, at, 3);
  into[at + 3] = TYPES[item.type];
  into.writeUInt32BE(length, at + 4);
  switch (item.type) {
    case 'structure':
      item.value.reduce((next, each) => encode(each, into, next), valueAt);
      break;
    case 'integer':
      into.writeInt32BE(item.value, valueAt);
      break;
    case 'enumeration':
    case 'interval':
      into.writeUInt32BE(item.value, valueAt);
      break;
    case 'longInteger':
    case 'dateTime':
      into.writeBigInt64BE(item.value, valueAt);
      break;
    case 'boolean':
      into[valueAt + 7] = Number(item.value);
      break;
    case 'text':
      into.write(item.value, valueAt);
      break;
    case 'bytes':
      item.value.copy(into, valueAt);
      break;
  }
  return valueAt + padded(length);
}

// --- reading

/** Length of the whole message whose first HEAD_BYTES these are. */
export const messageBytes = (head: Buffer): number => HEAD_BYTES + padded(head.readUInt32BE(4));

/** The one item that `message` is. */
export function decode(message: Buffer): Decoded {
  try {
    const reader = new Reader(message);
    const item = reader.item(0, message.length, 0);
    if (reader.end !== message.length) throw new Fault('there is more behind it');
    return { kind: 'item', item };
  } catch (error) {
    if (error instanceof Fault) return { kind: 'bad', why: error.message };
    throw error;
  }
}

class Fault extends Error {}

class Reader {
  /** Where the item that was read last ends. */
  end = 0;
  #items = 0;

  constructor(private readonly message: Buffer) {}

  /** The item at `at`, which ends at `limit` or before. */
  item(at: number, limit: number, depth: number): Item {
    this.#items += 1;
    if (this.#items > ITEMS_MAX) throw new Fault(`more than ${ITEMS_MAX} items`);
    if (depth > DEPTH_MAX) throw new Fault(`nested more than ${DEPTH_MAX} deep`);
    if (limit - at < HEAD_BYTES) throw new Fault('cut short');
    const tag = this.message.readUIntBE(at, 3);
    const type = this.message[at + 3] as number;
    const length = this.message.readUInt32BE(at + 4);
    const from = at + HEAD_BYTES;
    const end = from + padded(length);
    if (type === TYPES.structure && end !== from + length) throw new Fault('a structure is not whole');
    if (end > limit) throw new Fault('longer than what holds it');
    if (this.message.subarray(from + length, end).some((byte) => byte !== 0))
      throw new Fault('padding is not zero');
    const item =
      type === TYPES.structure
        ? this.#structure(tag, from, end, depth)
        : this.#simple(tag, type, from, length);
    this.end = end;
    return item;
  }

  #structure(tag: number, from: number, end: number, depth: number): Item {
    const value: Item[] = [];
    for (let at = from; at < end; at = this.end) value.push(this.item(at, end, depth + 1));
    return { tag, type: 'structure', value };
  }

  #simple(tag: number, type: number, at: number, length: number): Item {
    const bytes = this.message.subarray(at, at + length);
    const sized = (expected: number): void => {
      if (length !== expected)
        throw new Fault(`a value of type ${type} has ${length} bytes, expected ${expected}`);
    };
    switch (type) {
      case TYPES.integer:
        sized(4);
        return { tag, type: 'integer', value: bytes.readInt32BE() };
      case TYPES.enumeration:
        sized(4);
        return { tag, type: 'enumeration', value: bytes.readUInt32BE() };
      case TYPES.interval:
        sized(4);
        return { tag, type: 'interval', value: bytes.readUInt32BE() };
      case TYPES.longInteger:
        sized(8);
        return { tag, type: 'longInteger', value: bytes.readBigInt64BE() };
      case TYPES.dateTime:
        sized(8);
        return { tag, type: 'dateTime', value: bytes.readBigInt64BE() };
      case TYPES.boolean: {
        sized(8);
        const value = bytes.readBigUInt64BE();
        if (value > 1n) throw new Fault('a boolean is neither 0 nor 1');
        return { tag, type: 'boolean', value: value === 1n };
      }
      case TYPES.text:
        return { tag, type: 'text', value: utf8(bytes) };
      case TYPES.bytes:
        return { tag, type: 'bytes', value: bytes };
      default:
        throw new Fault(`unknown type ${type}`);
    }
  }
}

function utf8(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  if (!Buffer.from(text).equals(bytes)) throw new Fault('a text is not UTF-8');
  return text;
}
